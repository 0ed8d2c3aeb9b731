// What a device holds when it is open: a file system, a place in an array, or one in a volume group.
import type { Filesystem, Held } from './disk-layout.ts'
import { detailsOf, subvolumesOf } from './probe-filesystem.ts'
import { memberOf } from './probe-md.ts'
import { mountedSubvolumes } from './probe-mounts.ts'
import type { Block, Mount } from './probe-said.ts'
import { byLength, fstabMountpoint, isActiveSwap, isPeer, usedOf, type World } from './probe-world.ts'

export function plainHolds(world: World, block: Block): Omit<Held, 'crypt'> {
  if (block.fstype === 'linux_raid_member') return memberOf(world, block)
  if (block.fstype === 'LVM2_member') return physicalOf(world, block)
  const filesystem = filesystemOf(world, block)
  return filesystem === undefined ? {} : { filesystem }
}

function physicalOf(world: World, block: Block): Pick<Held, 'physical'> {
  const found = world.lvm.physical.find(({ path }) => path === block.path)
  if (found === undefined) {
    world.say(`${block.path} is a physical volume that LVM's tools do not tell of (install lvm2)`)
    return {}
  }
  const { uuid, group, startBytes, tags } = found
  return {
    physical: {
      uuid,
      ...(group !== undefined && { group }),
      ...(startBytes !== undefined && { startBytes }),
      ...(tags.length > 0 && { tags }),
    },
  }
}

function filesystemOf(world: World, block: Block): Filesystem | undefined {
  const { said, mountsOf } = world
  if (block.fstype === undefined) return undefined
  const isBtrfs = block.fstype === 'btrfs'
  const mounts = mountsOf.get(block.path) ?? []
  const [mount] = byLength(isBtrfs ? mounts : mounts.filter(({ fsroot }) => fsroot === '/'))
  const place = mount?.target ?? (isPeer(world, block.path) ? undefined : fstabMountpoint(world, block))
  const mountpoint = place?.startsWith('/') ? place : undefined
  const subvolumes = isBtrfs ? shownSubvolumes(world, block, mounts) : undefined
  return {
    type: block.fstype,
    ...(block.uuid !== undefined && { uuid: block.uuid }),
    ...(block.label !== undefined && { label: block.label }),
    ...(mountpoint !== undefined && { mountpoint }),
    ...(mount?.used != null && { usedBytes: usedOf(mount) }),
    ...(block.version !== undefined && { version: block.version }),
    ...detailsOf(said, block),
    ...(block.fstype === 'swap' && isActiveSwap(world, block) && { active: true }),
    ...(mount?.options && { mountOptions: mount.options }),
    ...(subvolumes && { subvolumes }),
  }
}

function shownSubvolumes(world: World, block: Block, mounts: Mount[]): Filesystem['subvolumes'] {
  const subvolumes = subvolumesOf(world.said, block.path)
  if (subvolumes === undefined) return undefined
  const roots = mountedSubvolumes(world, subvolumes, mounts)
  return subvolumes.map((subvolume) => {
    const mount = roots.get(subvolume.path)
    return mount ? { ...subvolume, mountpoint: mount.target } : subvolume
  })
}

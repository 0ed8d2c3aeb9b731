// The disks of a golden client out of what its tools said: the layout, the file systems that a capture reads, what stays
// out of it, and what no clone could be given. Each kind of device is read in a file of its own.
import type { Disk, DiskLayout, LogicalVolume } from './disk-layout.ts'
import { volumePath } from './disks.ts'
import { holdsAt } from './probe-crypt.ts'
import { arrayOf } from './probe-md.ts'
import { type CapturedMount, capturedMounts, localTypes } from './probe-mounts.ts'
import { type Block, fileHeld, type Said } from './probe-said.ts'
import { swapFilesOf } from './probe-swap.ts'
import { tableOf } from './probe-table.ts'
import { fstabMountpoint, isActiveSwap, isPeer, type World, worldOf } from './probe-world.ts'

/** What is there and not in the image: 'nfs4 from 10.0.0.9:/home'. */
export type StaysOut = { what: string; why: string }
export type DisksFound = {
  layout: DiskLayout
  mounts: CapturedMount[]
  staysOut: StaysOut[]
  refusals: string[]
  warnings: string[] // it is captured; the golden client needs a person's care
}

export function readDisks(said: Said): DisksFound {
  const refusals = new Set<string>()
  const staysOut: StaysOut[] = []
  const warnings: string[] = []
  const world = worldOf(said, {
    say: (refusal) => void refusals.add(refusal),
    stay: (what, why) => void staysOut.push({ what, why }),
    warn: (what) => void warnings.push(what),
  })
  const mounts = capturedMounts(world)
  const used = usedDevices(world, mounts)
  refuseDevices(world, used)
  const layout = layoutOf(world, used)
  reportLeftOut(world, layout, used, mounts)
  if (!mounts.some(({ target }) => target === '/')) {
    const root = said.findmnt.filesystems.find(({ target }) => target === '/')
    world.say(`/ is ${root ? `${root.fstype} on ${root.source}` : 'not mounted'}: no file system on a disk`)
  }
  return { layout, mounts, staysOut, refusals: [...refusals], warnings }
}

/** Every device that a captured file system, swap or a line of fstab needs, down to the disks. */
function usedDevices(world: World, mounts: CapturedMount[]): Set<string> {
  const { blocks, byName, lvm } = world
  const swaps = blocks.filter((block) => isActiveSwap(world, block) && !block.path.startsWith('/dev/zram'))
  const named = blocks.filter((block) => fstabMountpoint(world, block) !== undefined)
  const open = [...mounts.map(({ device }) => device), ...[...swaps, ...named].map(({ path }) => path)]
  const used = new Set<string>()
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const block = byName.get(path)
    if (block === undefined || used.has(block.path)) continue
    used.add(block.path)
    open.push(...block.parents)
    const group =
      world.volumes.get(block.path)?.group ?? lvm.physical.find((pv) => pv.path === block.path)?.group
    if (group !== undefined)
      open.push(...lvm.physical.filter((pv) => pv.group === group).map((pv) => pv.path))
    // A btrfs over several devices says one UUID on each.
    if (block.fstype === 'btrfs')
      open.push(
        ...blocks.filter(({ fstype, uuid }) => fstype === 'btrfs' && uuid === block.uuid).map((b) => b.path),
      )
  }
  return used
}

const remote = /^\/dev\/(nbd|rbd|drbd)/

function refuseDevices(world: World, used: Set<string>) {
  for (const path of used) {
    const { type, fstype } = world.byName.get(path)!
    if (type === 'mpath') world.say(`${path} is a multipath device`)
    if (type === 'dmraid' || fstype?.endsWith('_raid_member') === true)
      if (fstype !== 'linux_raid_member') world.say(`${path} is part of a RAID of the firmware`)
    if (path.startsWith('/dev/bcache') || fstype === 'bcache') world.say(`${path} is cached by bcache`)
    if (remote.test(path)) world.say(`${path} is a disk of another machine`)
  }
  for (const { name, faults } of world.lvm.groups)
    if (world.lvm.physical.some((pv) => pv.group === name && used.has(pv.path))) faults.forEach(world.say)
}

/** What a person may miss on a clone. */
function reportLeftOut(world: World, layout: DiskLayout, used: Set<string>, mounts: CapturedMount[]) {
  const { blocks, lvm, stay } = world
  for (const { path, type, fstype, bytes } of blocks) {
    if (type === 'disk' && !used.has(path) && bytes > 0 && !path.startsWith('/dev/zram'))
      stay(path, 'nothing of this system is on it')
    const isOpen =
      mounts.some(({ device }) => device === path) || world.mountsOf.has(path) || isPeer(world, path)
    if (used.has(path) && fstype && localTypes.includes(fstype) && !isOpen)
      stay(`${fstype} on ${path}`, 'it is not mounted: the clone gets an empty one')
  }
  for (const { name, volumes } of lvm.groups) {
    if (!layout.groups?.some((group) => group.name === name)) continue
    for (const { volume, isSnapshot } of volumes.filter(({ volume }) => !volume.part)) {
      const where = `${name}/${volume.name}`
      const block = world.byName.get(volumePath(name, volume.name))
      if (isSnapshot && !isMounted(world, name, volume)) stay(where, 'a snapshot')
      else if (
        block &&
        !block.fstype &&
        !isPool(volume) &&
        !blocks.some((b) => b.parents.includes(block.path))
      )
        stay(where, 'it holds nothing that is known')
    }
  }
}

const isPool = ({ segments }: LogicalVolume) => segments.some(({ type }) => type.endsWith('-pool'))

const isMounted = ({ mountsOf }: World, group: string, { name }: LogicalVolume) =>
  mountsOf.has(volumePath(group, name))

function layoutOf(world: World, used: Set<string>): DiskLayout {
  const { said, blocks, lvm, fstab } = world
  const devices = blocks.filter(({ path }) => used.has(path))
  const disks = devices.filter(({ type }) => type === 'disk').map((block) => diskOf(world, block))
  const arrays = devices
    .filter(({ type }) => /^(raid\d*|linear)$/.test(type))
    .map((block) => arrayOf(world, block, tableOf(world, block.path)))
  const groups = lvm.groups
    .filter(({ name }) => lvm.physical.some((pv) => pv.group === name && used.has(pv.path)))
    .map(({ volumes, faults: _, ...group }) => ({
      ...group,
      volumes: volumes
        .filter(({ volume, isSnapshot }) => !isSnapshot || isMounted(world, group.name, volume))
        .map(({ volume }) => ({ ...volume, ...holdsAt(world, volumePath(group.name, volume.name)) })),
    }))
  const swapFiles = swapFilesOf(world)
  const crypttab = fileHeld(said, 'etc/crypttab')
  const mdadmConf = fileHeld(said, 'etc/mdadm/mdadm.conf') || fileHeld(said, 'etc/mdadm.conf')
  return {
    disks,
    ...(arrays.length > 0 && { arrays }),
    ...(groups.length > 0 && { groups }),
    ...(swapFiles.length > 0 && { swapFiles }),
    fstab,
    ...(crypttab && { crypttab }),
    ...(mdadmConf && arrays.length > 0 && { mdadmConf }),
  }
}

function diskOf(world: World, block: Block): Disk {
  const { path, bytes, sectorBytes, physicalSectorBytes, model, serial, wwn, transport } = block
  return {
    ...{ path, bytes, sectorBytes },
    ...(physicalSectorBytes !== undefined && { physicalSectorBytes }),
    ...(model !== undefined && { model }),
    ...(serial !== undefined && { serial }),
    ...(wwn !== undefined && { wwn }),
    ...(transport !== undefined && { transport }),
    ...tableOf(world, path),
  }
}

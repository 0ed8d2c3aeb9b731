// Which mounted file systems of a golden client are captured, which stay out, and which no clone could be given.
import type { Subvolume } from './disk-layout.ts'
import { subvolumesOf } from './probe-filesystem.ts'
import type { Block, Mount } from './probe-said.ts'
import { unescapeOctal } from './probe-said.ts'
import { byLength, deviceOf, fstabMountpoint, usedOf, type World } from './probe-world.ts'

/** A file system, or a btrfs subvolume, whose files are captured. */
export type CapturedMount = { target: string; device: string; usedBytes: number }

// What is read file by file; a clone of the same kind is made.
export const localTypes = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'vfat']

// Of other machines, or made by the kernel out of something else.
const mediaTypes = ['squashfs', 'iso9660', 'udf', 'erofs', 'cramfs']

const poolTypes = ['zfs', 'bcachefs'] // their source is no block device

const networkTypes =
  /^(nfs|nfs4|cifs|smb3|smbfs|ceph|lustre|gpfs|9p|virtiofs|afs|beegfs|orangefs|pvfs2|glusterfs|fuse\..*|fuse|coda|ncpfs)$/

export function capturedMounts(world: World): CapturedMount[] {
  const captured = [...world.mountsOf].flatMap(([device, mounts]) =>
    mountsOn(world, world.byName.get(device)!, mounts),
  )
  for (const mount of world.said.findmnt.filesystems)
    if (!world.byName.has(deviceOf(mount))) judgeOther(world, mount)
  for (const { target } of captured) refuseOddMountpoint(world, target)
  return captured.sort((a, b) => (a.target < b.target ? -1 : 1))
}

function mountsOn(world: World, block: Block, mounts: Mount[]): CapturedMount[] {
  const [first] = byLength(mounts)
  const { fstype } = first!
  const where = `${fstype} on ${block.path} at ${first!.target}`
  if (block.type === 'loop' || block.type === 'rom' || mediaTypes.includes(fstype)) {
    world.stay(where, 'a read-only medium, or a file that is mounted')
    return []
  }
  if (isRemovable(world, block) && !mounts.some((mount) => isNeeded(world, block, mount))) {
    world.stay(where, 'on a removable disk, and not in fstab')
    return []
  }
  if (!localTypes.includes(fstype)) {
    world.say(`${where}: this file system cannot be cloned (unmount it, if the clone is not to have it)`)
    return []
  }
  return fstype === 'btrfs' ? subvolumeMounts(world, block, mounts) : wholeMount(world, block, mounts)
}

/** Its shortest place, so that a bind mount of it does not count. */
function wholeMount(world: World, block: Block, mounts: Mount[]): CapturedMount[] {
  const [whole] = byLength(mounts.filter(({ fsroot }) => fsroot === '/'))
  if (whole) return [{ target: whole.target, device: block.path, usedBytes: usedOf(whole) }]
  const [part] = byLength(mounts)
  world.say(`${part!.target} is a folder of ${block.path} (${part!.fsroot}), which is not mounted as a whole`)
  return []
}

/** Mounted subvolumes, and those below them, which no walk over one file system enters. */
function subvolumeMounts(world: World, block: Block, mounts: Mount[]): CapturedMount[] {
  const subvolumes = subvolumesOf(world.said, block.path)
  if (subvolumes === undefined) {
    world.say(`btrfs on ${block.path}: its subvolumes cannot be seen (install btrfs-progs)`)
    return []
  }
  const roots = mountedSubvolumes(world, subvolumes, mounts)
  const usedBytes = usedOf(mounts[0]!)
  const mounted = [...roots.values()].map(({ target }) => ({ target, device: block.path, usedBytes }))
  const below = subvolumes.flatMap((subvolume) => {
    const { path, snapshot, readOnly } = subvolume
    if (roots.has(path)) return []
    const target = visibleAt(path, roots)
    if (target === undefined) world.stay(`btrfs subvolume ${path} of ${block.path}`, 'it is mounted nowhere')
    else if (snapshot && readOnly) world.stay(`btrfs subvolume ${path} at ${target}`, 'a read-only snapshot')
    else return [{ target, device: block.path, usedBytes }]
    return []
  })
  return [...mounted, ...below]
}

/** By path of the subvolume. One that is seen below another, and is mounted a second time, as by a bind mount, is none. */
export function mountedSubvolumes(
  { fstab }: World,
  subvolumes: Subvolume[],
  mounts: Mount[],
): Map<string, Mount> {
  const inFstab = new Set(
    fstab.split('\n').flatMap((line) => {
      const [, target = '', type] = line.trim().split(/\s+/)
      return type === 'btrfs' ? [unescapeOctal(target)] : []
    }),
  )
  const all = ['', ...subvolumes.map(({ path }) => path)].flatMap((path) => {
    const places = byLength(mounts.filter(({ fsroot }) => fsroot === `/${path}`))
    const mount = places.find(({ target }) => target === '/' || inFstab.has(target)) ?? places[0]
    return mount ? [{ path, mount }] : []
  })
  const isMeant = ({ target }: Mount) => target === '/' || inFstab.has(target)
  const roots = new Map(all.filter(({ mount }) => isMeant(mount)).map(({ path, mount }) => [path, mount]))
  for (const { path, mount } of all)
    if (!roots.has(path) && visibleAt(path, roots) === undefined) roots.set(path, mount)
  return roots
}

/** Where a subvolume is seen below the nearest one that is mounted. */
function visibleAt(path: string, roots: Map<string, Mount>): string | undefined {
  const above = [...roots.keys()].filter((root) => root === '' || path.startsWith(`${root}/`))
  const nearest = above.sort((a, b) => b.length - a.length)[0]
  if (nearest === undefined) return undefined
  const rest = nearest === '' ? path : path.slice(nearest.length + 1)
  return `${roots.get(nearest)!.target.replace(/\/$/, '')}/${rest}`
}

/** What is mounted from no block device. */
function judgeOther({ say, stay }: World, { target, source, fstype }: Mount) {
  const where = `${fstype} from ${source} at ${target}`
  if (networkTypes.test(fstype)) stay(where, 'it is on another machine, or made by a program')
  else if (poolTypes.includes(fstype)) say(`${where}: this file system cannot be cloned`)
  else if (fstype === 'overlay' || fstype === 'aufs') stay(where, 'it shows folders that are elsewhere')
  else if (source?.startsWith('/dev/loop')) stay(where, 'a file that is mounted')
  else if (localTypes.includes(fstype) && source?.startsWith('/dev/'))
    say(`${where}: this device is not to be seen`)
}

/** These go through find's -printf, where `%` and `\` have a meaning. */
function refuseOddMountpoint({ say }: World, target: string) {
  if (!/^\/[^%\\\n]*$/.test(target))
    say(`mount point ${JSON.stringify(target)}: %, \\ and newline in its name cannot be captured`)
}

function isRemovable({ byName }: World, block: Block): boolean {
  const below = (path: string): boolean => {
    const each = byName.get(path)
    return each !== undefined && (each.removable || each.transport === 'usb' || each.parents.some(below))
  }
  return below(block.path)
}

/** A system may run from a stick. */
const isNeeded = (world: World, block: Block, { target }: Mount): boolean =>
  target === '/' || target.startsWith('/boot') || fstabMountpoint(world, block) !== undefined

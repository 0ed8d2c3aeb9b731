// The disks of a golden client out of what its tools said: the layout, the file systems that a capture reads, what stays
// out of it, and what no clone could be given.
import { WireError } from '../fault.ts'
import type {
  Crypt,
  Disk,
  DiskLayout,
  Filesystem,
  Held,
  LogicalVolume,
  MdArray,
  Partition,
  Subvolume,
  SwapFile,
} from './disk-layout.ts'
import { volumePath } from './disks.ts'
import { detailsOf, subvolumesOf } from './probe-filesystem.ts'
import { type Lvm, readLvm, type VolumeFound } from './probe-lvm.ts'
import type { Block, Mount, Said, Table } from './probe-said.ts'
import { blocksOf, decode, fileHeld, toolSaid, unescapeOctal } from './probe-said.ts'

/** A file system, or a btrfs subvolume, whose files are captured. */
export type CapturedMount = { target: string; device: string; usedBytes: number }
/** What is there and not in the image: 'nfs4 from 10.0.0.9:/home'. */
export type StaysOut = { what: string; why: string }
export type DisksFound = {
  layout: DiskLayout
  mounts: CapturedMount[]
  staysOut: StaysOut[]
  refusals: string[]
}

// What is read file by file; a clone of the same kind is made.
const localTypes = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'vfat']
// Of other machines, or made by the kernel out of something else.
const mediaTypes = ['squashfs', 'iso9660', 'udf', 'erofs', 'cramfs']
const poolTypes = ['zfs', 'bcachefs'] // their source is no block device
const networkTypes =
  /^(nfs|nfs4|cifs|smb3|smbfs|ceph|lustre|gpfs|9p|virtiofs|afs|beegfs|orangefs|pvfs2|glusterfs|fuse\..*|fuse|coda|ncpfs)$/

type World = {
  said: Said
  blocks: Block[]
  byName: Map<string, Block>
  lvm: Lvm
  volumes: Map<string, { group: string; found: VolumeFound }>
  fstab: string
  activeSwaps: Map<string, string> // name in /proc/swaps -> type
  mountsOf: Map<string, Mount[]> // by device
  say: (refusal: string) => void
  stay: (what: string, why: string) => void
}

export function readDisks(said: Said): DisksFound {
  const refusals = new Set<string>()
  const staysOut: StaysOut[] = []
  const world = worldOf(said, {
    say: (refusal) => void refusals.add(refusal),
    stay: (what, why) => void staysOut.push({ what, why }),
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
  return { layout, mounts, staysOut, refusals: [...refusals] }
}

function worldOf(said: Said, told: Pick<World, 'say' | 'stay'>): World {
  const blocks = blocksOf(said)
  const lvm = readLvm(said)
  const byName = new Map(
    blocks.flatMap((block) => [[block.path, block] as const, [block.kname, block] as const]),
  )
  const mountsOf = new Map<string, Mount[]>()
  for (const mount of said.findmnt.filesystems) {
    const device = byName.get(deviceOf(mount))?.path
    if (device !== undefined) mountsOf.set(device, [...(mountsOf.get(device) ?? []), mount])
  }
  const volumes = lvm.groups.flatMap(({ name, volumes }) =>
    volumes.map((found) => [volumePath(name, found.volume.name), { group: name, found }] as const),
  )
  const activeSwaps = new Map(
    decode(said.swaps)
      .split('\n')
      .slice(1)
      .map((line) => line.split(/\s+/))
      .flatMap(([name, type]) => (name && type ? [[name, type] as const] : [])),
  )
  const fstab = decode(said.fstab)
  return { said, blocks, byName, lvm, volumes: new Map(volumes), fstab, activeSwaps, mountsOf, ...told }
}

/** `/dev/vda3[/@home]` is a subvolume, or a folder that is mounted a second time. */
const deviceOf = ({ source }: Mount): string => (source ?? '').replace(/\[.*$/, '')

// --- what is captured --------------------------------------------------------------------------------------------

function capturedMounts(world: World): CapturedMount[] {
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

const byLength = (mounts: Mount[]) => mounts.toSorted((a, b) => a.target.length - b.target.length)
const usedOf = ({ used }: Mount) => Number(used ?? 0)

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
function mountedSubvolumes({ fstab }: World, subvolumes: Subvolume[], mounts: Mount[]): Map<string, Mount> {
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

// --- what belongs to it ------------------------------------------------------------------------------------------

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

const isActiveSwap = ({ activeSwaps }: World, { path, kname }: Block) =>
  activeSwaps.has(path) || activeSwaps.has(kname)

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

/** Another device of a btrfs that is mounted from one of them. */
function isPeer({ blocks, byName, mountsOf }: World, path: string): boolean {
  const { fstype, uuid } = byName.get(path)!
  const isOne = fstype === 'btrfs' && !mountsOf.has(path)
  return (
    isOne &&
    blocks.some((block) => block.uuid === uuid && block.fstype === fstype && mountsOf.has(block.path))
  )
}

const isPool = ({ segments }: LogicalVolume) => segments.some(({ type }) => type.endsWith('-pool'))
const isMounted = ({ mountsOf }: World, group: string, { name }: LogicalVolume) =>
  mountsOf.has(volumePath(group, name))

// --- the layout --------------------------------------------------------------------------------------------------

function layoutOf(world: World, used: Set<string>): DiskLayout {
  const { said, blocks, lvm, fstab } = world
  const devices = blocks.filter(({ path }) => used.has(path))
  const disks = devices.filter(({ type }) => type === 'disk').map((block) => diskOf(world, block))
  const arrays = devices
    .filter(({ type }) => /^(raid\d*|linear)$/.test(type))
    .map((block) => arrayOf(world, block))
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

/** A partition table, or what the device holds without one. */
function tableOf(
  world: World,
  path: string,
): Pick<Disk, 'label' | 'id' | 'firstSector' | 'tableLength' | 'partitions'> & Held {
  const table = world.said.sfdisk
    .map(({ partitiontable }) => partitiontable)
    .find(({ device }) => device === path)
  if (table === undefined) return { label: 'none', partitions: [], ...holdsAt(world, path) }
  if (table.label !== 'gpt' && table.label !== 'dos') {
    world.say(`${path} has a ${table.label} partition table (allowed: gpt, dos)`)
    return { label: 'none', partitions: [] }
  }
  return {
    label: table.label,
    ...(table.id !== undefined && { id: table.id }),
    ...(table.firstlba !== undefined && { firstSector: table.firstlba }),
    ...(table['table-length'] !== undefined && { tableLength: Number(table['table-length']) }),
    partitions: (table.partitions ?? [])
      .map((p) => partitionOf(world, path, p))
      .sort((a, b) => a.number - b.number),
  }
}

function partitionOf(world: World, disk: string, part: NonNullable<Table['partitions']>[number]): Partition {
  const { node, ...facts } = part
  const match = /^p?(\d{1,4})$/.exec(node.startsWith(disk) ? node.slice(disk.length) : '')
  if (match === null) throw new WireError(`probe: ${node} is not a partition of ${disk}`)
  return { number: Number(match[1]), ...facts, ...holdsAt(world, node) }
}

function arrayOf(world: World, block: Block): MdArray {
  const { said } = world
  const name = block.kname.slice('/dev/'.length)
  const fact = (file: string) => fileHeld(said, `/sys/block/${name}/md/${file}`).trim()
  const told = new Map(
    toolSaid(said, `mdadm ${block.path}`)
      .split('\n')
      .map((line) => line.split(/=(.*)/s, 2) as [string, string]),
  )
  const metadata = fact('metadata_version') || told.get('MD_METADATA') || ''
  if (metadata.startsWith('external')) world.say(`${block.path} is a RAID of the firmware (${metadata})`)
  const bitmap = bitmapOf(fact('bitmap/location'))
  const [chunk, layout, bitmapChunk] = [fact('chunk_size'), fact('layout'), fact('bitmap/chunksize')].map(
    Number,
  )
  const hasLayout = /^raid(5|6|10)$/.test(block.type)
  return {
    path: block.path,
    bytes: block.bytes,
    sectorBytes: block.sectorBytes,
    level: fact('level') || block.type,
    metadata,
    devices: Number.parseInt(fact('raid_disks'), 10) || block.parents.length,
    ...(told.has('MD_UUID') && { uuid: told.get('MD_UUID')! }),
    ...(told.has('MD_NAME') && { name: told.get('MD_NAME')! }),
    ...(chunk && { chunkBytes: chunk }),
    ...(hasLayout && { layout: layout ?? 0 }),
    ...(bitmap !== undefined && { bitmap }),
    ...(bitmap !== undefined && bitmapChunk && { bitmapChunkBytes: bitmapChunk }),
    ...tableOf(world, block.path),
  }
}

/** The kernel says 'none', '+8' (sectors from the superblock: it is within the array) or 'file'. */
const bitmapOf = (location: string): string | undefined =>
  location === '' || location === 'none' ? undefined : /^[+-]?\d+$/.test(location) ? 'internal' : location

/** What a device holds: one of a file system, a place in an array or a group, and encryption. */
function holdsAt(world: World, path: string): Held {
  const block = world.byName.get(path)
  if (block === undefined) return {}
  const crypt = cryptOf(world, block)
  if (crypt !== undefined) return { crypt }
  return plainHolds(world, block)
}

function plainHolds(world: World, block: Block): Omit<Held, 'crypt'> {
  if (block.fstype === 'linux_raid_member') return memberOf(world, block)
  if (block.fstype === 'LVM2_member') return physicalOf(world, block)
  const filesystem = filesystemOf(world, block)
  return filesystem === undefined ? {} : { filesystem }
}

function memberOf({ said, blocks }: World, block: Block): Pick<Held, 'member'> {
  const array = blocks.find(
    ({ type, parents }) => /^(raid|linear)/.test(type) && parents.includes(block.path),
  )
  if (array === undefined) return {}
  const folder = `/sys/block/${array.kname.slice('/dev/'.length)}/md/dev-${block.kname.slice('/dev/'.length)}`
  const slot = fileHeld(said, `${folder}/slot`).trim()
  const place = /^\d+$/.test(slot) ? { slot: Number(slot) } : { spare: true }
  return { member: { array: array.path, ...place } }
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

function cryptOf(world: World, block: Block): Crypt | undefined {
  const open = world.blocks.find(({ type, parents }) => type === 'crypt' && parents.includes(block.path))
  if (block.fstype !== 'crypto_LUKS' && open === undefined) return undefined
  const header = settingsOf(toolSaid(world.said, `luks ${block.path}`))
  const status = open ? settingsOf(toolSaid(world.said, `crypt ${open.path}`)) : {}
  const isLuks = block.fstype === 'crypto_LUKS'
  const { cipher, keysize, 'sector size': sector } = status
  const settings = {
    ...header,
    ...(cipher && { cipher }),
    ...(keysize && { keysize }),
    ...(sector && { 'sector size': sector }),
  }
  for (const key of ['Version', 'UUID', 'Label']) delete (settings as Record<string, string>)[key]
  const inside = open ? plainHolds(world, open) : {}
  if (!isLuks && inside.filesystem?.type !== 'swap')
    world.say(`${block.path} is encrypted without a LUKS header: a clone would not know how`)
  if (open?.fstype === 'crypto_LUKS') world.say(`${open.path} is encrypted twice`)
  return {
    format: isLuks ? (header.Version === '1' ? 'luks1' : 'luks2') : 'plain',
    ...(isLuks && block.uuid !== undefined && { uuid: block.uuid }),
    ...(isLuks && block.label !== undefined && { label: block.label }),
    ...(open && { path: open.path }),
    ...(Object.keys(settings).length > 0 && { settings }),
    ...inside,
  }
}

/** `  cipher:  aes-xts-plain64`; of several that are named alike (key slots) the first. */
function settingsOf(text: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [, key, value] of text.matchAll(/^\s*([A-Za-z][A-Za-z ]*):\s+(\S.*)$/gm))
    found[key!] ??= value!.trim()
  return found
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

/** Where fstab mounts it: a path, or 'none' of swap. */
function fstabMountpoint({ fstab, said, volumes }: World, block: Block): string | undefined {
  const part = said.sfdisk
    .flatMap(({ partitiontable }) => partitiontable.partitions ?? [])
    .find(({ node }) => node === block.path)
  const volume = volumes.get(block.path)
  const same = (a: string, b: string | null | undefined) => !!b && a.toLowerCase() === b.toLowerCase()
  for (const line of fstab.split('\n')) {
    const [spec = '', target = ''] = line.trim().split(/\s+/)
    if (!target.startsWith('/') && target !== 'none' && target !== 'swap') continue
    const [, key, raw = ''] = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/.exec(spec) ?? []
    const value = raw.replace(/^"(.*)"$/, '$1')
    const found =
      spec === block.path ||
      (volume !== undefined && spec === `/dev/${volume.group}/${volume.found.volume.name}`) ||
      (key === 'UUID' && same(value, block.uuid)) ||
      (key === 'LABEL' && value === block.label) ||
      (key === 'PARTUUID' && same(value, part?.uuid)) ||
      (key === 'PARTLABEL' && value === part?.name)
    if (found) return unescapeOctal(target)
  }
  return undefined
}

/** Of those in use. */
function swapFilesOf({ said }: World): SwapFile[] {
  const sizes = new Map(
    toolSaid(said, 'swapFiles')
      .split('\n')
      .map((line) => line.split(/ (.*)/s, 2))
      .map(([size, path]) => [path, Number(size)] as const),
  )
  return decode(said.swaps)
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([path, type]) => type === 'file' && path!.startsWith('/'))
    .map(([path, , size, , priority]) => ({
      path: unescapeOctal(path!),
      bytes: sizes.get(path) ?? (Number(size) || 0) * 1024 + 4096, // /proc/swaps leaves out the page of the header
      ...(Number(priority) >= 0 && { priority: Number(priority) }),
    }))
}

// Fits the golden client's disk onto a target's: which disk, and where each partition lies on it.
// Looks only; a layout that cannot be made is refused here, before anything on the target is touched.
import { UserError } from '../fault.ts'
import type { Disk, DiskLayout, Filesystem, Partition } from '../image/disk-layout.ts'
import { partitionPath } from '../image/disks.ts'
import { gptCopySectors, gptEntries, gptTypes } from '../image/partition-types.ts'
import type { DiskFacts, NodeFacts } from './protocol.ts'

const MIB = 2 ** 20
/** Partitions begin and end here: suits 512 and 4096 byte sectors, RAID stripes and flash blocks. */
const ALIGNMENT = MIB
/** A file system needs room for its own tables beside the files: a tenth of them, a journal, and inodes. */
const ROOM_FACTOR = 1.1
const ROOM_BYTES = 128 * MIB
/** 34 sectors at the end hold the second copy of a usual GPT; the first begins the disk. */
const GPT_SECTORS = 34
/** What fits before the first partition, beside two sectors of the largest disks. */
const MOST_ENTRIES = (ALIGNMENT - 2 * 4096) / gptEntries.bytes

const BIOS_BOOT = gptTypes.biosBoot
const ESP = gptTypes.efi

/** What the ramdisk can make, and what a UUID of it looks like. */
const filesystemUuids: Record<string, RegExp> = {
  ext4: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
  swap: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i,
  vfat: /^[0-9A-F]{4}-[0-9A-F]{4}$/i,
}

export type PlannedPartition = Omit<Partition, 'start' | 'size'> & { startBytes: number; sizeBytes: number }
export type PlannedLayout = { disk: DiskFacts; partitions: PlannedPartition[]; sfdisk: string }

/** The whole decision; throws UserError with the numbers when there is no disk that it fits on. */
export function planLayout(needs: {
  layout: DiskLayout
  facts: NodeFacts
  installdisk?: string | undefined
}): PlannedLayout {
  const golden = checkLayout(needs.layout)
  checkBootable(golden, needs.facts.firmware)
  const disk = chooseDisk(needs.facts.disks, needBytes(golden), needs.installdisk)
  const partitions = placePartitions(golden, disk)
  return { disk, partitions, sfdisk: renderSfdisk(golden, disk, partitions) }
}

/** Refuses by name what no machine can be given yet, whatever it is; the golden client's only disk. */
export function checkLayout(layout: DiskLayout): Disk {
  checkStorage(layout)
  const golden = onlyDisk(layout)
  checkPartitions(golden)
  return golden
}

/** What lies between a partition and its file system. */
function checkStorage({ disks, arrays = [], groups = [] }: DiskLayout) {
  const encrypted = disks.flatMap((disk) =>
    [disk, ...disk.partitions].flatMap(({ crypt }) => (crypt ? [`${disk.path} with ${crypt.format}`] : [])),
  )
  const what = [
    ...arrays.map(({ path, level }) => `${path}, md ${level}`),
    ...groups.map(({ name }) => `LVM group ${name}`),
    ...encrypted,
  ]
  if (what.length > 0)
    throw new UserError('storage cannot be cloned', {
      what: `the golden client has ${what.join('; ')}`,
      allowed: 'file systems on partitions',
    })
}

function onlyDisk({ disks }: DiskLayout): Disk {
  const [golden, ...more] = disks
  if (!golden) throw new UserError('the image has no disk layout', { what: 'no disk was captured with it' })
  if (more.length > 0)
    throw new UserError('the image spans several disks', {
      what: disks.map((d) => d.path).join(', '),
      allowed: 'a system on one disk',
    })
  return golden
}

function checkPartitions(golden: Disk) {
  if (golden.label !== 'gpt')
    throw new UserError('partition table cannot be cloned', {
      what: `${golden.path} has a ${golden.label} partition table`,
      allowed: 'gpt',
    })
  if (tableLength(golden) > MOST_ENTRIES)
    throw new UserError('partition table cannot be cloned', {
      what: `${golden.path} has room for ${tableLength(golden)} partitions in its table`,
      allowed: `at most ${MOST_ENTRIES}`,
    })
  for (const p of golden.partitions) if (p.filesystem) checkFilesystem(golden, p, p.filesystem)
  if (!golden.partitions.some((p) => p.filesystem?.type === 'ext4' && p.filesystem.mountpoint === '/'))
    throw new UserError('the image has no root file system', {
      what: `no partition of ${golden.path} is mounted on /`,
      allowed: 'ext4 on a partition',
    })
}

function checkFilesystem(golden: Disk, { number }: Partition, { type, uuid }: Filesystem) {
  const what = `${partitionPath(golden.path, number)} of the golden client holds ${type}`
  const form = filesystemUuids[type]
  if (!form)
    throw new UserError('file system cannot be cloned', {
      what,
      allowed: Object.keys(filesystemUuids).join(', '),
    })
  if (!uuid || !form.test(uuid))
    throw new UserError('file system cannot be cloned', {
      what: `${what} with the UUID ${uuid ?? 'unknown'}`,
    })
}

function checkBootable(golden: Disk, firmware: NodeFacts['firmware']) {
  const has = (type: string) => golden.partitions.find((p) => p.type.toUpperCase() === type)
  if (firmware === 'bios' && !has(BIOS_BOOT))
    throw new UserError('the image cannot start on a BIOS machine', {
      what: `${golden.path} of the golden client has no BIOS boot partition`,
      allowed: 'a UEFI machine',
    })
  if (firmware === 'uefi' && !has(ESP)?.filesystem?.mountpoint)
    throw new UserError('the image cannot start on a UEFI machine', {
      what: `${golden.path} of the golden client has no mounted EFI system partition`,
      allowed: 'a BIOS machine',
    })
}

/** The EFI system partition, where it is mounted. */
export const findEsp = (partitions: PlannedPartition[]) =>
  partitions.find((p) => p.type.toUpperCase() === ESP && p.filesystem?.mountpoint)

const MINIMUM_DISK = 256 * MIB // below: flash of a management controller, never a system disk

/**
 * The disk that is named; else the first by path that is no stick, no card and not read-only. When that one is too small
 * another may be meant, or hold data: then a person must name it.
 */
export function chooseDisk(disks: DiskFacts[], bytes: number, installdisk?: string): DiskFacts {
  if (installdisk !== undefined) return namedDisk(disks, bytes, installdisk)
  const sensible = disks
    .filter((d) => !d.removable && !d.readOnly && d.transport !== 'usb' && d.bytes >= MINIMUM_DISK)
    .sort((a, b) => byPath(a.path, b.path))
  const [first] = sensible
  if (first && first.bytes >= bytes) return first
  if (!first)
    throw new UserError('no disk to install on', {
      what:
        disks.length === 0 ? 'this machine shows no disk at all' : `only ${disks.map(describe).join(', ')}`,
      allowed: 'a fixed, writable disk, or one named by installdisk=',
    })
  throw tooSmall(bytes, sensible)
}

function namedDisk(disks: DiskFacts[], bytes: number, installdisk: string): DiskFacts {
  const disk = disks.find((d) => d.path === installdisk || d.links.includes(installdisk))
  if (!disk)
    throw new UserError('installdisk is not there', {
      what: installdisk,
      allowed: disks.map((d) => d.path).join(', ') || 'nothing: this machine shows no disk at all',
    })
  if (disk.readOnly) throw new UserError('installdisk is read-only', { what: installdisk })
  if (disk.bytes < bytes) throw tooSmall(bytes, [disk])
  return disk
}

const tooSmall = (bytes: number, disks: DiskFacts[]) =>
  new UserError('disk too small', {
    what: `needs ${gigabytes(bytes, Math.ceil)} on one disk, ${disks.map((d) => `${d.path} has ${gigabytes(d.bytes)}`).join(', ')}`,
    ...(disks.some((d) => d.bytes >= bytes) && { allowed: 'the disk named by installdisk=' }),
  })

const describe = (d: DiskFacts) =>
  `${d.path} (${[gigabytes(d.bytes), d.transport, d.removable && 'removable', d.readOnly && 'read-only'].filter(Boolean).join(', ')})`

/** sda before sdb before sdaa; numbers by value. */
function byPath(a: string, b: string): number {
  const stem = (path: string) => path.match(/^\/dev\/[a-z]d/)?.[0] ?? ''
  if (stem(a) && stem(a) === stem(b) && a.length !== b.length) return a.length - b.length
  return a.localeCompare(b, 'en', { numeric: true })
}

/** Needs are rounded up and disks down: the two numbers of a refusal never look the same. */
const gigabytes = (bytes: number, round: (tenths: number) => number = Math.floor) =>
  bytes >= 1e12 ? `${(round(bytes / 1e11) / 10).toFixed(1)} TB` : `${(round(bytes / 1e8) / 10).toFixed(1)} GB`

const alignUp = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
const alignDown = (bytes: number) => Math.floor(bytes / ALIGNMENT) * ALIGNMENT
const byStart = (golden: Disk) => golden.partitions.toSorted((a, b) => a.start - b.start)
const goldenBytes = (golden: Disk, p: Partition) => alignUp(p.size * golden.sectorBytes)

/** The partition that takes what the others leave: the last one with an ext4 file system. */
function fittedPartition(golden: Disk): Partition {
  return byStart(golden).findLast((p) => p.filesystem?.type === 'ext4')!
}

function leastBytes(golden: Disk, p: Partition): number {
  const used = p.filesystem?.usedBytes
  const size = alignDown(p.size * golden.sectorBytes) // rounded down: it always fits the disk that it came from
  return used === undefined ? size : Math.min(size, alignUp(used * ROOM_FACTOR + ROOM_BYTES))
}

/** Bytes that a disk must have: every partition as it is, the fitted one with its files and some room. */
function needBytes(golden: Disk): number {
  const fitted = fittedPartition(golden)
  const others = golden.partitions.filter((p) => p !== fitted)
  const fixed = others.reduce((sum, p) => sum + goldenBytes(golden, p), 0)
  return frontBytes(golden) + fixed + leastBytes(golden, fitted) + ALIGNMENT
}

/**
 * Where the first partition begins. What a golden client keeps free before its first one, beyond the usual MiB, is kept free:
 * some boot loaders lie there. What it leaves free at the end is not: most often its disk has grown since it was partitioned.
 */
function frontBytes({ firstSector = 0, sectorBytes, partitions }: Disk): number {
  const first = Math.min(firstSector, ...partitions.map(({ start }) => start))
  return Math.max(ALIGNMENT, alignUp(first * sectorBytes))
}

/** Entries of its table; old images say the number of a partition, and not that there is room for it. */
const tableLength = ({ tableLength = gptEntries.usual, partitions }: Disk): number =>
  Math.max(tableLength, ...partitions.map(({ number }) => number))

/** The second copy of a GPT, at the end of the disk. */
const gptBytes = (golden: Disk, { sectorBytes }: DiskFacts): number =>
  Math.max(GPT_SECTORS, 1 + gptCopySectors(tableLength(golden), sectorBytes)) * sectorBytes

/** In the golden order, one after the other; numbers, types, names and UUIDs stay. */
function placePartitions(golden: Disk, disk: DiskFacts): PlannedPartition[] {
  const fitted = fittedPartition(golden)
  const end = alignDown(disk.bytes - gptBytes(golden, disk))
  const fixed = golden.partitions.reduce((sum, p) => sum + (p === fitted ? 0 : goldenBytes(golden, p)), 0)
  const front = frontBytes(golden)
  let next = front
  return byStart(golden).map(({ start: _start, size: _size, ...kept }, index) => {
    const p = byStart(golden)[index]!
    const sizeBytes = p === fitted ? end - front - fixed : goldenBytes(golden, p)
    const startBytes = next
    next += sizeBytes
    return { ...kept, startBytes, sizeBytes }
  })
}

/** The input of sfdisk(8), sector numbers as the target disk counts them. */
function renderSfdisk(golden: Disk, disk: DiskFacts, partitions: PlannedPartition[]): string {
  const header = [
    'label: gpt',
    ...(golden.id ? [`label-id: ${word(golden.id)}`] : []),
    ...(tableLength(golden) === gptEntries.usual ? [] : [`table-length: ${tableLength(golden)}`]),
    ...(frontBytes(golden) === ALIGNMENT ? [] : [`first-lba: ${frontBytes(golden) / disk.sectorBytes}`]),
    'unit: sectors',
    `sector-size: ${disk.sectorBytes}`,
    '',
  ]
  return [...header, ...partitions.map((p) => renderPartition(p, disk.sectorBytes)), ''].join('\n')
}

function renderPartition(p: PlannedPartition, sectorBytes: number): string {
  const fields = [
    `start=${p.startBytes / sectorBytes}`,
    `size=${p.sizeBytes / sectorBytes}`,
    `type=${word(p.type)}`,
    p.uuid && `uuid=${word(p.uuid)}`,
    p.name && `name=${quote(p.name)}`,
    p.attrs && `attrs=${quote(p.attrs)}`,
  ]
  return `${p.number} : ${fields.filter(Boolean).join(', ')}`
}

function word(text: string): string {
  if (!/^[0-9A-Za-z-]+$/.test(text)) throw new UserError('sfdisk: not a GUID', { what: JSON.stringify(text) })
  return text
}

/** sfdisk has no escape for a quote inside quotes that all its versions read. */
function quote(text: string): string {
  if (/["\\\0-\x1f]/.test(text))
    throw new UserError('sfdisk: cannot be written', { what: JSON.stringify(text) })
  return `"${text}"`
}

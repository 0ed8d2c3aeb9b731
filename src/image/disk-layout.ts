// The disks of a golden client as a model: disk -> partition -> md, LUKS or LVM -> file system. What holds what is written
// at the holder: a partition says that it is a member of an array, the array says what it holds itself. Devices are
// named by their paths on the golden client, which mean nothing on a clone but tell one device from another.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { WireError } from '../fault.ts'

const text = Type.String({ maxLength: 4096 })
const bytes = Type.Integer({ minimum: 0 })
const count = Type.Integer({ minimum: 0 })
const words = Type.Array(text, { maxItems: 1000 })
const maybe = Type.Optional
/** What a tool says something was made with, in that tool's own words. */
const settings = Type.Record(text, text)

/** Of btrfs. `path` is from the top of the file system: '@home'; `mountpoint` is where it is seen, also inside another one. */
const Subvolume = Type.Object({
  id: count,
  path: text,
  parent: count, // its parent's id; 5 is the top
  mountpoint: maybe(text),
  readOnly: maybe(Type.Boolean()),
  snapshot: maybe(Type.Boolean()), // made of another one
  default: maybe(Type.Boolean()), // what is mounted when nothing is said
})
export type Subvolume = Static<typeof Subvolume>

/** `uuid` is as blkid prints it (vfat: 'A1B2-C3D4'). */
const Filesystem = Type.Object({
  type: text, // ext4, vfat, swap, ... as blkid names it
  uuid: maybe(text),
  label: maybe(text),
  mountpoint: maybe(text), // absent: not mounted and not in fstab; swap has none
  usedBytes: maybe(bytes), // of a mounted one
  features: maybe(text), // ext4: `dumpe2fs -h` feature words, when the golden client could say
  version: maybe(text), // 'FAT32'
  settings: maybe(settings), // 'Block size': '4096' | 'meta-data crc': '1' | 'nodesize': '16384'
  active: maybe(Type.Boolean()), // of swap: it is in use
  mountOptions: maybe(text),
  subvolumes: maybe(Type.Array(Subvolume, { maxItems: 100_000 })), // btrfs
  devices: maybe(words), // btrfs over several: all of them
})
export type Filesystem = Static<typeof Filesystem>

/** A member of an md array; `slot` is its place, absent for a spare, and for one that has failed and is still there. */
const Member = Type.Object({
  array: text,
  slot: maybe(count),
  spare: maybe(Type.Boolean()),
  failed: maybe(Type.Boolean()),
})
/** A physical volume of LVM. Without a group it is not in use. */
const Physical = Type.Object({
  uuid: text,
  group: maybe(text),
  startBytes: maybe(bytes), // of its first extent
  tags: maybe(words),
})

const plain = { filesystem: maybe(Filesystem), member: maybe(Member), physical: maybe(Physical) }
/** `path` is the open device, '/dev/mapper/NAME'; the keys of it are nowhere in an image. */
const Crypt = Type.Object({
  format: Type.Union([Type.Literal('luks1'), Type.Literal('luks2'), Type.Literal('plain')]),
  uuid: maybe(text),
  label: maybe(text),
  path: maybe(text),
  settings: maybe(settings),
  ...plain,
})
export type Crypt = Static<typeof Crypt>

const held = { ...plain, crypt: maybe(Crypt) }
const Held = Type.Object(held)
/** What a disk, partition, array or volume holds: at most one of these. */
export type Held = Static<typeof Held>

const Partition = Type.Object({
  number: count,
  start: count, // in sectors of the disk
  size: count, // in sectors of the disk
  type: text, // GPT type GUID, upper case; dos: hex id
  name: maybe(text), // GPT partition name
  uuid: maybe(text), // GPT partition GUID
  attrs: maybe(text), // GPT attribute words as sfdisk writes them
  bootable: maybe(Type.Boolean()), // dos
  ...held,
})
export type Partition = Static<typeof Partition>

const table = {
  label: Type.Union([Type.Literal('gpt'), Type.Literal('dos'), Type.Literal('none')]), // none: it holds something itself
  id: maybe(text),
  firstSector: maybe(count), // GPT: of the room for partitions
  lastSector: maybe(count), // GPT: of that room; absent: it ends where the second copy of the table begins
  tableLength: maybe(count), // GPT: how many partitions it can hold; absent: 128
  partitions: Type.Array(Partition, { maxItems: 1024 }),
  ...held,
}
const Disk = Type.Object({
  path: text, // '/dev/vda' on the golden client
  bytes,
  sectorBytes: bytes,
  physicalSectorBytes: maybe(bytes),
  model: maybe(text),
  serial: maybe(text),
  wwn: maybe(text),
  transport: maybe(text),
  ...table,
})
export type Disk = Static<typeof Disk>

const MdArray = Type.Object({
  path: text, // '/dev/md0'
  bytes,
  sectorBytes: bytes,
  level: text, // 'raid1', 'raid5', 'linear'
  metadata: text, // '1.2'
  devices: count, // that it needs, without spares
  missing: maybe(count), // of these, on the golden client; absent: it is whole
  uuid: maybe(text),
  name: maybe(text), // 'host:0'
  chunkBytes: maybe(bytes),
  layout: maybe(count), // of raid5, raid6, raid10: the kernel's number
  bitmap: maybe(text), // 'internal' | a path; absent: none
  bitmapChunkBytes: maybe(bytes),
  ...table,
})
export type MdArray = Static<typeof MdArray>

const Segment = Type.Object({
  type: text, // LVM's word: linear, striped, raid5, thin, thin-pool, cache, ...
  bytes,
  stripes: maybe(count),
  stripeBytes: maybe(bytes),
  regionBytes: maybe(bytes),
  chunkBytes: maybe(bytes),
  on: words, // physical volumes, or parts of its own
})
/** Where new extents may lie, in LVM's words. */
const Allocation = Type.Union([
  Type.Literal('contiguous'),
  Type.Literal('cling'),
  Type.Literal('normal'),
  Type.Literal('anywhere'),
])
export type Allocation = Static<typeof Allocation>

const LogicalVolume = Type.Object({
  name: text,
  part: maybe(Type.Boolean()), // of other volumes, as a mirror's images: not used by itself
  uuid: text,
  bytes,
  segments: Type.Array(Segment, { maxItems: 10_000 }),
  pool: maybe(text), // of a thin volume, and of a cached one
  origin: maybe(text), // of a snapshot
  metadataBytes: maybe(bytes), // of a pool
  settings: maybe(settings), // 'discards': 'passdown', 'cache_mode': 'writethrough'
  tags: maybe(words),
  allocation: maybe(Allocation), // absent: as its group says
  readOnly: maybe(Type.Boolean()),
  inactive: maybe(Type.Boolean()),
  ...held,
})
export type LogicalVolume = Static<typeof LogicalVolume>

const VolumeGroup = Type.Object({
  name: text,
  uuid: text,
  extentBytes: bytes,
  freeBytes: bytes,
  tags: maybe(words),
  allocation: maybe(Allocation), // absent: normal
  volumes: Type.Array(LogicalVolume, { maxItems: 10_000 }),
})
export type VolumeGroup = Static<typeof VolumeGroup>

/** A swap file, below '/'. */
const SwapFile = Type.Object({ path: text, bytes, priority: maybe(Type.Integer()) })
export type SwapFile = Static<typeof SwapFile>

const file = Type.String({ maxLength: 4_000_000 })
const DiskLayout = Type.Object({
  disks: Type.Array(Disk, { maxItems: 10_000 }),
  arrays: maybe(Type.Array(MdArray, { maxItems: 10_000 })),
  groups: maybe(Type.Array(VolumeGroup, { maxItems: 10_000 })),
  swapFiles: maybe(Type.Array(SwapFile, { maxItems: 1000 })),
  fstab: file,
  crypttab: maybe(file),
  mdadmConf: maybe(file),
})
/**
 * The disks that hold mounted file systems or swap of the golden client, and all that lies between; its fstab, crypttab and
 * mdadm.conf word for word. Absent arrays, groups and swap files: there are none, as in layouts of old images.
 */
export type DiskLayout = Static<typeof DiskLayout>

/** The text of a layout, as labels of images keep it. */
export const renderLayout = (layout: DiskLayout): string => JSON.stringify(layout)

/** Throws WireError when it is none. What this version does not know of is left out. */
export function parseLayout(json: string): DiskLayout {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw new WireError('layout: not JSON')
  }
  if (Value.Check(DiskLayout, value)) return Value.Clean(DiskLayout, value) as DiskLayout
  const [first] = Value.Errors(DiskLayout, value)
  throw new WireError(`layout: ${first?.instancePath ?? ''} ${first?.message ?? 'out of shape'}`)
}

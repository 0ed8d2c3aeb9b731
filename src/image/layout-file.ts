// The layout file of an image that was not captured: what a capture learns from its golden client's disks, a person says.
//   firmware: uefi                      # bios | uefi; without it uefi when there is an EFI system partition
//   sshHostKeys: [ed25519, ecdsa]       # of which kinds a clone makes host keys; without it those of the image's sshd
//   disks:
//     - size: 8 GiB                     # without it what the partitions need
//       label: gpt                      # gpt | dos
//       partitions:                     # in this order; one without a size takes the rest
//         - { type: bios-boot, size: 1 MiB }
//         - { type: efi, size: 128 MiB, filesystem: vfat, mountpoint: /boot/efi }
//         - { type: swap, size: 1 GiB, filesystem: swap }
//         - { type: linux, filesystem: ext4, mountpoint: /, label: root, options: errors=remount-ro }
//   fstab: |                            # without it one is made of the mount points
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { faultAt, type Key, type Place, valueAt } from '../config-place.ts'
import type { Fault } from '../fault.ts'
import { readYaml } from '../yaml-file.ts'
import type { Disk, DiskLayout, Partition } from './disk-layout.ts'
import { planFstabOf } from './layout-fstab.ts'
import { gptTypes } from './partition-types.ts'

export type LayoutFile = {
  layout: DiskLayout
  firmware: 'bios' | 'uefi'
  sshHostKeyTypes?: string[]
}

/** Kinds by name: GPT type and the dos one. */
const kinds: Record<string, [gpt: string, dos: string]> = {
  'bios-boot': [gptTypes.biosBoot, '4'],
  efi: [gptTypes.efi, 'ef'],
  linux: [gptTypes.linux, '83'],
  swap: [gptTypes.swap, '82'],
  lvm: [gptTypes.lvm, '8e'],
  raid: [gptTypes.raid, 'fd'],
  prep: [gptTypes.prep, '41'],
}
const ESP = kinds.efi![0]

const closed = { additionalProperties: false }
const size = Type.Union(
  [Type.Integer({ minimum: 1 }), Type.String({ pattern: '^[1-9][0-9]*(\\.[0-9]+)? ?([KMGT]i?B?)?$' })],
  {
    description: 'bytes, or as 128 MiB, 8 GiB',
  },
)
const uuid = (description: string) => Type.String({ pattern: '^[0-9A-Fa-f-]{4,36}$', description })
const PartitionKeys = Type.Object(
  {
    number: Type.Optional(Type.Integer({ minimum: 1, maximum: 128, description: '1 to 128' })),
    type: Type.String({
      pattern: `^(${Object.keys(kinds).join('|')}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9a-fA-F]{1,2})$`,
      description: `${Object.keys(kinds).join(' ')}, or the GUID (gpt) or hex id (dos) of a type`,
    }),
    size: Type.Optional(size),
    name: Type.Optional(
      Type.String({
        pattern: '^[^"\\\\\\x00-\\x1f]{1,36}$',
        description: 'at most 36 characters without quotes',
      }),
    ),
    partuuid: Type.Optional(uuid('a GUID')),
    attrs: Type.Optional(Type.String({ maxLength: 200, description: 'attributes as sfdisk writes them' })),
    bootable: Type.Optional(Type.Boolean({ description: 'true | false' })),
    filesystem: Type.Optional(
      Type.String({ pattern: '^[a-z0-9_]{1,20}$', description: 'a file system, as ext4, or swap' }),
    ),
    uuid: Type.Optional(uuid('the UUID of the file system')),
    label: Type.Optional(
      Type.String({ pattern: '^[^\\x00-\\x1f/]{1,36}$', description: 'at most 36 characters' }),
    ),
    mountpoint: Type.Optional(
      Type.String({ pattern: '^/[^\\s\\\\]*$', description: 'an absolute path without blanks' }),
    ),
    options: Type.Optional(
      Type.String({ pattern: '^\\S{1,500}$', description: 'mount options, as noatime,nodev' }),
    ),
    features: Type.Optional(
      Type.String({ maxLength: 1000, description: 'features of ext4, as dumpe2fs names them' }),
    ),
  },
  { ...closed, description: 'type, size, filesystem, mountpoint and more' },
)
const DiskKeys = Type.Object(
  {
    path: Type.Optional(Type.String({ pattern: '^/dev/[a-z0-9]{1,30}$', description: 'as /dev/sda' })),
    size: Type.Optional(size),
    label: Type.Union([Type.Literal('gpt'), Type.Literal('dos')], {
      default: 'gpt',
      description: 'gpt | dos',
    }),
    partitions: Type.Array(PartitionKeys, { minItems: 1, maxItems: 128, description: '1 to 128 partitions' }),
  },
  { ...closed, description: 'size, label, partitions' },
)
const File = Type.Object(
  {
    firmware: Type.Optional(
      Type.Union([Type.Literal('bios'), Type.Literal('uefi')], { description: 'bios | uefi' }),
    ),
    sshHostKeys: Type.Optional(
      Type.Array(Type.String({ pattern: '^(ed25519|ecdsa|rsa)$', description: 'ed25519 | ecdsa | rsa' }), {
        maxItems: 3,
        description: 'a list of ed25519, ecdsa, rsa',
      }),
    ),
    disks: Type.Array(DiskKeys, { minItems: 1, maxItems: 26, description: 'at least one disk: partitions' }),
    fstab: Type.Optional(Type.String({ maxLength: 1 << 18, description: 'the text of a file' })),
  },
  { ...closed, description: 'keys and values: firmware sshHostKeys disks fstab' },
)
type DiskKeys = Static<typeof DiskKeys>
type PartitionKeys = Static<typeof PartitionKeys>

const MIB = 1 << 20
const SECTOR = 512
const LEAST_REST = 2 ** 30 // of a partition that takes the rest, when the disk has no size

/** Throws UserError with all faults. `makeUuid` gives a new random UUID of the usual form. */
export function parseLayoutFile(text: string, name: string, makeUuid: () => string): LayoutFile {
  const { disks, fstab, firmware, sshHostKeys } = readYaml(File, text, name, layoutFaults)
  const made = disks.map((disk, i) => diskOf(disk, `/dev/sd${String.fromCharCode(97 + i)}`, makeUuid))
  const options = new Map(
    disks.flatMap(({ partitions }) =>
      partitions.flatMap(({ mountpoint, options }) =>
        mountpoint && options ? [[mountpoint, options] as const] : [],
      ),
    ),
  )
  const hasEsp = made.some((disk) => disk.partitions.some(({ type }) => type === ESP || type === 'ef'))
  return {
    layout: { disks: made, fstab: fstab ?? planFstabOf(made, options) },
    firmware: firmware ?? (hasEsp ? 'uefi' : 'bios'),
    ...(sshHostKeys && { sshHostKeyTypes: sshHostKeys }),
  }
}

function diskOf(
  { path, size: given, label, partitions }: DiskKeys,
  usual: string,
  makeUuid: () => string,
): Disk {
  const sizes = partitions.map((each) => (each.size === undefined ? undefined : alignUp(bytesOf(each.size))))
  const fixed = sizes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0)
  const bytes =
    alignUp(given === undefined ? fixed + LEAST_REST : bytesOf(given)) + (given === undefined ? 2 * MIB : 0)
  const rest = bytes - 2 * MIB - fixed // the tables at both ends
  let next = MIB
  const made = partitions.map((each, i): Partition => {
    const length = sizes[i] ?? rest
    const start = next / SECTOR
    next += length
    return partitionOf(each, { number: each.number ?? i + 1, start, size: length / SECTOR }, label, makeUuid)
  })
  return {
    path: path ?? usual,
    bytes,
    sectorBytes: SECTOR,
    label,
    ...(label === 'gpt' && { id: makeUuid().toUpperCase() }),
    partitions: made.sort((a, b) => a.number - b.number),
  }
}

function partitionOf(
  each: PartitionKeys,
  place: Pick<Partition, 'number' | 'start' | 'size'>,
  label: 'gpt' | 'dos',
  makeUuid: () => string,
): Partition {
  const { type, name, partuuid, attrs, bootable, filesystem } = each
  const known = kinds[type]
  return {
    ...place,
    type: known ? known[label === 'gpt' ? 0 : 1] : label === 'gpt' ? type.toUpperCase() : type.toLowerCase(),
    ...(name !== undefined && { name }),
    ...(label === 'gpt' && { uuid: (partuuid ?? makeUuid()).toUpperCase() }),
    ...(attrs !== undefined && { attrs }),
    ...(bootable !== undefined && { bootable }),
    ...(filesystem !== undefined && { filesystem: filesystemOf(each, filesystem, makeUuid) }),
  }
}

function filesystemOf(
  { uuid, label, mountpoint, features }: PartitionKeys,
  type: string,
  makeUuid: () => string,
): NonNullable<Partition['filesystem']> {
  return {
    type,
    uuid: uuid ?? filesystemUuid(type, makeUuid),
    ...(label !== undefined && { label }),
    ...(mountpoint !== undefined && { mountpoint }),
    ...(features !== undefined && { features }),
  }
}

/** FAT has a serial number of eight digits. */
export function filesystemUuid(type: string, makeUuid: () => string): string {
  const fresh = makeUuid()
  return type === 'vfat' ? `${fresh.slice(0, 4)}-${fresh.slice(4, 8)}`.toUpperCase() : fresh
}

const alignUp = (bytes: number): number => Math.ceil(bytes / MIB) * MIB

/** `128 MiB`, `1.5G`: always by 1024. */
function bytesOf(text: string | number): number {
  if (typeof text === 'number') return text
  const [, number = '', unit = ''] = /^([\d.]+) ?([KMGT]?)/.exec(text) ?? []
  return Math.floor(Number(number) * 1024 ** ['', 'K', 'M', 'G', 'T'].indexOf(unit))
}

/** What holds between values. */
function layoutFaults(value: unknown, place: Place): Fault[] {
  const disks = valueAt(value, ['disks'])
  if (!Array.isArray(disks)) return []
  const faults = disks.flatMap((_, i) => diskFaults(value, ['disks', i], place))
  const roots = mountsIn(value, disks.length).filter(({ mountpoint }) => mountpoint === '/')
  if (roots.length !== 1)
    faults.push(
      faultAt(place, ['disks'], 'one partition is mounted on /', roots.length, 'mountpoint: / once'),
    )
  return [...faults, ...twice(mountsIn(value, disks.length), place)]
}

function mountsIn(value: unknown, count: number) {
  return Array.from({ length: count }, (_, disk) => {
    const partitions = valueAt(value, ['disks', disk, 'partitions'])
    return (Array.isArray(partitions) ? partitions : []).map((_, i) => {
      const keys: Key[] = ['disks', disk, 'partitions', i, 'mountpoint']
      return { keys, mountpoint: valueAt(value, keys) }
    })
  }).flat()
}

function twice(mounts: ReturnType<typeof mountsIn>, place: Place): Fault[] {
  return mounts.flatMap(({ keys, mountpoint }, i) =>
    typeof mountpoint === 'string' && mounts.findIndex((each) => each.mountpoint === mountpoint) < i
      ? [faultAt(place, keys, 'mounted twice', mountpoint)]
      : [],
  )
}

function diskFaults(value: unknown, keys: Key[], place: Place): Fault[] {
  const partitions = valueAt(value, [...keys, 'partitions'])
  if (!Array.isArray(partitions)) return []
  const faults: Fault[] = []
  const at = (i: number, key: string): Key[] => [...keys, 'partitions', i, key]
  const open = partitions.flatMap((_, i) => (valueAt(value, at(i, 'size')) === undefined ? [i] : []))
  for (const i of open.slice(1))
    faults.push(faultAt(place, at(i, 'size'), 'needed', undefined, 'one partition without a size'))
  for (const [i] of partitions.entries()) {
    const get = (key: string) => valueAt(value, at(i, key))
    for (const key of ['mountpoint', 'uuid', 'label', 'features', 'options'])
      if (get(key) !== undefined && get('filesystem') === undefined)
        faults.push(faultAt(place, at(i, key), 'not without a filesystem', get(key), 'filesystem: ext4'))
    if (get('filesystem') === 'swap' && get('mountpoint') !== undefined)
      faults.push(faultAt(place, at(i, 'mountpoint'), 'swap is not mounted', get('mountpoint')))
  }
  const fixed = partitions.map((_, i) => valueAt(value, at(i, 'size'))).filter((each) => isSize(each))
  const needed = fixed.reduce<number>((sum, each) => sum + alignUp(bytesOf(each as string)), 2 * MIB)
  const given = valueAt(value, [...keys, 'size'])
  if (isSize(given) && bytesOf(given) < needed + (open.length > 0 ? MIB : 0))
    faults.push(
      faultAt(place, [...keys, 'size'], 'too small for its partitions', given, `at least ${needed} bytes`),
    )
  return faults
}

const isSize = (value: unknown): value is string | number =>
  typeof value === 'number' || (typeof value === 'string' && /^[1-9][\d.]* ?[KMGT]?/.test(value))

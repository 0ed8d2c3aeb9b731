// A <disk> of SystemImager's autoinstallscript.conf or disks-layout.xml: where its partitions lie and of which types they are. The file says
// sizes alone, so places are made; what it says in words that have no place in a layout is refused, with its line.
import type { UserError } from '../fault.ts'
import type { Element } from '../xml.ts'
import type { Disk, Filesystem, Held, Partition } from './disk-layout.ts'
import { gptTypes } from './partition-types.ts'

export type Mount = {
  device: string // '/dev/sda2'
  type: string
  mountpoint: string
  partuuid: string | undefined
  filesystem: Filesystem | undefined // absent: the file says format="no"
}
export type Fault = (error: string, at: Element, what: string) => UserError
/** What a partition is to an array or a volume group. */
export type Use = { role: 'raid' | 'lvm'; least: number; holds: Pick<Held, 'member' | 'physical'> } // least: bytes, when its size is open
export type Needs = {
  contentBytes: number // of the image: a size that the file leaves open is made to hold it
  makeUuid: () => string
  mounts: readonly Mount[]
  fault: Fault
  /** Of a partition, by its name. */
  useOf: (device: string) => Use | undefined
}
type Kind = 'gpt' | 'dos'
type Part = {
  element: Element
  number: number
  place: 'primary' | 'extended' | 'logical'
  size: number | '*' // in units of the disk; '*' takes the rest
  flags: ReadonlySet<string>
  use: Use | undefined
}
type Span = { start: number; length: number } // bytes

export const MIB = 1 << 20
const GIB = 2 ** 30
const SECTOR = 512
const labels = new Map<string | undefined, Kind>([
  ['gpt', 'gpt'],
  ['msdos', 'dos'],
])
/** parted once said MB and meant 1024 times 1024: the larger of both always holds what was there. */
const units: Record<string, number> = {
  ...{ B: 1, s: SECTOR, kB: 1024, KiB: 1024, kiB: 1024, MB: MIB, MiB: MIB, GB: GIB, GiB: GIB },
  ...{ TB: 1024 * GIB, TiB: 1024 * GIB },
}
/** GPT type and dos id; '' where that kind of table has none. */
const types = {
  efi: [gptTypes.efi, 'ef'],
  bios_grub: [gptTypes.biosBoot, ''],
  prep: [gptTypes.prep, '41'],
  swap: [gptTypes.swap, '82'],
  raid: [gptTypes.raid, 'fd'],
  lvm: [gptTypes.lvm, '8e'],
  msftdata: [gptTypes.msftdata, ''],
  linux: [gptTypes.linux, '83'],
} as const
type Role = keyof typeof types
const isRole = (flag: string): flag is Role => Object.hasOwn(types, flag) && flag !== 'linux'
/** id= of a GPT partition: sgdisk's codes, and what xCAT says of PReP, whatever the table. */
const gptIds: Record<string, Role> = {
  ...{ '41': 'prep', '4100': 'prep', ef00: 'efi', ef02: 'bios_grub', '8200': 'swap', '8300': 'linux' },
  ...{ fd00: 'raid', '8e00': 'lvm', '0700': 'msftdata' },
}
const gptAttributes: Record<string, string> = {
  legacy_boot: 'LegacyBIOSBootable',
  hidden: 'RequiredPartition', // so parted reads and writes it
}

export const isEsp = ({ type }: Partition): boolean => (types.efi as readonly string[]).includes(type)

/** '/dev/sda2', '/dev/nvme0n1p2' */
export const partitionName = (disk: string, number: number): string =>
  `${disk}${/\d$/.test(disk) ? 'p' : ''}${number}`

/** Throws UserError for what cannot be taken over. */
export function diskOf(element: Element, needs: Needs): Disk {
  const { fault, makeUuid } = needs
  const path = element.attributes.get('dev') ?? ''
  if (!/^\/dev\/[a-z0-9/]{1,40}$/.test(path)) throw fault('not a disk', element, path)
  const label = element.attributes.get('label_type')
  const kind = labels.get(label)
  if (kind === undefined) throw fault('partition table cannot be cloned', element, label ?? 'label_type')
  const parts = element.children.map((child, i) => readPart(child, { path, usual: i + 1 }, needs))
  checkNumbers(parts, kind, needs)
  const { bytes, spans } = placed(parts, element, needs)
  return {
    ...{ path, bytes, sectorBytes: SECTOR, label: kind },
    ...(kind === 'gpt' && { id: makeUuid().toUpperCase() }),
    partitions: parts
      .map((part) => partitionOf(part, { path, kind, ...spans.get(part)! }, needs))
      .sort((a, b) => a.number - b.number),
  }
}

const places = ['primary', 'extended', 'logical'] as const

function readPart(
  element: Element,
  { path, usual }: { path: string; usual: number },
  { fault, useOf }: Needs,
): Part {
  const get = (key: string) => element.attributes.get(key)
  const number = Number(get('num') ?? usual)
  if (!(Number.isInteger(number) && number > 0 && number <= 128))
    throw fault('not a partition number', element, `${get('num')}`)
  const place = places.find((each) => each === (get('p_type') ?? 'primary'))
  if (place === undefined) throw fault('not a kind of partition', element, `p_type="${get('p_type')}"`)
  const text = get('size') ?? ''
  if (text !== '*' && !(/^\d{1,15}(\.\d+)?$/.test(text) && Number(text) > 0))
    throw fault('not a size', element, text || 'size')
  const flags = (get('flags') ?? '').split(/[,\s]+/).filter((flag) => flag !== '' && flag !== '-')
  const use = useOf(partitionName(path, number))
  if (use && place === 'extended')
    throw fault('an extended partition holds nothing itself', element, partitionName(path, number))
  return { element, number, place, size: text === '*' ? '*' : Number(text), flags: new Set(flags), use }
}

function checkNumbers(parts: readonly Part[], kind: Kind, { fault }: Needs) {
  const extended = parts.findIndex(({ place }) => place === 'extended')
  for (const [i, { number, place, element }] of parts.entries()) {
    const what = `num="${number}" p_type="${place}"`
    if (parts.findIndex((part) => part.number === number) < i)
      throw fault('a partition number stands twice', element, what)
    if (kind === 'gpt' && place !== 'primary') throw fault('GPT has primary partitions alone', element, what)
    if (kind === 'dos' && (place === 'logical') !== number > 4)
      throw fault('logical partitions are numbered from 5 on, others to 4', element, what)
    if (place === 'extended' && i !== extended) throw fault('a second extended partition', element, what)
    if (place === 'logical' && (extended < 0 || extended > i))
      throw fault('no extended partition stands before the logical one', element, what)
  }
}

// --- where they lie ----------------------------------------------------------------------------------------------

const roundUp = (bytes: number) => Math.ceil(bytes / MIB) * MIB
const sum = (numbers: readonly number[]) => numbers.reduce((all, each) => all + each, 0)

/** One after the other from the first MiB on; logical ones within the extended one, each behind a MiB for its own table. */
function placed(
  parts: readonly Part[],
  disk: Element,
  needs: Needs,
): { bytes: number; spans: Map<Part, Span> } {
  const { bytes, lengthOf } = sizes(parts, disk, needs)
  const spans = new Map<Part, Span>()
  let [next, inner] = [MIB, MIB]
  for (const part of parts) {
    const length = lengthOf(part)
    const isLogical = part.place === 'logical'
    const start = isLogical ? inner + MIB : next
    spans.set(part, { start, length })
    if (isLogical) inner = start + length
    else next = start + length
    if (part.place === 'extended') inner = start
  }
  return { bytes: Math.max(bytes, next + MIB), spans }
}

/** The file does not say how large the disk was: what is said of partitions, with room for the content where that is open. */
function sizes(parts: readonly Part[], disk: Element, { contentBytes, fault }: Needs) {
  const unit = disk.attributes.get('unit_of_measurement') ?? 'MB'
  const isShare = ['%', 'percent', 'percentage'].includes(unit)
  if (!isShare && !Object.hasOwn(units, unit)) throw fault('not a unit of sizes', disk, unit)
  const leasts = parts.flatMap(({ size, use }) => (size === '*' && use ? [use.least] : []))
  const most = Math.max(contentBytes * 1.3 + GIB, ...leasts)
  const room = roundUp(most)
  const whole = isShare ? Math.max(8 * GIB, roundUp(2 * room), ...parts.map(wholeFor)) : undefined
  const said = ({ size }: Part) =>
    size === '*' ? 0 : roundUp(whole === undefined ? size * units[unit]! : ((whole - 2 * MIB) * size) / 100)
  const outer = parts.filter(({ place }) => place !== 'logical')
  const logical = parts.filter(({ place }) => place === 'logical')
  const [open, innerOpen] = [onlyOpen(outer), onlyOpen(logical)]
  const inside = sum(logical.map((part) => said(part) + MIB))
  const outerLengths = new Map(outer.map((part) => [part, fixedLength(part)]))
  if (open !== undefined) outerLengths.set(open, openLength(open))
  return { bytes: whole ?? 2 * MIB + sum([...outerLengths.values()]), lengthOf }

  /** The disk of which a share is as much as that partition needs. */
  function wholeFor({ use, size }: Part): number {
    return use && size !== '*' ? roundUp((use.least * 100) / size + 3 * MIB) : 0
  }
  /** The one that takes the rest. */
  function onlyOpen(among: readonly Part[]): Part | undefined {
    const [first, second] = among.filter(({ size }) => size === '*')
    if (second) throw fault('two partitions take the rest', second.element, 'size="*"')
    return first
  }
  /** Logical ones are larger here than there by what stands between them. */
  function fixedLength(part: Part): number {
    return part.place === 'extended' && !innerOpen ? Math.max(said(part), inside) : said(part)
  }
  function openLength(part: Part): number {
    const least = part.place === 'extended' ? inside + (innerOpen ? MIB : 0) : MIB
    if (whole === undefined) return part.place === 'extended' ? inside + (innerOpen ? room : 0) || MIB : room
    const rest = whole - 2 * MIB - sum([...outerLengths.values()])
    if (rest < Math.max(least, MIB)) throw fault('no room is left', part.element, 'size="*"')
    return Math.floor(rest / MIB) * MIB
  }
  function lengthOf(part: Part): number {
    if (part.place !== 'logical') return outerLengths.get(part)!
    if (part !== innerOpen) return said(part)
    const rest = outerLengths.get(outer.find(({ place }) => place === 'extended')!)! - inside
    if (rest < MIB) throw fault('no room is left', part.element, 'size="*"')
    return rest
  }
}

// --- what they are -----------------------------------------------------------------------------------------------

function partitionOf(part: Part, at: { path: string; kind: Kind } & Span, needs: Needs): Partition {
  const { path, kind, start, length } = at
  const { number, flags, element } = part
  const mount = needs.mounts.find(({ device }) => device === partitionName(path, number))
  if (mount && part.place === 'extended')
    throw needs.fault('an extended partition holds no file system', element, mount.device)
  if (mount?.filesystem && part.use)
    throw needs.fault('holds a file system, and is a part of something else', element, mount.device)
  const name = element.attributes.get('p_name') ?? '-'
  const attrs = [...flags].flatMap((flag) =>
    Object.hasOwn(gptAttributes, flag) ? [gptAttributes[flag]!] : [],
  )
  return {
    number,
    start: start / SECTOR,
    size: length / SECTOR,
    type: kind === 'gpt' ? gptType(part, mount, needs) : dosType(part, mount, needs),
    ...(kind === 'gpt' && { uuid: (mount?.partuuid ?? needs.makeUuid()).toUpperCase() }),
    ...(kind === 'gpt' && !/^(-|\(.*\)|)$/.test(name) && { name }),
    ...(kind === 'gpt' && attrs.length > 0 && { attrs: attrs.join(' ') }),
    ...(kind === 'dos' && flags.has('boot') && { bootable: true }),
    ...(mount?.filesystem && { filesystem: mount.filesystem }),
    ...part.use?.holds,
  }
}

function gptType({ element, flags, use }: Part, mount: Mount | undefined, { fault }: Needs): string {
  const roles = new Set<Role>()
  for (const flag of flags) {
    if (flag === 'boot' && mount && mount.type !== 'vfat')
      throw fault(
        'boot is the flag of an EFI system partition',
        element,
        `${mount.device} with ${mount.type}`,
      )
    if (flag === 'boot' || flag === 'esp') roles.add('efi')
    else if (isRole(flag)) roles.add(flag)
    else if (!Object.hasOwn(gptAttributes, flag)) throw fault('flag cannot be taken over', element, flag)
  }
  const id = element.attributes.get('id')?.toLowerCase()
  if (id !== undefined && !Object.hasOwn(gptIds, id))
    throw fault('no type of a GPT partition', element, `id="${id}"`)
  if (id !== undefined) roles.add(gptIds[id]!)
  return types[
    oneOf(roles, { mount, use }, () => fault('flags exclude each other', element, [...flags].join(' ')))
  ][0]
}

function dosType({ element, flags, place, use }: Part, mount: Mount | undefined, { fault }: Needs): string {
  const no = (flag: string) => fault('flag cannot be taken over', element, flag)
  const roles = new Set<Role>()
  let id = element.attributes.get('id')?.toLowerCase()
  for (const flag of flags) {
    const type = /^type=([0-9a-f]{1,2})$/i.exec(flag)?.[1]
    if (type !== undefined) id ??= type.toLowerCase()
    else if (flag === 'esp') roles.add('efi')
    else if (isRole(flag) && types[flag][1] !== '') roles.add(flag)
    else if (flag !== 'boot' && flag !== 'lba') throw no(flag)
  }
  if (id !== undefined) {
    if (!/^[0-9a-f]{1,2}$/.test(id)) throw fault('not a type of a partition', element, `id="${id}"`)
    return id.replace(/^0(?=.)/, '')
  }
  if (place === 'extended') return flags.has('lba') ? 'f' : '5'
  const role = oneOf(roles, { mount, use }, () =>
    fault('flags exclude each other', element, [...flags].join(' ')),
  )
  if (!flags.has('lba') || role === 'efi') return types[role][1]
  if (role !== 'linux' || mount?.type !== 'vfat') throw no('lba')
  return 'c'
}

/** Flags say it, else what is mounted from it. */
function oneOf(
  roles: ReadonlySet<Role>,
  { mount, use }: { mount: Mount | undefined; use: Use | undefined },
  clash: () => UserError,
): Role {
  if (roles.size > 1) throw clash()
  const [role] = roles
  if (role !== undefined && role !== 'msftdata') return role
  if (use) return use.role
  if (mount?.type === 'swap') return 'swap'
  return ['/boot/efi', '/efi'].includes(mount?.mountpoint ?? '') ? 'efi' : (role ?? 'linux')
}

// The arrays of SystemImager's autoinstallscript.conf and disks-layout.xml, in the words of mdadm.
//   <raid name="/dev/md0" raid_level="1" raid_devices="2" spare_devices="0" persistence="yes" devices="/dev/sda1 /dev/sdb1"
//         [layout="left-symmetric"] [chunk_size="64K"] [lvm_group="vg0"]/>        as si_prepareclient writes it
//   <raid> <raid_disk name= raid_level= .../> </raid>                              as people write it, from 4.2 on
// A partition may say by raid_dev= of which array it is a member. The file does not say what a superblock is like: mdadm.conf
// of the image may, else it is mdadm's default.
import type { UserError } from '../fault.ts'
import type { Element } from '../xml.ts'
import { type Fault, MIB, partitionName } from './autoinstall-disk.ts'
import type { Held, MdArray } from './disk-layout.ts'

/** An array as the file declares it. */
export type Raid = {
  element: Element
  path: string // '/dev/md0'
  level: string // 'raid1'
  members: string[] // partitions, in their order; those beyond `devices` are spares
  devices: number // that it needs
  layout: number | undefined
  chunkBytes: number | undefined
  group: string | undefined // of LVM, that it is a physical volume of
}

type Level = {
  names: string[] // as the file may write it
  least: number // members
  data: (devices: number) => number // members whose size counts
  layouts?: (word: string) => number | undefined // the kernel's number; '' is the default
  striped?: true
}
const parity = ['left-asymmetric', 'right-asymmetric', 'left-symmetric', 'right-symmetric']
const parityLayout = (word: string) => {
  const number = parity.indexOf(word || 'left-symmetric')
  return number < 0 ? undefined : number
}
/** near=2: 0x102, far=2: 0x201, offset=2: 0x10201 */
function copiesLayout(word: string): number | undefined {
  const [, kind, copies] = /^(n|f|o)(?:ear=|ar=|ffset=)?([2-9])$/.exec(word || 'n2') ?? []
  if (kind === undefined) return undefined
  return kind === 'n' ? 0x100 + Number(copies) : (kind === 'o' ? 0x10000 : 0) + Number(copies) * 0x100 + 1
}
const levels: Record<string, Level> = {
  linear: { names: ['linear'], least: 1, data: (n) => n },
  raid0: { names: ['raid0', '0', 'stripe'], least: 1, data: (n) => n, striped: true },
  raid1: { names: ['raid1', '1', 'mirror'], least: 1, data: () => 1 },
  raid4: { names: ['raid4', '4'], least: 2, data: (n) => n - 1, striped: true },
  raid5: { names: ['raid5', '5'], least: 2, data: (n) => n - 1, layouts: parityLayout, striped: true },
  raid6: { names: ['raid6', '6'], least: 4, data: (n) => n - 2, layouts: parityLayout, striped: true },
  raid10: { names: ['raid10', '10'], least: 2, data: (n) => n / 2, layouts: copiesLayout, striped: true },
}
const USUAL_CHUNK = 512 << 10

/** Throws UserError for what cannot be taken over. */
export function readRaids(root: Element, fault: Fault): Raid[] {
  const elements = root.children
    .filter(({ name }) => name === 'raid')
    .flatMap((raid) => arraysIn(raid, fault))
  const named = membersByName(root)
  const raids = elements.map((element) => readRaid(element, named, fault))
  for (const [i, { path, element }] of raids.entries())
    if (raids.findIndex((raid) => raid.path === path) < i) throw fault('an array stands twice', element, path)
  for (const [path, { element }] of named)
    if (!raids.some((raid) => raid.path === path))
      throw fault('the array is not said', element, `raid_dev="${path}"`)
  const seen = new Set<string>()
  for (const { members, element } of raids)
    for (const member of members) {
      if (seen.has(member)) throw fault('is a member of two arrays', element, member)
      seen.add(member)
    }
  return raids
}

/** One that is an array itself, or that holds them. */
function arraysIn(raid: Element, fault: Fault): Element[] {
  if (raid.children.length === 0) return [raid]
  const [word] = raid.attributes.keys()
  if (word !== undefined) throw fault('cannot be taken over', raid, `<raid ${word}> with arrays in it`)
  return raid.children
}

/** Partitions by the array that they name. */
function membersByName(root: Element): Map<string, { element: Element; members: string[] }> {
  const named = new Map<string, { element: Element; members: string[] }>()
  for (const disk of root.children.filter(({ name }) => name === 'disk'))
    for (const [i, element] of disk.children.entries()) {
      const path = element.attributes.get('raid_dev')
      if (path === undefined) continue
      const found = named.get(path) ?? { element, members: [] }
      named.set(path, found)
      const number = Number(element.attributes.get('num') ?? i + 1)
      found.members.push(partitionName(disk.attributes.get('dev') ?? '', number))
    }
  return named
}

function readRaid(element: Element, named: ReturnType<typeof membersByName>, fault: Fault): Raid {
  const get = (key: string) => element.attributes.get(key)?.trim() || undefined
  const bad = (error: string, key: string): UserError => fault(error, element, `${key}="${get(key) ?? ''}"`)
  const path = get('name') ?? ''
  if (!/^\/dev\/md[\w/.-]{1,40}$/.test(path)) throw bad('not an array', 'name')
  const word = get('raid_level')?.toLowerCase() ?? ''
  const found = Object.entries(levels).find(([, { names }]) => names.includes(word))
  if (found === undefined) throw bad('not a level of arrays', 'raid_level')
  const [level, { least, layouts, striped }] = found
  if (!['yes', undefined].includes(get('persistence')))
    throw bad('an array without a superblock cannot be taken over', 'persistence')
  if (get('rounding') !== undefined) throw bad('cannot be taken over', 'rounding')
  const layout = layouts?.(get('layout')?.replace(/,$/, '') ?? '')
  if (get('layout') !== undefined && layout === undefined) throw bad(`not a layout of ${level}`, 'layout')
  const members = [...new Set([...(named.get(path)?.members ?? []), ...(get('devices')?.split(/\s+/) ?? [])])]
  const spares = numberOf('spare_devices', 0)
  const devices = numberOf('raid_devices', members.length - spares)
  if (members.length === 0) throw fault('an array without members', element, path)
  if (devices < least || members.length > devices + spares)
    throw fault('the number of members is another one', element, `${path}: ${members.join(' ')}`)
  return {
    ...{ element, path, level, members, devices, layout },
    chunkBytes: chunkOf() ?? (striped ? USUAL_CHUNK : undefined),
    group: get('lvm_group'),
  }

  function numberOf(key: string, usual: number): number {
    const text = get(key)
    if (text !== undefined && !/^\d{1,3}$/.test(text)) throw bad('not a number of devices', key)
    return text === undefined ? usual : Number(text)
  }
  /** Kilobytes, where no unit is said. */
  function chunkOf(): number | undefined {
    const text = get('chunk_size')
    if (text === undefined) return undefined
    const [, number, unit] = /^(\d{1,6})([KM]?)$/i.exec(text) ?? []
    const bytes = Number(number) * (unit?.toUpperCase() === 'M' ? MIB : 1024)
    if (!(bytes >= 4096 && Number.isInteger(Math.log2(bytes))))
      throw bad('not a size of chunks', 'chunk_size')
    return bytes
  }
}

/** What each of them is to its array. */
export const membersOf = (raids: readonly Raid[]): Map<string, NonNullable<Held['member']>> =>
  new Map(
    raids.flatMap(({ path, members, devices }) =>
      members.map((member, i) => [
        member,
        { array: path, ...(i < devices ? { slot: i } : { spare: true as const }) },
      ]),
    ),
  )

/** Bytes that each member must have, so that the array has so many. */
export function memberBytes({ level, devices }: Raid, bytes: number): number {
  const each = Math.ceil(bytes / Math.max(1, levels[level]!.data(devices)))
  return Math.ceil((each * 1.002 + 2 * MIB) / MIB) * MIB
}

type Needs = {
  fault: Fault
  makeUuid: () => string
  mdadmConf: string // of the image; '' when it has none
  bytesOf: (member: string) => number
  holds: (raid: Raid) => Pick<Held, 'filesystem' | 'physical'>
}

export function arrayOf(raid: Raid, { fault, makeUuid, mdadmConf, bytesOf, holds }: Needs): MdArray {
  const { path, level, members, devices, layout, chunkBytes, element } = raid
  const active = members.slice(0, devices).map((member) => usable(bytesOf(member)))
  const bytes =
    level === 'linear' ? active.reduce((sum, each) => sum + each, 0) : capacity(level, devices, active)
  if (!(bytes > 0)) throw fault('no room is left in the array', element, path)
  const { uuid, name, metadata = '1.2' } = saidOf(mdadmConf, path)
  if (!/^(0\.90|1\.[0-2])$/.test(metadata))
    throw fault('the superblock of the array cannot be taken over', element, `${path}: metadata=${metadata}`)
  return {
    ...{ path, bytes, sectorBytes: 512, level, metadata, devices },
    ...(active.length < devices && { missing: devices - active.length }),
    uuid:
      uuid ??
      makeUuid()
        .replaceAll('-', '')
        .replace(/.{8}(?=.)/g, '$&:'),
    ...(name !== undefined && { name }),
    ...(chunkBytes !== undefined && { chunkBytes }),
    ...(layout !== undefined && { layout }),
    label: 'none',
    partitions: [],
    ...holds(raid),
  }
}

const capacity = (level: string, devices: number, active: readonly number[]): number =>
  Math.floor((levels[level]!.data(devices) * Math.min(...active)) / MIB) * MIB

/** mdadm keeps a thousandth free for the superblock and a later reshape, 128 MiB at most, and a bit. */
const usable = (bytes: number): number =>
  Math.floor((bytes - Math.min(128 * MIB, bytes / 1024) - MIB) / MIB) * MIB

/** The ARRAY line of mdadm.conf(5) about it; lines that begin with a blank go on with the one before. */
function saidOf(mdadmConf: string, path: string): { uuid?: string; name?: string; metadata?: string } {
  const names = [path, path.replace(/^\/dev\/md(?=\d)/, '/dev/md/')]
  for (const line of mdadmConf.replace(/\n[ \t]+/g, ' ').split('\n')) {
    const [word = '', name = '', ...more] = line.trim().split(/\s+/)
    if (word.toUpperCase() !== 'ARRAY' || !names.includes(name)) continue
    const said = new Map(more.map((each) => each.split(/=(.*)/s, 2) as [string, string]))
    const get = (key: string) => [...said].find(([each]) => each.toLowerCase() === key)?.[1]
    const [uuid, title, metadata] = [get('uuid'), get('name'), get('metadata')]
    return {
      ...(uuid && /^[0-9a-f]{8}(:[0-9a-f]{8}){3}$/i.test(uuid) && { uuid: uuid.toLowerCase() }),
      ...(title && { name: title.slice(0, 64) }),
      ...(metadata && { metadata: metadata.replace(/^0+\.90$|^0$/, '0.90').replace(/^1$/, '1.2') }),
    }
  }
  return {}
}

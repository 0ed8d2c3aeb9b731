// The answer of bootfiles/capture/probe.sh as it comes: its shape, and how its texts are looked up.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { WireError } from '../fault.ts'

const text = Type.String({ maxLength: 4_000_000 })
const word = Type.String({ maxLength: 4096 })
const orNull = <T extends ReturnType<typeof Type.String>>(type: T) =>
  Type.Optional(Type.Union([type, Type.Null()]))
const maybe = orNull(word)
const count = Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: '^\\d{1,19}$' })]) // old util-linux quotes
const flag = Type.Optional(Type.Union([Type.Boolean(), word, Type.Null()]))

const Block = Type.Object({
  name: word, // a path
  kname: maybe,
  type: word,
  size: count,
  'log-sec': count,
  'phy-sec': Type.Optional(Type.Union([count, Type.Null()])),
  fstype: maybe,
  fsver: maybe,
  uuid: maybe,
  label: maybe,
  rm: flag,
  model: maybe,
  serial: maybe,
  wwn: maybe,
  tran: maybe,
})
const Mount = Type.Object({
  target: word,
  source: Type.Union([word, Type.Null()]),
  fstype: word,
  fsroot: word,
  options: maybe,
  used: Type.Optional(Type.Union([count, Type.Null()])),
})
const Table = Type.Object({
  label: word,
  id: Type.Optional(word),
  device: word,
  firstlba: Type.Optional(Type.Integer({ minimum: 0 })),
  lastlba: Type.Optional(Type.Integer({ minimum: 0 })),
  'table-length': Type.Optional(count), // of a GPT that has not the usual 128; sfdisk quotes it
  partitions: Type.Optional(
    Type.Array(
      Type.Object({
        node: word,
        start: Type.Integer({ minimum: 0 }),
        size: Type.Integer({ minimum: 0 }),
        type: word,
        uuid: Type.Optional(word),
        name: Type.Optional(word),
        attrs: Type.Optional(word),
        bootable: Type.Optional(Type.Boolean()),
      }),
      { maxItems: 1024 },
    ),
  ),
})
const Said = Type.Object({
  arch: word,
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  release: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}$' }), // a folder's name, and an argument
  user: Type.Integer({ minimum: 0 }),
  osRelease: text,
  fstab: text,
  swaps: text,
  modules: text,
  tar: text,
  zstd: Type.Boolean(),
  split: Type.Boolean(),
  lsblk: Type.Object({ blockdevices: Type.Array(Type.Unknown(), { maxItems: 10_000 }) }),
  findmnt: Type.Object({ filesystems: Type.Array(Mount, { maxItems: 100_000 }) }),
  sfdisk: Type.Array(Type.Object({ partitiontable: Table }), { maxItems: 10_000 }),
  said: Type.Record(Type.String(), text), // by tool and device: 'dumpe2fs /dev/vda1'
  files: Type.Record(Type.String(), text),
  hostKeys: Type.Array(word, { maxItems: 20 }),
  kernel: word,
})
export type Said = Static<typeof Said>
export type Mount = Static<typeof Mount>
export type Table = Static<typeof Table>

/** A block device once, with all that lies directly below it. */
export type Block = {
  path: string
  kname: string // '/dev/dm-0'
  type: string // lsblk's: disk, part, raid1, lvm, crypt, loop, ...
  bytes: number
  sectorBytes: number
  physicalSectorBytes: number | undefined
  fstype: string | undefined
  version: string | undefined
  uuid: string | undefined
  label: string | undefined
  removable: boolean
  parents: string[]
} & Partial<Record<'model' | 'serial' | 'wwn' | 'transport', string>>

/** Throws WireError when this is no answer of probe.sh. */
export function parseSaid(json: string): Said {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (error) {
    throw new WireError(`probe: not JSON: ${(error as Error).message.slice(0, 200)}`)
  }
  if (Value.Check(Said, value)) return value
  const [first] = Value.Errors(Said, value)
  throw new WireError(`probe: ${first?.instancePath ?? ''} ${first?.message ?? 'out of shape'}`)
}

export const decode = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8')

/** What a tool said under that name, a file held; '' when it was not there. */
export const toolSaid = ({ said }: Said, name: string): string =>
  decode(Object.hasOwn(said, name) ? said[name]! : '')
export const fileHeld = ({ files }: Said, path: string): string =>
  decode(Object.hasOwn(files, path) ? files[path]! : '')

/** fstab(5) and /proc write a blank in a path as `\040`. */
export const unescapeOctal = (path: string): string =>
  path.replace(/\\([0-3][0-7]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))

/** The tree of lsblk, where what has several parents stands several times, as a list. */
export function blocksOf({ lsblk }: Said): Block[] {
  const found = new Map<string, Block>()
  const visit = (list: unknown[], parent?: string) => {
    for (const item of list) {
      const children = (item as { children?: unknown[] } | null)?.children
      if (!Value.Check(Block, item)) continue
      const block = found.get(item.name) ?? blockOf(item)
      found.set(block.path, block)
      if (parent !== undefined && !block.parents.includes(parent)) block.parents.push(parent)
      if (Array.isArray(children)) visit(children, block.path)
    }
  }
  visit(lsblk.blockdevices)
  return [...found.values()]
}

function blockOf(item: Static<typeof Block>): Block {
  const named = { model: item.model, serial: item.serial, wwn: item.wwn, transport: item.tran }
  const known = Object.entries(named).flatMap(([key, value]) => (value?.trim() ? [[key, value.trim()]] : []))
  return {
    path: item.name,
    kname: item.kname ?? item.name,
    type: item.type,
    bytes: Number(item.size),
    sectorBytes: Number(item['log-sec']),
    physicalSectorBytes: item['phy-sec'] == null ? undefined : Number(item['phy-sec']),
    fstype: item.fstype || undefined,
    version: item.fsver || undefined,
    uuid: item.uuid || undefined,
    label: item.label || undefined,
    removable: item.rm === true || item.rm === '1',
    parents: [],
    ...Object.fromEntries(known),
  }
}

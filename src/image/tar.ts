// POSIX.1-2001 (pax) archives as GNU tar writes them, read front to back without changing a byte.
//   header 512 | data, padded to 512 | header ... | two zero blocks | zero padding
// A member may be preceded by a pax header (type x, records `LENGTH KEY=VALUE\n`) or GNU's long names (types L, K).
// Sparse files are GNU's format 1.0: the map stands in decimal lines at the head of the data.
// Names are latin1 strings, one character a byte: they need not be UTF-8.
import { createHash } from 'node:crypto'
import { WireError } from '../fault.ts'
import type { FileFacts, FileType } from './compare-line.ts'
import { relativePath } from './compare-line.ts'

export const BLOCK = 512
export const MAX_EXTENDED = 4 << 20 // a pax header holds names and extended attributes: the kernel limits those to 64 KiB each
const MAX_SPARSE_NUMBERS = 4_000_000

/** One run of real data in a sparse file; everything between runs reads as zeros. */
export type Extent = { offset: number; length: number }

export type TarEntry = {
  facts: FileFacts
  hardLinkTo?: string // path of an earlier member with the same content; `facts` are then those of its header
  offset: number // of the first header of this member in the archive
  end: number // where the next member begins
  storedBytes: number // data in the archive, without padding
  extents?: Extent[] // of a sparse file; known once its data begins
  ctimeNs?: string
  xattrs?: string // sha256 over the records of extended attributes, ACLs and labels
}

export type TarVisitor = {
  entry(entry: TarEntry): void
  /** Content of the entry, in order; of a sparse file only the runs of real data. `chunk` is a view: copy it to keep it. */
  data?(entry: TarEntry, chunk: Buffer): void
  /** The member has ended. */
  done?(entry: TarEntry): void
}

type Pax = Map<string, string>
type State =
  | { want: 'header' }
  | { want: 'extended'; kind: 'x' | 'L' | 'K' | 'global'; left: number; padded: number; parts: Buffer[] }
  | { want: 'sparse map'; entry: TarEntry; left: number; map: SparseMap; realSize: number }
  | { want: 'data'; entry: TarEntry; left: number; padding: number }
  | { want: 'nothing' }

/** A reader that is fed chunks of any size. Throws WireError for anything that is not such an archive. */
export function readTar(visitor: TarVisitor) {
  let state: State = { want: 'header' }
  let pending: Buffer = Buffer.alloc(0) // less than one block
  let position = 0 // of what is parsed
  let memberStart: number | undefined
  let pax: Pax = new Map()
  let ended = false

  function push(chunk: Buffer) {
    let bytes = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    pending = Buffer.alloc(0)
    while (bytes.length > 0) {
      const used = step(bytes)
      if (used === 0) {
        pending = Buffer.from(bytes)
        return
      }
      position += used
      bytes = bytes.subarray(used)
    }
  }

  function end() {
    if (!ended || pending.length > 0)
      throw new WireError(`tar: ends within an archive, after ${position} bytes`)
  }

  /** Where the member that is being read begins; between two, where the next one will. */
  function boundary(): number {
    const inside = state.want === 'data' || state.want === 'sparse map' ? state.entry.offset : memberStart
    return inside ?? position
  }

  /** Takes what it can from the front; 0 when a whole block is needed and not there. */
  function step(bytes: Buffer): number {
    switch (state.want) {
      case 'nothing':
        if (bytes.some((b) => b !== 0)) throw new WireError('tar: data after the end of the archive')
        return bytes.length
      case 'header':
        if (bytes.length < BLOCK) return 0
        readHeader(bytes.subarray(0, BLOCK))
        return BLOCK
      case 'extended':
        return readExtended(state, bytes)
      case 'sparse map':
        if (bytes.length < BLOCK) return 0
        readSparseMap(state, bytes.subarray(0, BLOCK))
        return BLOCK
      case 'data':
        return readData(state, bytes)
    }
  }

  function readHeader(block: Buffer) {
    if (block.every((b) => b === 0)) {
      if (memberStart !== undefined) throw new WireError('tar: ends after an extended header')
      ended = true
      state = { want: 'nothing' }
      return
    }
    checkSum(block)
    memberStart ??= position
    const type = String.fromCharCode(block[156]!)
    if (type === 'x' || type === 'L' || type === 'K' || type === 'g') return beginExtended(type, block)
    beginMember(type, block)
  }

  function beginExtended(type: 'x' | 'L' | 'K' | 'g', block: Buffer) {
    const size = number(block, 124, 12, 'size')
    if (size > MAX_EXTENDED) throw new WireError(`tar: extended header of ${size} bytes`)
    const kind = type === 'g' ? 'global' : type
    state = { want: 'extended', kind, left: size, padded: padded(size), parts: [] }
    if (size === 0) finishExtended(state)
  }

  function readExtended(now: State & { want: 'extended' }, bytes: Buffer): number {
    const part = bytes.subarray(0, now.padded)
    if (now.left > 0) now.parts.push(Buffer.from(part.subarray(0, now.left)))
    now.left = Math.max(0, now.left - part.length)
    now.padded -= part.length
    if (now.padded === 0) finishExtended(now)
    return part.length
  }

  function finishExtended({ kind, parts }: State & { want: 'extended' }) {
    const content = Buffer.concat(parts)
    if (kind === 'x') for (const [key, value] of parsePax(content)) pax.set(key, value)
    if (kind === 'L') pax.set('path', untilNul(content))
    if (kind === 'K') pax.set('linkpath', untilNul(content))
    if (kind === 'global') passGlobal(content)
    state = { want: 'header' }
  }

  /** A global header would change every member after it; what git writes into its archives is a comment. */
  function passGlobal(content: Buffer) {
    const other = [...parsePax(content).keys()].find((key) => key !== 'comment')
    if (other !== undefined) throw new WireError(`tar: global header that sets ${other}`)
    memberStart = undefined
  }

  function beginMember(type: string, block: Buffer) {
    const entry = entryOf({ flag: type, block, pax, offset: memberStart!, dataAt: position + BLOCK })
    const sparse = pax.has('GNU.sparse.major')
    if (sparse && (pax.get('GNU.sparse.major') !== '1' || entry.facts.type !== 'f'))
      throw new WireError('tar: sparse format other than GNU 1.0')
    const realSize = sparse ? paxNumber(pax, 'GNU.sparse.realsize') : entry.storedBytes
    memberStart = undefined
    pax = new Map()
    if (sparse && entry.storedBytes > 0) {
      entry.facts.size = realSize
      state = { want: 'sparse map', entry, left: entry.storedBytes, map: { numbers: [], rest: '' }, realSize }
      return
    }
    beginData(entry, entry.storedBytes)
  }

  function readSparseMap(now: State & { want: 'sparse map' }, block: Buffer) {
    now.left -= BLOCK
    const complete = feedSparseMap(now.map, block)
    if (now.left < 0 || (now.left === 0 && !complete)) throw new WireError('tar: sparse map not closed')
    if (!complete) return
    const extents = extentsOf(now.map, now.realSize)
    const bytes = extents.reduce((sum, e) => sum + e.length, 0)
    if (bytes !== now.left) throw new WireError(`tar: sparse map covers ${bytes} of ${now.left} bytes`)
    now.entry.extents = extents
    beginData(now.entry, now.left)
  }

  function beginData(entry: TarEntry, left: number) {
    visitor.entry(entry)
    state = { want: 'data', entry, left, padding: padded(left) - left }
    if (left === 0) finishMember(entry)
  }

  function readData(now: State & { want: 'data' }, bytes: Buffer): number {
    const content = bytes.subarray(0, now.left)
    if (content.length > 0) visitor.data?.(now.entry, content)
    now.left -= content.length
    const skip = now.left > 0 ? 0 : Math.min(now.padding, bytes.length - content.length)
    now.padding -= skip
    if (now.left === 0 && now.padding === 0) finishMember(now.entry)
    return content.length + skip
  }

  function finishMember(entry: TarEntry) {
    visitor.done?.(entry)
    state = { want: 'header' }
  }

  return { push, end, boundary }
}

/** True when `extents` leave more than `limit` bytes of holes: hashing them would cost more than it tells. */
export const holesExceed = (entry: TarEntry, limit: number): boolean =>
  entry.extents !== undefined &&
  (entry.facts.size ?? 0) - entry.extents.reduce((sum, e) => sum + e.length, 0) > limit

const types: Record<string, FileType> = {
  '0': 'f',
  '\0': 'f',
  '7': 'f',
  '2': 'l',
  '3': 'c',
  '4': 'b',
  '5': 'd',
  '6': 'p',
}

// Header, offset and length: name 0,100 mode 100,8 uid 108,8 gid 116,8 size 124,12 mtime 136,12 chksum 148,8
// typeflag 156,1 linkname 157,100 magic 257,6 version 263,2 uname 265,32 gname 297,32 devmajor 329,8 devminor 337,8
// prefix 345,155
type Header = { flag: string; block: Buffer; pax: Pax; offset: number; dataAt: number }
function entryOf({ flag, block: b, pax, offset, dataAt }: Header): TarEntry {
  const hardLink = flag === '1'
  const type = hardLink ? 'f' : types[flag]
  if (type === undefined) throw new WireError(`tar: member type ${JSON.stringify(flag)}`)
  const stored = pax.has('size') ? paxNumber(pax, 'size') : number(b, 124, 12, 'size')
  const hasData = type === 'f' && !hardLink
  if (!hasData && stored !== 0 && !hardLink)
    throw new WireError(`tar: ${stored} bytes of data in type ${flag}`)
  const link = pax.get('linkpath') ?? untilNul(b.subarray(157, 257))
  const ctime = pax.get('ctime')
  const xattrs = xattrDigest(pax)
  return {
    facts: {
      type,
      mode: (number(b, 100, 8, 'mode') & 0o7777).toString(8),
      uid: pax.has('uid') ? paxNumber(pax, 'uid') : number(b, 108, 8, 'uid'),
      gid: pax.has('gid') ? paxNumber(pax, 'gid') : number(b, 116, 8, 'gid'),
      ...(type === 'd' ? {} : { size: type === 'l' ? link.length : stored, mtimeNs: mtimeOf(b, pax) }),
      ...(type === 'b' || type === 'c' ? { rdev: rdevOf(b) } : {}),
      path: nameOf(b, pax),
      ...(type === 'l' ? { target: link } : {}),
    },
    ...(hardLink ? { hardLinkTo: cleanPath(link) } : {}),
    offset,
    end: dataAt + (hasData ? padded(stored) : 0),
    storedBytes: hasData ? stored : 0,
    ...(ctime === undefined ? {} : { ctimeNs: nanoseconds(ctime) }),
    ...(xattrs === undefined ? {} : { xattrs }),
  }
}

function nameOf(b: Buffer, pax: Pax): string {
  const fromPax = pax.get('GNU.sparse.name') ?? pax.get('path')
  if (fromPax !== undefined) return cleanPath(fromPax)
  const prefix = b.toString('latin1', 257, 263) === 'ustar\0' ? untilNul(b.subarray(345, 500)) : ''
  const name = untilNul(b.subarray(0, 100))
  return cleanPath(prefix === '' ? name : `${prefix}/${name}`)
}

/** `./a/b/` is `a/b`; `./` is `.`. */
const cleanPath = (name: string): string =>
  relativePath(name.replace(/^(\.\/+)+/, '').replace(/\/+$/, '') || '.')

const mtimeOf = (b: Buffer, pax: Pax): string =>
  nanoseconds(pax.get('mtime') ?? String(number(b, 136, 12, 'mtime')))

const rdevOf = (b: Buffer): string =>
  `${number(b, 329, 8, 'device').toString(16)}:${number(b, 337, 8, 'device').toString(16)}`

/** `1700000000.5` in nanoseconds; more than nine decimals are cut. */
export function nanoseconds(text: string): string {
  const match = /^(-?)(\d{1,18})(?:\.(\d{1,30}))?$/.exec(text)
  if (match === null) throw new WireError(`tar: time ${JSON.stringify(text.slice(0, 40))}`)
  const [, sign, seconds, fraction = ''] = match
  const value = BigInt(seconds!) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return String(sign === '-' ? -value : value)
}

// What tar calls extended attributes, POSIX ACLs and SELinux labels.
const attributeKey = /^(SCHILY\.xattr\.|SCHILY\.acl\.|RHT\.security\.)/

/** sha256 over those among these records; undefined without any. */
export function xattrDigest(pax: ReadonlyMap<string, string>): string | undefined {
  const keys = [...pax.keys()].filter((key) => attributeKey.test(key)).sort()
  if (keys.length === 0) return undefined
  const hash = createHash('sha256')
  for (const key of keys)
    hash.update(`${key}\0${pax.get(key)!.length}\0`, 'latin1').update(pax.get(key)!, 'latin1')
  return hash.digest('hex')
}

/** `LENGTH KEY=VALUE\n`, LENGTH counting all of it. A value may hold any byte. */
export function parsePax(content: Buffer): Pax {
  const records: Pax = new Map()
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at)
    const digits = space < 0 ? '' : content.toString('latin1', at, Math.min(space, at + 12))
    const end = at + Number(digits)
    const equals = content.indexOf(0x3d, space)
    const sound = /^[1-9]\d{0,9}$/.test(digits) && end <= content.length && content[end - 1] === 0x0a
    if (!sound || equals < 0 || equals >= end - 1) throw new WireError('tar: pax record out of shape')
    records.set(
      content.toString('latin1', space + 1, equals),
      content.toString('latin1', equals + 1, end - 1),
    )
    at = end
  }
  return records
}

// The map is COUNT, then OFFSET and LENGTH of each run, one decimal number a line, padded to a whole block.
type SparseMap = { numbers: number[]; rest: string }

/** Adds one block; true when the map is complete, and then what is left of the block is padding. */
function feedSparseMap(map: SparseMap, block: Buffer): boolean {
  const lines = (map.rest + block.toString('latin1')).split('\n')
  map.rest = lines.pop()!
  for (const line of lines) {
    if (!/^\d{1,16}$/.test(line)) throw new WireError('tar: sparse map out of shape')
    map.numbers.push(Number(line))
    if (map.numbers.length === 1 + 2 * map.numbers[0]!) return true
  }
  if (map.rest.length > 16 || map.numbers.length > MAX_SPARSE_NUMBERS)
    throw new WireError('tar: sparse map out of shape')
  return false
}

function extentsOf({ numbers }: SparseMap, realSize: number): Extent[] {
  const extents: Extent[] = []
  let free = 0
  for (let i = 1; i < numbers.length; i += 2) {
    const [offset, length] = [numbers[i]!, numbers[i + 1]!]
    if (offset < free || offset + length > realSize) throw new WireError('tar: sparse map out of order')
    free = offset + length
    extents.push({ offset, length })
  }
  return extents
}

function paxNumber(pax: Pax, key: string): number {
  const text = pax.get(key) ?? ''
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new WireError(`tar: ${key} ${JSON.stringify(text.slice(0, 40))}`)
  return Number(text)
}

/** Octal text, or base 256 when the first bit is set (GNU). */
function number(b: Buffer, at: number, length: number, field: string): number {
  if (b[at]! & 0x80) {
    let value = b[at]! & 0x7f
    for (let i = 1; i < length; i++) value = value * 256 + b[at + i]!
    if (!Number.isSafeInteger(value)) throw new WireError(`tar: ${field} out of range`)
    return value
  }
  const text = untilNul(b.subarray(at, at + length)).trim()
  if (!/^[0-7]*$/.test(text)) throw new WireError(`tar: ${field} ${JSON.stringify(text)}`)
  return text === '' ? 0 : Number.parseInt(text, 8)
}

function checkSum(block: Buffer) {
  let sum = 8 * 0x20 // the field itself counts as blanks
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i]!
  if (sum !== number(block, 148, 8, 'checksum')) throw new WireError('tar: header checksum does not fit')
}

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK

function untilNul(bytes: Buffer): string {
  const nul = bytes.indexOf(0)
  return bytes.toString('latin1', 0, nul < 0 ? bytes.length : nul)
}

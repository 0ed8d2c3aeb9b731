// Headers of tar members: new ones, and those of an archive changed in a few words. What does not fit into the old header
// (long names, sizes from 8 GiB, names that are no ASCII) stands in a pax header before it, as GNU tar writes it.
//   name 0,100 mode 100,8 uid 108,8 gid 116,8 size 124,12 mtime 136,12 chksum 148,8 typeflag 156,1 linkname 157,100
//   magic 257,6 version 263,2 uname 265,32 gname 297,32 devmajor 329,8 devminor 337,8 prefix 345,155
import { WireError } from '../fault.ts'
import { missingAcls } from './posix-acl.ts'
import { BLOCK, parsePax, xattrDigest } from './tar.ts'

export type NewMember = {
  path: string // one character a byte
  type: 'file' | 'directory'
  mode: number
  size?: number
  mtime?: number // in seconds since 1970
  pax?: string // the name of its pax header, if it needs one
}

const flags = { file: '0', directory: '5' } as const
const MAX_OCTAL = 8 ** 11 - 1

/** The header of a member of root; its content follows, padded to 512 bytes. */
export function renderTarHeader({ path, type, mode, size = 0, mtime = 0, pax }: NewMember): Buffer {
  const block = Buffer.alloc(BLOCK)
  const records = new Map<string, string>()
  const name = type === 'directory' ? `${path}/` : path
  putText(block, { at: 0, length: 100, key: 'path', text: name }, records)
  block.write(octal(mode, 8), 100, 'latin1')
  block.write(octal(0, 8), 108, 'latin1')
  block.write(octal(0, 8), 116, 'latin1')
  if (size > MAX_OCTAL) records.set('size', String(size))
  block.write(octal(Math.min(size, MAX_OCTAL), 12), 124, 'latin1')
  block.write(octal(mtime, 12), 136, 'latin1')
  block.write(flags[type], 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  sign(block)
  return Buffer.concat([renderPaxHeader(records, pax), block])
}

export type ChangedHeaders = { headers: Buffer; xattrs?: string } // as readTar tells it of them

/** Two empty blocks end an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK)

export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)

/**
 * The headers of a member (all that stands before its content) with another name or another link, and with ACLs that tar
 * restores anywhere; everything else stays as it was. Throws WireError when these are no headers of one member.
 * @param change `hardLinkTo` makes it a name of that file, without content of its own
 */
export function changeTarHeader(
  headers: Buffer,
  change: { path?: string; hardLinkTo?: string },
): ChangedHeaders {
  const { records, block } = readHeaders(headers)
  for (const [key, text] of missingAcls(records)) records.set(key, text)
  if (change.path !== undefined) {
    if (records.has('GNU.sparse.name')) records.set('GNU.sparse.name', change.path)
    const inHeader = records.get('GNU.sparse.major') === undefined
    block.fill(0, 0, 100)
    block.fill(0, 345, 500) // the old name may have begun here
    records.delete('path')
    putText(block, { at: 0, length: 100, key: 'path', text: change.path }, records)
    if (!inHeader && !records.has('path')) records.set('path', change.path)
  }
  if (change.hardLinkTo !== undefined) {
    records.delete('linkpath')
    block.fill(0, 157, 257)
    putText(block, { at: 157, length: 100, key: 'linkpath', text: change.hardLinkTo }, records)
    block.write('1', 156, 'latin1')
    block.write(octal(0, 12), 124, 'latin1')
    for (const key of ['size', ...[...records.keys()].filter((each) => each.startsWith('GNU.sparse.'))])
      records.delete(key)
  }
  sign(block)
  const xattrs = xattrDigest(records)
  return {
    headers: Buffer.concat([renderPaxHeader(records), block]),
    ...(xattrs !== undefined && { xattrs }),
  }
}

function readHeaders(headers: Buffer): { records: Map<string, string>; block: Buffer } {
  const records = new Map<string, string>()
  for (let at = 0; at + BLOCK <= headers.length; ) {
    const block = headers.subarray(at, at + BLOCK)
    const flag = String.fromCharCode(block[156]!)
    at += BLOCK
    if (!'xLKg'.includes(flag)) {
      if (at !== headers.length) break
      return { records, block: Buffer.from(block) }
    }
    const size = Number.parseInt(block.toString('latin1', 124, 136), 8)
    const content = headers.subarray(at, at + size)
    at += Math.ceil(size / BLOCK) * BLOCK
    if (flag === 'x') for (const [key, value] of parsePax(content)) records.set(key, value)
    if (flag === 'L') records.set('path', untilNul(content))
    if (flag === 'K') records.set('linkpath', untilNul(content))
  }
  throw new WireError('tar: headers out of shape')
}

type Place = { at: number; length: number; key: string; text: string }

/** Into the header where it fits and is ASCII; into the records else, with what fits of it in the header. */
function putText(block: Buffer, { at, length, key, text }: Place, records: Map<string, string>) {
  block.write(text.slice(0, length), at, 'latin1')
  if (text.length > length || /[^\x01-\x7f]/.test(text)) records.set(key, text)
}

/** Nothing for no records. */
function renderPaxHeader(records: ReadonlyMap<string, string>, name = 'pax'): Buffer {
  if (records.size === 0) return Buffer.alloc(0)
  const content = Buffer.from([...records].map(([key, value]) => paxRecord(key, value)).join(''), 'latin1')
  const block = Buffer.alloc(BLOCK)
  block.write(name, 0, 'latin1')
  block.write(octal(0o644, 8), 100, 'latin1')
  block.write(octal(0, 8), 108, 'latin1')
  block.write(octal(0, 8), 116, 'latin1')
  block.write(octal(content.length, 12), 124, 'latin1')
  block.write(octal(0, 12), 136, 'latin1')
  block.write('x', 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  sign(block)
  return Buffer.concat([block, content, tarPadding(content.length)])
}

/** Its length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return `${length}${rest}`
}

const octal = (value: number, length: number): string =>
  `${Math.max(0, Math.floor(value))
    .toString(8)
    .padStart(length - 1, '0')}\0`

function sign(block: Buffer) {
  block.fill(0x20, 148, 156)
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
}

function untilNul(bytes: Buffer): string {
  const nul = bytes.indexOf(0)
  return bytes.toString('latin1', 0, nul < 0 ? bytes.length : nul)
}

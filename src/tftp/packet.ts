// RFC 1350: packets; RFC 2347: options (names are case-insensitive). Numbers are 16 bits, network order.
//   READ  | 01 | file 0 | mode 0 | (name 0 | value 0)* |      WRITE | 02 | as READ |
//   DATA  | 03 | block | 0..blksize bytes |                   ACK   | 04 | block |
//   ERROR | 05 | code | message 0 |                           OACK  | 06 | (name 0 | value 0)* |
import { readBytes, writeBytes } from '../bytes.ts'
import { WireError } from '../fault.ts'

export type Options = Record<string, string>
export type Request = { op: 'read' | 'write'; file: string; mode: string; options: Options }
export type Packet =
  | Request
  | { op: 'data'; block: number; data: Uint8Array }
  | { op: 'ack'; block: number }
  | { op: 'error'; code: number; message: string }
  | { op: 'oack'; options: Options }

/** RFC 1350 5 and RFC 2347: the codes that are said here or heard from clients. */
export const errorCodes = {
  undefined: 0,
  notFound: 1,
  access: 2,
  illegal: 4,
  unknownTid: 5,
  options: 8,
} as const

const maxRequestBytes = 512 // RFC 2347: a request is no longer than this

export function parsePacket(bytes: Uint8Array): Packet {
  const r = readBytes(bytes)
  const opcode = r.u16('opcode')
  switch (opcode) {
    case 1:
      return request('read', r, bytes.length)
    case 2:
      return request('write', r, bytes.length)
    case 3:
      return { op: 'data', block: r.u16('block'), data: r.rest() }
    case 4:
      return { op: 'ack', block: r.u16('block') }
    case 5:
      return { op: 'error', code: r.u16('code'), message: lenientText(r) }
    case 6:
      return { op: 'oack', options: readOptions(r) }
    default:
      throw new WireError(`opcode ${opcode} is none of ours`)
  }
}

export function serializePacket(p: Packet): Buffer {
  const w = writeBytes()
  switch (p.op) {
    case 'read':
    case 'write':
      w.u16(p.op === 'read' ? 1 : 2)
      return writeOptions(w.cstring(p.file).cstring(p.mode), p.options).done()
    case 'data':
      return w.u16(3).u16(p.block).raw(p.data).done()
    case 'ack':
      return w.u16(4).u16(p.block).done()
    case 'error':
      return w.u16(5).u16(p.code).cstring(p.message).done()
    case 'oack':
      return writeOptions(w.u16(6), p.options).done()
  }
}

type Reader = ReturnType<typeof readBytes>
type Writer = ReturnType<typeof writeBytes>

function request(op: 'read' | 'write', r: Reader, length: number): Request {
  if (length > maxRequestBytes) throw new WireError(`request: ${length} bytes, at most ${maxRequestBytes}`)
  const file = r.cstring('file')
  const mode = r.cstring('mode').toLowerCase()
  return { op, file, mode, options: readOptions(r) }
}

/** An empty name ends the options: some ROMs pad the request with NULs. Of a repeated option the first one counts. */
function readOptions(r: Reader): Options {
  const pairs = new Map<string, string>()
  while (r.left() > 0) {
    const name = r.cstring('option name').toLowerCase()
    if (name === '') break
    const value = r.cstring(`option ${name}`)
    if (!pairs.has(name)) pairs.set(name, value)
  }
  return Object.fromEntries(pairs)
}

function writeOptions(w: Writer, options: Options): Writer {
  for (const [name, value] of Object.entries(options)) w.cstring(name).cstring(value)
  return w
}

/** Some firmware ends its abort without the NUL of the message; the code alone is what matters. */
function lenientText(r: Reader): string {
  return r.rest().toString('latin1').replace(/\0.*$/s, '')
}

// RFC 2131 2: one packet. RFC 3396: options longer than 255 bytes are split, and joined again on reading.
//   | op 1 | htype 1 | hlen 1 | hops 1 | xid 4 | secs 2 | flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4 | giaddr 4 |
//   | chaddr 16 | sname 64 | file 128 | cookie 63 82 53 63 | (code 1 | length 1 | value)* | 255 |
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../address.ts'
import { readBytes, writeBytes } from '../bytes.ts'
import { WireError } from '../fault.ts'

export type Packet = {
  op: 'request' | 'reply'
  htype: number // 1 is Ethernet
  hlen: number // bytes of chaddr that count
  hops: number
  xid: number
  secs: number
  flags: number // 0x8000: the client asks for broadcast
  ciaddr: Ipv4 // the client's, when it has one and can answer ARP for it
  yiaddr: Ipv4 // what we give
  siaddr: Ipv4 // where the boot file is
  giaddr: Ipv4 // the relay's
  chaddr: Uint8Array // 16 bytes
  sname: string
  file: string
  options: RawOptions
}

/** Option code -> its whole value, in the order of the packet. PAD, END and 52 (overload) are gone. */
export type RawOptions = Map<number, Buffer>

export const NO_ADDRESS = '0.0.0.0' as Ipv4
/** The `file` field holds this much and a NUL. */
export const FILE_FIELD_BYTES = 127

const COOKIE = 0x63825363
const PAD = 0
const END = 255
const OVERLOAD = 52
const MESSAGE_TYPE = 53
/** Of BOOTP, with the cookie. */
const VENDOR_BYTES = 64
const RELAY_INFO = 82
/** BOOTP's length (RFC 1542 2.1): old relays and ROMs drop what is shorter. */
export const BOOTP_BYTES = 300
/** Up to and with the cookie. */
const HEADER_BYTES = 240
/** No client sends more than an Ethernet frame; jumbo frames are the generous bound. */
const MAX_BYTES = 9000
/** RFC 2131 2: every client takes an IP datagram of 576 bytes, 28 of them IP and UDP headers. */
const DEFAULT_ROOM = 576 - 28

export function parsePacket(bytes: Uint8Array): Packet {
  if (bytes.length > MAX_BYTES) throw new WireError(`packet: ${bytes.length} bytes, allowed are ${MAX_BYTES}`)
  const r = readBytes(bytes)
  const address = (field: string) => ipv4FromNumber(r.u32(field))
  const head = {
    op: readOp(r.u8('op')),
    htype: r.u8('htype'),
    hlen: readHlen(r.u8('hlen')),
    hops: r.u8('hops'),
    xid: r.u32('xid'),
    secs: r.u16('secs'),
    flags: r.u16('flags'),
    ciaddr: address('ciaddr'),
    yiaddr: address('yiaddr'),
    siaddr: address('siaddr'),
    giaddr: address('giaddr'),
    chaddr: Buffer.from(r.raw(16, 'chaddr')),
  }
  const sname = r.raw(64, 'sname')
  const file = r.raw(128, 'file')
  const { options, overload } = readVendorArea(r.rest(), { file, sname })
  return {
    ...head,
    sname: overload & 2 ? '' : paddedText(sname),
    file: overload & 1 ? '' : paddedText(file),
    options,
  }
}

/** `room` is what the client takes (option 57 less the headers). An option that does not fit is left out whole. */
export function serializePacket(p: Packet, room = DEFAULT_ROOM): Buffer {
  const w = writeBytes()
  w.u8(p.op === 'request' ? 1 : 2)
    .u8(p.htype)
    .u8(p.hlen)
    .u8(p.hops)
  w.u32(p.xid).u16(p.secs).u16(p.flags)
  for (const ip of [p.ciaddr, p.yiaddr, p.siaddr, p.giaddr]) w.u32(ipv4ToNumber(ip))
  w.raw(padded(p.chaddr, 16))
    .raw(padded(latin1(p.sname), 64))
    .raw(padded(latin1(p.file), 128))
  w.u32(COOKIE)
  const options = writeOptions(p.options, Math.max(room, BOOTP_BYTES) - HEADER_BYTES)
  w.raw(options).zeros(Math.max(0, BOOTP_BYTES - HEADER_BYTES - options.length))
  return w.done()
}

function readOp(op: number): Packet['op'] {
  if (op !== 1 && op !== 2) throw new WireError(`op: ${op} is neither request nor reply`)
  return op === 1 ? 'request' : 'reply'
}

function readHlen(hlen: number): number {
  if (hlen > 16) throw new WireError(`hlen: ${hlen}, chaddr has 16 bytes`)
  return hlen
}

type Overloaded = { file: Buffer; sname: Buffer }

/** RFC 951 has 64 bytes of a vendor's own, mostly zeros; RFC 1497 and DHCP begin them with the cookie. */
function readVendorArea(area: Buffer, overloaded: Overloaded): { options: RawOptions; overload: number } {
  if (area.length < 4) throw new WireError(`options: ${area.length} bytes, not even a cookie`)
  if (area.readUInt32BE() === COOKIE) return readOptions(area.subarray(4), overloaded)
  if (area.length < VENDOR_BYTES || area.some((byte) => byte !== 0))
    throw new WireError('cookie: not the one of DHCP')
  return { options: new Map(), overload: 0 }
}

/** RFC 3396 5: the pieces of an option are joined in the order options field, file, sname. */
function readOptions(area: Buffer, overloaded: Overloaded) {
  const pieces = new Map<number, Buffer[]>()
  // A packet cut on its way may have lost what says who asks: it must not be taken for another client's. BOOTP has a
  // fixed length and need not end its options.
  const isBootp = () => area.length >= VENDOR_BYTES - 4 && !pieces.has(MESSAGE_TYPE)
  if (!readArea(area, pieces) && !isBootp()) throw new WireError('options: no END')
  const overload = readOverload(pieces.get(OVERLOAD))
  if (overload & 1) readArea(overloaded.file, pieces)
  if (overload & 2) readArea(overloaded.sname, pieces)
  pieces.delete(OVERLOAD)
  const options: RawOptions = new Map()
  for (const [code, parts] of pieces) options.set(code, Buffer.concat(parts))
  return { options, overload }
}

/** Whether the area has its END. */
function readArea(area: Buffer, pieces: Map<number, Buffer[]>): boolean {
  const r = readBytes(area)
  while (r.left() > 0) {
    const code = r.u8('option code')
    if (code === PAD) continue
    if (code === END) return true
    const value = r.raw(r.u8(`option ${code} length`), `option ${code}`)
    const parts = pieces.get(code)
    if (parts) parts.push(value)
    else pieces.set(code, [value])
  }
  return false
}

function readOverload(parts: Buffer[] | undefined): number {
  if (!parts) return 0
  const value = Buffer.concat(parts)
  if (value.length !== 1 || value[0]! < 1 || value[0]! > 3)
    throw new WireError(`option ${OVERLOAD}: ${value.length} bytes, must be one of 1, 2, 3`)
  return value[0]!
}

/** 53 first, as old ROMs expect; 82 last (RFC 3046 2.2); the order of the others says what matters most. */
function writeOptions(options: RawOptions, room: number): Buffer {
  const type = options.get(MESSAGE_TYPE)
  const relayInfo = options.get(RELAY_INFO)
  // A relay may need its option to find the client again: room is kept for it before there is any for others.
  const last = relayInfo ? writeOption(RELAY_INFO, relayInfo) : Buffer.alloc(0)
  let left = room - 1 // END
  const kept = last.length <= left ? last : Buffer.alloc(0)
  left -= kept.length
  const parts: Buffer[] = []
  function add(code: number, value: Buffer) {
    const bytes = writeOption(code, value)
    if (bytes.length > left) return
    parts.push(bytes)
    left -= bytes.length
  }
  if (type) add(MESSAGE_TYPE, type)
  for (const [code, value] of options) if (code !== MESSAGE_TYPE && code !== RELAY_INFO) add(code, value)
  return Buffer.concat([...parts, kept, Buffer.of(END)])
}

function writeOption(code: number, value: Buffer): Buffer {
  const w = writeBytes()
  let at = 0
  do {
    const piece = value.subarray(at, at + 255)
    w.u8(code).u8(piece.length).raw(piece)
    at += 255
  } while (at < value.length)
  return w.done()
}

function paddedText(field: Buffer): string {
  const end = field.indexOf(0)
  return field.toString('latin1', 0, end < 0 ? field.length : end)
}

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** Cut or filled with zeros to exactly `length`. */
function padded(bytes: Uint8Array, length: number): Buffer {
  const field = Buffer.alloc(length)
  field.set(bytes.subarray(0, length))
  return field
}

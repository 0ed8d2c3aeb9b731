// RFC 2131 2: one packet. RFC 3396: options longer than 255 bytes are split, and joined again on reading.
//   | op 1 | htype 1 | hlen 1 | hops 1 | xid 4 | secs 2 | flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4 | giaddr 4 |
//   | chaddr 16 | sname 64 | file 128 | cookie 63 82 53 63 | (code 1 | length 1 | value)* | 255 |
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../address.ts'
import { readBytes, type Writer, writeBytes } from '../bytes.ts'
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
  w.u32(ipv4ToNumber(p.ciaddr)).u32(ipv4ToNumber(p.yiaddr))
  w.u32(ipv4ToNumber(p.siaddr)).u32(ipv4ToNumber(p.giaddr))
  w.padded(p.chaddr, 16).padded(latin1(p.sname), 64).padded(latin1(p.file), 128)
  w.u32(COOKIE)
  writeOptions(w, p.options, Math.max(room, BOOTP_BYTES) - HEADER_BYTES)
  return w.zeros(Math.max(0, BOOTP_BYTES - w.length())).done()
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
  const options: RawOptions = new Map()
  // A packet cut on its way may have lost what says who asks: it must not be taken for another client's. BOOTP has a
  // fixed length and need not end its options.
  const isBootp = () => area.length >= VENDOR_BYTES - 4 && !options.has(MESSAGE_TYPE)
  if (!readArea(area, options) && !isBootp()) throw new WireError('options: no END')
  const overload = readOverload(options.get(OVERLOAD))
  if (overload & 1) readArea(overloaded.file, options)
  if (overload & 2) readArea(overloaded.sname, options)
  options.delete(OVERLOAD)
  return { options, overload }
}

/** Whether the area has its END. */
function readArea(area: Buffer, options: RawOptions): boolean {
  const r = readBytes(area)
  while (r.left() > 0) {
    const code = r.u8('option code')
    if (code === PAD) continue
    if (code === END) return true
    const name = optionNames[code]!
    const value = r.raw(r.u8(name), name)
    const before = options.get(code)
    options.set(code, before ? Buffer.concat([before, value]) : value)
  }
  return false
}
const optionNames = Array.from({ length: 256 }, (_, code) => `option ${code}`)

function readOverload(value: Buffer | undefined): number {
  if (!value) return 0
  if (value.length !== 1 || value[0]! < 1 || value[0]! > 3)
    throw new WireError(`option ${OVERLOAD}: ${value.length} bytes, must be one of 1, 2, 3`)
  return value[0]!
}

/** 53 first, as old ROMs expect; 82 last (RFC 3046 2.2); the order of the others says what matters most. */
function writeOptions(w: Writer, options: RawOptions, room: number) {
  const type = options.get(MESSAGE_TYPE)
  const relayInfo = options.get(RELAY_INFO)
  let left = room - 1 // END
  // A relay may need its option to find the client again: room is kept for it before there is any for others.
  const isKept = relayInfo !== undefined && optionBytes(relayInfo) <= left
  if (isKept) left -= optionBytes(relayInfo)
  function add(code: number, value: Buffer) {
    const bytes = optionBytes(value)
    if (bytes > left) return
    writeOption(w, code, value)
    left -= bytes
  }
  if (type) add(MESSAGE_TYPE, type)
  for (const [code, value] of options) if (code !== MESSAGE_TYPE && code !== RELAY_INFO) add(code, value)
  if (isKept) writeOption(w, RELAY_INFO, relayInfo)
  w.u8(END)
}

/** What an option takes, with code and length of each of its pieces. */
const optionBytes = ({ length }: Buffer): number => length + 2 * Math.max(1, Math.ceil(length / 255))

function writeOption(w: Writer, code: number, value: Buffer) {
  for (let at = 0; at === 0 || at < value.length; at += 255) {
    const piece = value.length <= 255 ? value : value.subarray(at, at + 255)
    w.u8(code).u8(piece.length).raw(piece)
  }
}

function paddedText(field: Buffer): string {
  const end = field.indexOf(0)
  return field.toString('latin1', 0, end < 0 ? field.length : end)
}

const latin1 = (text: string) => Buffer.from(text, 'latin1')

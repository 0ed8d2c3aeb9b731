// Packet captures: classic pcap (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html) and pcapng
// (draft-ietf-opsawg-pcapng-03), each in either byte order, reduced to the UDP datagrams that are in them.
import { type Ipv4, ipv4FromNumber } from './address.ts'
import { UserError, WireError } from './fault.ts'

export type Datagram = {
  frame: number // counts from 1, as tcpdump and wireshark do
  time: number // ms since 1970
  from: { address: Ipv4; port: number }
  to: { address: Ipv4; port: number }
  payload: Buffer
}
export type Capture = {
  datagrams: Datagram[]
  frames: number
  /** Frames that were not read, and why: 'cut short by the capture', 'IPv6' ... */
  skipped: Map<string, number>
}

/** @throws UserError when it is no capture; a capture that ends in the middle of a frame is read up to there */
export function readCapture(file: Buffer, name: string): Capture {
  const capture: Capture = { datagrams: [], frames: 0, skipped: new Map() }
  const frames = framesIn(file)
  if (!frames)
    throw new UserError('not a packet capture', {
      what: file.length === 0 ? 'the file is empty' : `it begins with ${file.subarray(0, 4).toString('hex')}`,
      allowed: 'pcap or pcapng, as tcpdump -w writes it',
      object: name,
    })
  for (const frame of frames) {
    const number = ++capture.frames
    const found = datagramIn(frame)
    if (typeof found !== 'string') capture.datagrams.push({ frame: number, time: frame.time, ...found })
    else capture.skipped.set(found, (capture.skipped.get(found) ?? 0) + 1)
  }
  return capture
}

/** `whole` is how long the frame was on the wire. */
type Frame = { link: number; time: number; bytes: Buffer; whole: number }

function framesIn(file: Buffer): Iterable<Frame> | undefined {
  if (file.length < 24) return undefined
  const magic = file.readUInt32BE(0)
  if (magic === 0x0a0d0d0a) return pcapng(file)
  const classic = classics.get(magic)
  return classic && pcap(file, classic)
}

type Classic = { little: boolean; perMs: number }
// The magic number tells byte order and whether fractions of a second are micro- or nanoseconds.
const classics = new Map<number, Classic>([
  [0xa1b2c3d4, { little: false, perMs: 1e3 }],
  [0xd4c3b2a1, { little: true, perMs: 1e3 }],
  [0xa1b23c4d, { little: false, perMs: 1e6 }],
  [0x4d3cb2a1, { little: true, perMs: 1e6 }],
])

// | magic 4 | major 2 | minor 2 | - 8 | snaplen 4 | link type 4 |  then  | seconds 4 | fraction 4 | kept 4 | whole 4 | bytes |*
function* pcap(file: Buffer, { little, perMs }: Classic): Generator<Frame> {
  const u32 = reader(file, little)
  const link = u32(20) & 0xffff
  for (let at = 24; at + 16 <= file.length; ) {
    const [seconds, fraction, kept, whole] = [u32(at), u32(at + 4), u32(at + 8), u32(at + 12)]
    at += 16
    if (at + kept > file.length) return
    yield { link, time: seconds * 1000 + fraction / perMs, bytes: file.subarray(at, at + kept), whole }
    at += kept
  }
}

const SECTION = 0x0a0d0d0a
const INTERFACE = 1
const SIMPLE = 3
const ENHANCED = 6
type Interface = { link: number; perMs: number; snap: number }

// | type 4 | length 4 | body, to 4 bytes | length 4 |*   Interfaces count anew in each section.
function* pcapng(file: Buffer): Generator<Frame> {
  let little = false
  let interfaces: Interface[] = []
  for (let at = 0; at + 12 <= file.length; ) {
    if (file.readUInt32BE(at) === SECTION) {
      little = file.readUInt32LE(at + 8) === 0x1a2b3c4d
      interfaces = []
    }
    const u32 = reader(file, little)
    const [type, length] = [u32(at), u32(at + 4)]
    if (length < 12 || length % 4 !== 0 || at + length > file.length) return
    const body = file.subarray(at + 8, at + length - 4)
    if (type === INTERFACE && body.length >= 8) interfaces.push(interfaceOf(body, little))
    const frame = type === ENHANCED ? enhanced(body, interfaces, little) : undefined
    if (frame) yield frame
    if (type === SIMPLE && interfaces[0] && body.length >= 4) {
      const whole = reader(body, little)(0)
      const kept = Math.min(whole, interfaces[0].snap || whole, body.length - 4)
      yield { link: interfaces[0].link, time: 0, bytes: body.subarray(4, 4 + kept), whole }
    }
    at += length
  }
}

/** Option 9 says the unit of time stamps: 6 is microseconds, with the high bit powers of two. */
function interfaceOf(body: Buffer, little: boolean): Interface {
  const u16 = (at: number) => (little ? body.readUInt16LE(at) : body.readUInt16BE(at))
  let perMs = 1e3
  for (let at = 8; at + 4 <= body.length; ) {
    const [code, length] = [u16(at), u16(at + 2)]
    if (code === 0) break
    const value = code === 9 && length === 1 && at + 4 < body.length ? body[at + 4]! : undefined
    if (value !== undefined) perMs = (value & 0x80 ? 2 ** (value & 0x7f) : 10 ** value) / 1000
    at += 4 + length + ((4 - (length % 4)) % 4)
  }
  return { link: u16(0), perMs, snap: reader(body, little)(4) }
}

function enhanced(body: Buffer, interfaces: Interface[], little: boolean): Frame | undefined {
  if (body.length < 20) return undefined
  const u32 = reader(body, little)
  const from = interfaces[u32(0)]
  const [high, low, kept, whole] = [u32(4), u32(8), u32(12), u32(16)]
  if (!from || 20 + kept > body.length) return undefined
  const time = (high * 2 ** 32 + low) / from.perMs
  return { link: from.link, time, bytes: body.subarray(20, 20 + kept), whole }
}

const reader = (bytes: Buffer, little: boolean) => (at: number) =>
  little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)

// ---- from the frame to the datagram ----

const IPV4 = 0x0800
const names: Record<number, string> = { 34525: 'IPv6', 2054: 'ARP' }
const vlanTags = new Set([0x8100, 0x88a8, 0x9100])

/** Where the protocol of the payload stands (EtherType), and where the payload begins, by link type. */
const links: Record<number, (b: Buffer) => { type: number; at: number }> = {
  0: (b) => ({ type: b[0] === 2 || b[3] === 2 ? IPV4 : -1, at: 4 }), // BSD loopback
  1: (b) => ({ type: b.readUInt16BE(12), at: 14 }), // Ethernet
  12: () => ({ type: IPV4, at: 0 }), // raw IP, by its old numbers too
  14: () => ({ type: IPV4, at: 0 }),
  101: () => ({ type: IPV4, at: 0 }),
  113: (b) => ({ type: b.readUInt16BE(14), at: 16 }), // Linux cooked
  228: () => ({ type: IPV4, at: 0 }),
  276: (b) => ({ type: b.readUInt16BE(0), at: 20 }), // Linux cooked, version 2 (tcpdump -i any)
}

/** The datagram, or why there is none. */
function datagramIn({ link, bytes, whole }: Frame): Omit<Datagram, 'frame' | 'time'> | string {
  const header = links[link]
  if (!header) return `link type ${link}`
  try {
    let { type, at } = header(bytes)
    while (vlanTags.has(type)) {
      type = bytes.readUInt16BE(at + 2)
      at += 4
    }
    if (type !== IPV4) return names[type] ?? 'not IP'
    return udpIn(bytes.subarray(at), bytes.length < whole)
  } catch (error) {
    if (error instanceof RangeError || error instanceof WireError) return 'cut short'
    throw error
  }
}

// RFC 791: | version 4 bits, words 4 bits | - 1 | length 2 | id 2 | flags, offset 2 | ttl 1 | protocol 1 | sum 2 | from 4 | to 4 |
function udpIn(ip: Buffer, isCut: boolean): Omit<Datagram, 'frame' | 'time'> | string {
  const version = ip.readUInt8(0) >> 4
  if (version !== 4) return version === 6 ? 'IPv6' : 'not IP'
  const headerBytes = (ip.readUInt8(0) & 15) * 4
  if (ip.readUInt8(9) !== 17) return 'not UDP'
  if (ip.readUInt16BE(6) & 0x3fff) return 'a fragment'
  const udp = ip.subarray(headerBytes)
  const length = udp.readUInt16BE(4)
  if (udp.length < length) return isCut ? 'cut short by the capture (tcpdump -s 0 keeps all)' : 'cut short'
  return {
    from: { address: ipv4FromNumber(ip.readUInt32BE(12)), port: udp.readUInt16BE(0) },
    to: { address: ipv4FromNumber(ip.readUInt32BE(16)), port: udp.readUInt16BE(2) },
    payload: udp.subarray(8, length),
  }
}

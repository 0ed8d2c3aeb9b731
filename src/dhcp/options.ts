// RFC 2132 and its followers: how the options that we read or write look. Codes without a row stay raw.
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../address.ts'
import { WireError } from '../fault.ts'
import type { RawOptions } from './packet.ts'

type Kind<T> = { parse(b: Buffer, name: string): T; serialize(value: T): Buffer }

const u8: Kind<number> = {
  parse: (b, name) => sized(b, 1, name).readUInt8(),
  serialize: (n) => Buffer.of(n),
}
const u16: Kind<number> = {
  parse: (b, name) => sized(b, 2, name).readUInt16BE(),
  serialize: (n) => Buffer.of(n >>> 8, n & 255),
}
const u32: Kind<number> = { parse: (b, name) => sized(b, 4, name).readUInt32BE(), serialize: ipBytes }
const u8s: Kind<number[]> = { parse: (b) => [...b], serialize: (list) => Buffer.from(list) }
const u16s: Kind<number[]> = {
  parse: (b) => Array.from({ length: b.length >> 1 }, (_, i) => b.readUInt16BE(2 * i)),
  serialize: (list) => Buffer.from(list.flatMap((n) => [n >> 8, n & 255])),
}
const ip: Kind<Ipv4> = {
  parse: (b, name) => ipv4FromNumber(u32.parse(b, name)),
  serialize: (address) => ipBytes(ipv4ToNumber(address)),
}
const ips: Kind<Ipv4[]> = {
  parse: (b) => Array.from({ length: b.length >> 2 }, (_, i) => ipv4FromNumber(b.readUInt32BE(4 * i))),
  serialize: (list) => (list.length === 1 ? ip.serialize(list[0]!) : Buffer.concat(list.map(ip.serialize))),
}
const text: Kind<string> = {
  parse: (b) => b.toString('latin1', 0, endOfText(b)),
  serialize: (s) => Buffer.from(s, 'latin1'),
}
/** With its NUL: EDK2 writes one over the next option's code when there is none; other ROMs ask for `name\xff`. */
const terminated: Kind<string> = { parse: text.parse, serialize: (s) => text.serialize(`${s}\0`) }
const bytes: Kind<Buffer> = { parse: (b) => b, serialize: (b) => b }
/** RFC 3004 has a length before each class; iPXE writes its bare name. */
const classes: Kind<string[]> = {
  parse: (b) => prefixed(b) ?? [text.parse(b, 'user class')],
  serialize: (list) =>
    Buffer.concat(list.map((s) => Buffer.concat([Buffer.of(s.length), text.serialize(s)]))),
}

// One row per option: wire code, then how its value is read and written.
const table = {
  subnetMask: [1, ip],
  routers: [3, ips],
  dns: [6, ips],
  hostName: [12, text],
  domain: [15, text],
  ntp: [42, ips],
  requestedAddress: [50, ip],
  leaseSeconds: [51, u32],
  messageType: [53, u8],
  serverId: [54, ip],
  parameterList: [55, u8s],
  message: [56, text],
  maxBytes: [57, u16], // of the IP datagram
  renewSeconds: [58, u32],
  rebindSeconds: [59, u32],
  vendorOptions: [43, bytes], // PXE: a list of (code, length, value)
  vendorClass: [60, text], // "PXEClient:Arch:00007:UNDI:003000"
  clientId: [61, bytes],
  tftpServer: [66, text],
  bootFile: [67, terminated],
  userClasses: [77, classes], // "iPXE"
  relayInfo: [82, bytes],
  clientArchs: [93, u16s], // RFC 4578: a list, best first
  undi: [94, bytes], // RFC 4578 2.2
  uuid: [97, bytes], // type 0 and 16 bytes, RFC 4578 2.3
  ipxe: [175, bytes], // iPXE's own sub-options
  configFile: [209, text], // RFC 5071, of pxelinux and petitboot
  pathPrefix: [210, text], // RFC 5071; ends in a slash, names are put behind it as they are
} satisfies Record<string, [number, Kind<any>]>

type Table = typeof table
export type OptionName = keyof Table
export type Options = { [K in OptionName]?: ReturnType<Table[K][1]['parse']> }

const rows = Object.entries(table) as [OptionName, [number, Kind<any>]][]
const byCode = new Map(rows.map(([name, [code, kind]]) => [code, { name, kind }]))

/** What the table knows of a packet's options; throws WireError for a value of a wrong size. */
export function decodeOptions(raw: RawOptions): Options {
  const options: Record<string, unknown> = {}
  for (const [code, value] of raw) {
    const row = byCode.get(code)
    if (row) options[row.name] = row.kind.parse(value, row.name)
  }
  return options
}

/** For people: the name and the value of any option; what can not be read is shown in hex. */
export function optionText(code: number, value: Buffer): { name: string; text: string } {
  const row = byCode.get(code)
  const name = row?.name ?? otherNames[code] ?? `option ${code}`
  try {
    return { name, text: row ? valueText(row.kind.parse(value, name)) : value.toString('hex') }
  } catch (error) {
    if (error instanceof WireError) return { name, text: `${value.toString('hex')} (${error.message})` }
    throw error
  }
}

function valueText(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (Array.isArray(value)) return value.map(valueText).join(',')
  return typeof value === 'string' && !/^[\d.]+$/.test(value) ? JSON.stringify(value) : String(value)
}

// Of options that we neither read nor write, for those who look at captures.
const otherNames: Record<number, string> = {
  2: 'timeOffset',
  13: 'bootFileBlocks',
  17: 'rootPath',
  26: 'mtu',
  28: 'broadcast',
  33: 'staticRoutes',
  43: 'vendorOptions',
  52: 'overload',
  81: 'fqdn',
  94: 'clientInterface',
  116: 'autoConfigure',
  119: 'searchDomains',
  121: 'classlessRoutes',
  128: 'vendor128',
  150: 'tftpServers',
  208: 'pxelinuxMagic',
  211: 'rebootSeconds',
}

/** In the order in which they are written down; what is undefined is left out. */
export function encodeOptions(options: { [K in OptionName]?: Options[K] | undefined }): RawOptions {
  const raw: RawOptions = new Map()
  for (const name in options) {
    const value = options[name as OptionName]
    if (value === undefined) continue
    const [code, kind]: [number, Kind<any>] = table[name as OptionName]
    raw.set(code, kind.serialize(value))
  }
  return raw
}

function sized(b: Buffer, length: number, name: string): Buffer {
  if (b.length !== length) throw new WireError(`${name}: ${b.length} bytes, must be ${length}`)
  return b
}

/** Some clients end their text with NULs. */
function endOfText(b: Buffer): number {
  let end = b.length
  while (end > 0 && b[end - 1] === 0) end--
  return end
}

function ipBytes(n: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(n)
  return bytes
}

/** The classes of an RFC 3004 value; undefined when the lengths do not add up. */
function prefixed(b: Buffer): string[] | undefined {
  const list: string[] = []
  for (let at = 0; at < b.length; ) {
    const length = b[at]!
    if (length === 0 || at + 1 + length > b.length) return undefined
    list.push(b.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return list
}

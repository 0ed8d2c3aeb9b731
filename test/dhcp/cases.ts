// A world for the rules of DHCP, and captured requests with some of their facts changed.
import { type Ipv4, parseIpv4, parseMac, parseNodeName, parseSubnet } from '../../src/address.ts'
import { grubCores } from '../../src/boot/loaders.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { type Lease, makeLeaseTable } from '../../src/dhcp/leases.ts'
import { decodeOptions, encodeOptions, type Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket } from '../../src/dhcp/packet.ts'
import { type Answer, answer, type Context } from '../../src/dhcp/reply.ts'
import { type Request, readRequest } from '../../src/dhcp/request.ts'
import type { Network } from '../../src/node/network.ts'
import { capture } from './captures.ts'

export const ip = parseIpv4
export const now = 1_000_000
export const network: Network = {
  subnet: parseSubnet('10.77.0.0/24'),
  address: ip('10.77.0.1'),
  gateway: ip('10.77.0.254'),
  dns: [ip('10.77.0.2')],
  domain: 'lab.test',
  ntp: [ip('10.77.0.3')],
}
export const pooled: Network = { ...network, pool: { from: ip('10.77.0.100'), to: ip('10.77.0.109') } }
export const server = { address: network.address, httpPort: 80, imagePort: 8081 }
export const mac = parseMac('52:54:00:77:00:21') // of the udhcpc and dhclient captures
export const node: BootNode = { name: parseNodeName('n1'), mac: [mac], ip: ip('10.77.0.21'), kernelArgs: [] }
const { ip: _, ...withoutIp } = node
export const poolLease: Lease = { mac, address: ip('10.77.0.105'), state: 'bound', until: now + 1000 }

export type World = { node?: BootNode | undefined; network?: Network; leases?: Lease[]; reserved?: Ipv4[] }
export function context({ node, network: net = network, leases = [], reserved = [] }: World): Context {
  return {
    node,
    network: net,
    server,
    built: new Set(Object.values(grubCores)),
    leases: makeLeaseTable(leases),
    reserved: (address) => reserved.includes(address),
    now,
  }
}

/** A captured packet, with some of its fields and options changed. */
export function request(name: string, options: Options = {}, header: Partial<Packet> = {}): Request {
  const packet = parsePacket(capture(name))
  const all = new Map([...packet.options, ...encodeOptions(options)])
  return requestOf({ ...packet, ...header, options: all })
}
/** The same without some of its options. */
export function requestWithout(name: string, codes: number[], options: Options = {}): Request {
  const packet = parsePacket(capture(name))
  const kept = [...packet.options].filter(([code]) => !codes.includes(code))
  return requestOf({ ...packet, options: new Map([...kept, ...encodeOptions(options)]) })
}
export function requestOf(packet: Packet): Request {
  const read = readRequest(packet)
  if (read.kind !== 'request') throw new Error(read.why)
  return read
}
export const discover = (name: string, world: World) =>
  answer(request(name), context({ node: { ...node, mac: [request(name).mac] }, ...world }))
export function replyOf(answer: Answer): Packet {
  if (!('reply' in answer)) throw new Error(`no reply: ${JSON.stringify(answer)}`)
  return answer.reply
}
export const optionsOf = (answer: Answer) => decodeOptions(replyOf(answer).options)
export const nodeWithoutIp: BootNode = withoutIp

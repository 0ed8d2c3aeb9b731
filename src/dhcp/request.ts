// Which packets are requests to us, read once: whoever decides or writes events works on this record.
import { type Mac, macFromBytes } from '../address.ts'
import { type Client, clientOf } from './client.ts'
import { decodeOptions, type Options } from './options.ts'
import type { Packet } from './packet.ts'

/** RFC 2131 3.1, option 53. */
export const messageTypes = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const

const fromClients = ['discover', 'request', 'decline', 'release', 'inform'] as const
export type RequestType = (typeof fromClients)[number]
export type Request = {
  kind: 'request'
  type: RequestType
  packet: Packet
  options: Options
  client: Client
  mac: Mac
}
export type Ignore = { kind: 'ignore'; why: string }
export const ignore = (why: string): Ignore => ({ kind: 'ignore', why })

/** What a packet asks, or why it is none of ours. Throws WireError for an option of a wrong size. */
export function readRequest(packet: Packet): Request | Ignore {
  if (packet.op !== 'request') return ignore('a reply, not a request')
  // InfiniBand and Omni-Path keep their address elsewhere (RFC 4390).
  if (packet.htype !== 1 || packet.hlen !== 6) return ignore('not from an Ethernet card')
  const mac = macFromBytes(packet.chaddr)
  if (packet.chaddr[0]! & 1 || mac === '00:00:00:00:00:00') return ignore('no card has this MAC address')
  const options = decodeOptions(packet.options)
  if (options.messageType === undefined) return ignore('BOOTP')
  const type = fromClients.find((name) => messageTypes[name] === options.messageType)
  if (!type) return ignore('a message that only servers send')
  return { kind: 'request', type, packet, options, client: clientOf(options), mac }
}

/** What the client takes: option 57 counts the IP datagram; more than one Ethernet frame is never sent. */
export function roomFor({ options }: Request): number {
  return Math.min(Math.max(options.maxBytes ?? 576, 576), 1500) - 28
}

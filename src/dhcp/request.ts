// Which packets are requests to us, read once: whoever decides or writes events works on this record.
import type { Mac } from '../address.ts'
import { type Client, clientOf } from './client.ts'
import { hardwareKey } from './hardware.ts'
import { decodeOptions, type Options } from './options.ts'
import { BOOTP_BYTES, type Packet } from './packet.ts'

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
/** `bootp`: without option 53, RFC 951. */
export type RequestType = (typeof fromClients)[number] | 'bootp'
export type Request = {
  kind: 'request'
  type: RequestType
  packet: Packet
  options: Options
  client: Client
  /** By which we know the machine: of InfiniBand the MAC that its port GUID gives. */
  mac: Mac
}
export type Ignore = { kind: 'ignore'; why: string }
export const ignore = (why: string): Ignore => ({ kind: 'ignore', why })

/** What a packet asks, or why it is none of ours. Throws WireError for an option of a wrong size. */
export function readRequest(packet: Packet): Request | Ignore {
  if (packet.op !== 'request') return ignore('a reply, not a request')
  const options = decodeOptions(packet.options)
  const mac = hardwareKey(packet, options.clientId)
  if (!mac) return ignore(`no card has this address (type ${packet.htype}, ${packet.hlen} bytes)`)
  const { messageType } = options
  if (messageType === undefined)
    return { kind: 'request', type: 'bootp', packet, options, client: bootpClient(options), mac }
  const type = fromClients.find((name) => messageTypes[name] === messageType)
  if (!type) return ignore('a message that only servers send')
  return { kind: 'request', type, packet, options, client: clientOf(options), mac }
}

/** Nothing but firmware speaks BOOTP any more. */
const bootpClient = (options: Options): Client => ({ ...clientOf(options), kind: 'firmware' })

/**
 * What the client takes: option 57 counts the IP datagram; more than one Ethernet frame is never sent. BOOTP has 64
 * bytes of options and no way to ask for more.
 */
export function roomFor({ type, options }: Request): number {
  if (type === 'bootp') return BOOTP_BYTES
  return Math.min(Math.max(options.maxBytes ?? 576, 576), 1500) - 28
}

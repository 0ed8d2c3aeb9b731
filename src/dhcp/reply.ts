// The decision: a request and what is known of its sender -> an answer. Ignoring a packet is an answer too.
import { type Ipv4, subnetContains, subnetMask } from '../address.ts'
import type { ServerAddress } from '../boot/plan.ts'
import type { Network } from '../node/network.ts'
import { type Addresses, addressFor, rightTo } from './assign.ts'
import { bootOffer, type FileAnswer } from './boot-offer.ts'
import type { Client } from './client.ts'
import type { LeaseEvent } from './leases.ts'
import { encodeOptions, type Options } from './options.ts'
import { NO_ADDRESS, type Packet } from './packet.ts'
import { relayInfoOf } from './relay.ts'
import { ignore, messageTypes, type Request, type RequestType } from './request.ts'

/** Firmware never renews and a rack netboots in minutes; an installed system keeps its address over a night's outage. */
const FIRMWARE_LEASE_SECONDS = 300
const OS_LEASE_SECONDS = 12 * 3600
/** `no-pxedhcp` = 1: iPXE need not wait 2 s for a proxy, we are the whole server. */
const IPXE_NO_PROXY = Buffer.from('b00101', 'hex')
const BROADCAST_FLAG = 0x8000

/** `built`: the published names of the loaders that we have. */
export type Context = Addresses & { server: ServerAddress; built: ReadonlySet<string> }

export type Answer =
  /** `server`: the other DHCP server that the client has chosen. */
  | { kind: 'ignore'; why: string; lease?: LeaseEvent; server?: Ipv4 }
  | {
      kind: 'offer' | 'ack'
      reply: Packet
      address: Ipv4
      lease?: LeaseEvent
      leaseSeconds?: number
      file: FileAnswer
    }
  | { kind: 'nak'; reply: Packet; address: Ipv4; why: string }
  | { kind: 'release' | 'decline'; address: Ipv4; lease: LeaseEvent }
/** The answer to a request; the lease event in it is to be taken in before the reply leaves. */
export function answer(request: Request, context: Context): Answer {
  const { node, network } = context
  const { serverId } = request.options
  if (node?.offline) return ignore('offline')
  if (serverId !== undefined && !isOurId(serverId, request, network) && request.type !== 'discover')
    return elsewhere(serverId, request, context)
  return answers[request.type](request, context)
}

const answers: Record<RequestType, (request: Request, context: Context) => Answer> = {
  discover(request, context) {
    const chosen = addressFor(request, context, request.options.requestedAddress)
    if (chosen.kind === 'ignore') return chosen
    return grant('offer', request, context, chosen.address)
  },
  request(request, context) {
    const { packet, options } = request
    const asked = options.requestedAddress ?? packet.ciaddr
    if (asked === NO_ADDRESS) return ignore('names no address')
    const right = rightTo(asked, request, context)
    if (right === 'yes') return grant('ack', request, context, asked)
    return right === 'unknown' ? ignore('of no machine that we know') : refuse(asked, request, context)
  },
  /** RFC 1534 2: a client that knows no lease gets only an address that is its own for good. */
  bootp(request, context) {
    const { node, network } = context
    const { sname } = request.packet
    if (sname !== '' && sname !== network.address) return ignore(`for the server ${JSON.stringify(sname)}`)
    if (!node?.ip) return ignore('BOOTP, and no node with an ip')
    const chosen = addressFor(request, { ...context, network: withoutPool(network) }, undefined)
    if (chosen.kind === 'ignore') return chosen
    const boot = bootOffer(request, context)
    if (boot.kind === 'ignore') return boot
    const reply = replyTo(request, networkOptions(context, {}), { yiaddr: chosen.address, ...boot.header })
    return { kind: 'ack', reply, address: chosen.address, file: boot.file }
  },
  inform(request, context) {
    const address = request.packet.ciaddr
    // The reply goes there, as above.
    if (!subnetContains(context.network.subnet, address)) return ignore(`${address} is not in this network`)
    if (!context.node && !context.network.pool) return ignore('unknown machine')
    const boot = bootOffer(request, context)
    if (boot.kind === 'ignore') return boot
    const options = {
      messageType: messageTypes.ack,
      serverId: serverIdOf(request, context.network),
      ...networkOptions(context, boot.options),
    }
    return {
      kind: 'ack',
      address,
      file: boot.file,
      reply: replyTo(request, options, { ciaddr: address, ...boot.header }),
    }
  },
  release(request, { leases, now }) {
    const { mac, packet } = request
    const address = packet.ciaddr
    if (leases.get(mac)?.address !== address) return ignore('releases what it does not have')
    return { kind: 'release', address, lease: { type: 'release', mac, address, now } }
  },
  decline(request, { leases, now }) {
    const { mac, options } = request
    const address = options.requestedAddress
    if (address === undefined || leases.get(mac)?.address !== address)
      return ignore('declines what it was not given')
    return { kind: 'decline', address, lease: { type: 'decline', mac, address, now } }
  },
}

/** RFC 2131 4.3.2: the client took another server's offer; ours may go to somebody else. */
function elsewhere(server: Ipv4, { mac, type }: Request, { leases, now }: Context): Answer {
  const held = leases.get(mac)
  const why = `for the server ${server}`
  return {
    ...{ kind: 'ignore', why },
    ...(type === 'request' && { server }),
    ...(held && { lease: { type: 'drop', mac, address: held.address, now } }),
  }
}

/** RFC 5107: the relay's address where the relay wants so, that renewals go through it. */
export function serverIdOf({ packet, options }: Request, { address }: Network): Ipv4 {
  const override = packet.giaddr === NO_ADDRESS ? undefined : relayInfoOf(options).serverIdOverride
  return override ?? address
}

/** Our address, or what its relay has us say. */
const isOurId = (id: Ipv4, request: Request, network: Network): boolean =>
  id === network.address || id === serverIdOf(request, network)

const withoutPool = ({ pool: _, ...network }: Network): Network => network

function grant(kind: 'offer' | 'ack', request: Request, context: Context, address: Ipv4): Answer {
  const { mac, packet, client } = request
  const { network, now } = context
  const seconds = client.kind === 'os' ? OS_LEASE_SECONDS : FIRMWARE_LEASE_SECONDS
  const boot = bootOffer(request, context)
  if (boot.kind === 'ignore') return boot
  const options = {
    messageType: messageTypes[kind],
    serverId: serverIdOf(request, network),
    leaseSeconds: seconds,
    ...networkOptions(context, { ...boot.options, ...noProxy(client) }),
    renewSeconds: Math.floor(seconds / 2),
    rebindSeconds: Math.floor((seconds * 7) / 8),
  }
  // The reply goes to ciaddr: one that is not what the client was given, a stranger may have written there.
  const ciaddr = kind === 'ack' && packet.ciaddr === address ? address : NO_ADDRESS
  const reply = replyTo(request, options, { yiaddr: address, ciaddr, ...boot.header })
  const about = { mac, address, now }
  const lease: LeaseEvent =
    kind === 'offer' ? { type: 'offer', ...about } : { type: 'ack', ...about, seconds }
  return { kind, reply, address, lease, leaseSeconds: seconds, file: boot.file }
}

function refuse(asked: Ipv4, request: Request, { network }: Context): Answer {
  const why = 'the address is not yours'
  const options = { messageType: messageTypes.nak, serverId: serverIdOf(request, network), message: why }
  // RFC 2131 4.3.2: the relay is to broadcast it, since the client's address is wrong.
  const relayed = request.packet.giaddr !== NO_ADDRESS
  const flags = relayed ? request.packet.flags | BROADCAST_FLAG : request.packet.flags
  return { kind: 'nak', address: asked, why, reply: replyTo(request, options, { flags }) }
}

const noProxy = ({ kind }: Client): Options => (kind === 'ipxe' ? { ipxe: IPXE_NO_PROXY } : {})

/** In order of importance: what does not fit into a small client's packet is left out from the end. */
function networkOptions({ network, node }: Context, boot: Options) {
  const { subnet, gateway, dns, domain, ntp } = network
  return {
    subnetMask: subnetMask(subnet),
    ...boot,
    // A gateway outside of the subnet can't be reached; some clients then refuse the whole lease.
    routers: gateway !== undefined && subnetContains(subnet, gateway) ? [gateway] : undefined,
    hostName: node?.name,
    dns: dns?.length ? dns : undefined,
    domain,
    ntp: ntp?.length ? ntp : undefined,
  }
}

/** The reply to a request: what must come back as it was is copied. */
export function replyTo(
  { packet, options: asked }: Request,
  options: Parameters<typeof encodeOptions>[0],
  header: Partial<Packet>,
): Packet {
  const { htype, hlen, xid, flags, giaddr, chaddr } = packet
  // RFC 6842, RFC 4578 and RFC 3046: identifiers come back as they were.
  const { clientId, uuid, relayInfo } = asked
  const { messageType, serverId, leaseSeconds, ...more } = options
  return {
    op: 'reply',
    ...{ htype, hlen, hops: 0, xid, secs: 0, flags },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr, chaddr, sname: '', file: '' },
    ...header,
    options: encodeOptions({ messageType, serverId, leaseSeconds, clientId, uuid, ...more, relayInfo }),
  }
}

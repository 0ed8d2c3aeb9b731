// The decision: a request and what is known of its sender -> an answer. Ignoring a packet is an answer too.
import { type Ipv4, subnetContains, subnetMask } from '../address.ts'
import { planFirstLoader } from '../boot/loaders.ts'
import type { ServerAddress } from '../boot/plan.ts'
import { type Addresses, addressFor, rightTo } from './assign.ts'
import type { LeaseEvent } from './leases.ts'
import { encodeOptions, type Options } from './options.ts'
import { FILE_FIELD_BYTES, NO_ADDRESS, type Packet } from './packet.ts'
import { type Ignore, ignore, messageTypes, type Request, type RequestType } from './request.ts'

/** Firmware never renews and a rack netboots in minutes; an installed system keeps its address over a night's outage. */
const FIRMWARE_LEASE_SECONDS = 300
const OS_LEASE_SECONDS = 12 * 3600
/** `no-pxedhcp` = 1: iPXE need not wait 2 s for a proxy, we are the whole server. */
const IPXE_NO_PROXY = Buffer.from('b00101', 'hex')
const BROADCAST_FLAG = 0x8000

/** `built`: the published names of the loaders that we have. */
export type Context = Addresses & { server: ServerAddress; built: ReadonlySet<string> }

export type Answer =
  | { kind: 'ignore'; why: string; lease?: LeaseEvent }
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
/** `why` is there when a client that boots gets an address and nothing to boot. */
type FileAnswer = { name?: string; why?: string }

/** The answer to a request; the lease event in it is to be taken in before the reply leaves. */
export function answer(request: Request, context: Context): Answer {
  const { node, network } = context
  const { packet, options } = request
  if (node?.offline) return ignore('offline')
  // The reply goes there: a made-up relay must not let us send outside of the network.
  if (packet.giaddr !== NO_ADDRESS && !subnetContains(network.subnet, packet.giaddr))
    return ignore(`the relay ${packet.giaddr} is not in this network`)
  if (options.serverId !== undefined && options.serverId !== network.address && request.type !== 'discover')
    return elsewhere(request, context)
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
  inform(request, context) {
    const address = request.packet.ciaddr
    // The reply goes there, as above.
    if (!subnetContains(context.network.subnet, address)) return ignore(`${address} is not in this network`)
    if (!context.node && !context.network.pool) return ignore('unknown machine')
    const boot = bootFile(request, context)
    if ('kind' in boot) return boot
    const options = {
      messageType: messageTypes.ack,
      serverId: context.network.address,
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
function elsewhere({ mac, options }: Request, { leases, now }: Context): Answer {
  const held = leases.get(mac)
  const why = `for the server ${options.serverId}`
  return held
    ? { kind: 'ignore', why, lease: { type: 'drop', mac, address: held.address, now } }
    : ignore(why)
}

function grant(kind: 'offer' | 'ack', request: Request, context: Context, address: Ipv4): Answer {
  const { mac, packet, client } = request
  const { network, now } = context
  const seconds = client.kind === 'os' ? OS_LEASE_SECONDS : FIRMWARE_LEASE_SECONDS
  const boot = bootFile(request, context)
  if ('kind' in boot) return boot
  const options = {
    messageType: messageTypes[kind],
    serverId: network.address,
    leaseSeconds: seconds,
    ...networkOptions(context, boot.options),
    renewSeconds: Math.floor(seconds / 2),
    rebindSeconds: Math.floor((seconds * 7) / 8),
  }
  const ciaddr = kind === 'ack' ? packet.ciaddr : NO_ADDRESS
  const reply = replyTo(request, options, { yiaddr: address, ciaddr, ...boot.header })
  const about = { mac, address, now }
  const lease: LeaseEvent =
    kind === 'offer' ? { type: 'offer', ...about } : { type: 'ack', ...about, seconds }
  return { kind, reply, address, lease, leaseSeconds: seconds, file: boot.file }
}

function refuse(asked: Ipv4, request: Request, { network }: Context): Answer {
  const why = 'the address is not yours'
  const options = { messageType: messageTypes.nak, serverId: network.address, message: why }
  // RFC 2131 4.3.2: the relay is to broadcast it, since the client's address is wrong.
  const relayed = request.packet.giaddr !== NO_ADDRESS
  const flags = relayed ? request.packet.flags | BROADCAST_FLAG : request.packet.flags
  return { kind: 'nak', address: asked, why, reply: replyTo(request, options, { flags }) }
}

/** `header` and `options` name the file to the client, `file` to people. */
type Boot = { file: FileAnswer; header: Partial<Packet>; options: Options }

/** What a client is given to load. Unknown machines get an address and no file. */
function bootFile({ client, mac }: Request, { node, server, network, built }: Context): Boot | Ignore {
  const ours: Options = client.kind === 'ipxe' ? { ipxe: IPXE_NO_PROXY } : {}
  if (!node || client.kind === 'os') return { file: {}, header: {}, options: ours }
  const loader = planFirstLoader({ client, mac, node, server, built })
  if (loader.kind === 'silent') return ignore(loader.why)
  if (loader.kind === 'none') return { file: { why: loader.why }, header: {}, options: ours }
  const { file, vendorClass, configFile, pathPrefix } = loader
  const inHeader = file !== undefined && file.length <= FILE_FIELD_BYTES ? file : ''
  const name = file ?? configFile
  return {
    file: name === undefined ? {} : { name },
    header: { siaddr: network.address, sname: network.address, file: inHeader },
    // No option 60 for PXE: with it EDK2 takes us for a boot server on port 4011 and ignores the file.
    options: {
      ...(file !== undefined && { bootFile: file }),
      tftpServer: network.address,
      ...(vendorClass && { vendorClass }),
      ...(configFile !== undefined && { configFile }),
      ...(pathPrefix !== undefined && { pathPrefix }),
      ...ours,
    },
  }
}

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

function replyTo(
  { packet, options: asked }: Request,
  options: Parameters<typeof encodeOptions>[0],
  header: Partial<Packet>,
): Packet {
  const { htype, hlen, xid, flags, giaddr, chaddr } = packet
  // RFC 6842, RFC 4578 and RFC 3046: identifiers come back as they were.
  const { clientId, uuid, relayInfo } = asked
  return {
    op: 'reply',
    ...{ htype, hlen, hops: 0, xid, secs: 0, flags },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr, chaddr, sname: '', file: '' },
    ...header,
    options: encodeOptions({ ...options, uuid, clientId, relayInfo }),
  }
}

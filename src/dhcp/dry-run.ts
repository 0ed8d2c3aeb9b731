// What we would answer, without answering: the very decision of the DHCP server on what is known now, with the rule
// behind each field. Nothing is sent and no lease is taken; what a request would change is seen by the next one.
import { type Ipv4, type Mac, subnetContains } from '../address.ts'
import type { NodeIndex } from '../boot/names.ts'
import type { BootNode, ServerAddress } from '../boot/plan.ts'
import type { Stranger } from '../boot/strangers.ts'
import { WireError } from '../fault.ts'
import type { Network } from '../node/network.ts'
import { machineName } from './client.ts'
import { decide } from './decide.ts'
import { usualPorts } from './delivery.ts'
import { comparePackets, type Difference, describePacket, type Field } from './describe.ts'
import { makeHeard } from './heard.ts'
import { type Lease, makeLeaseTable } from './leases.ts'
import { NO_ADDRESS, type Packet, parsePacket, serializePacket } from './packet.ts'
import type { Answer } from './reply.ts'
import { type Ignore, ignore, type Request, readRequest, roomFor } from './request.ts'
import { ruleOf } from './rules.ts'
import { networkOf } from './subnet.ts'

/** Everything that answers depend on. */
export type DryWorld = {
  networks: readonly Network[]
  serverOf(network: Network): ServerAddress
  nodes: NodeIndex
  /** The published names of the loaders that we have. */
  built: ReadonlySet<string>
  leases: readonly Lease[]
  /** Unknown machines that wait to be adopted. */
  waiting: readonly Stranger[]
  now: number
}

/** A request and what it was answered then, if anything: UDP payloads. */
export type Exchange = {
  request: Uint8Array
  replies: Uint8Array[]
  server?: Ipv4 | undefined // of ours, that heard it
  port?: number | undefined // of the server; 67 unless it is said
}
export type DryRun = {
  mac?: Mac
  node?: string
  /** 'discover of firmware, uefi x86_64' */
  asked: string
  network?: Network
  answer: Answer['kind']
  why?: string
  address?: Ipv4
  file?: string
  reply?: Buffer
  fields: (Field & { rule?: string })[]
  /** With the reply of then; absent when there was none then and there is none now. */
  compared?: { same: boolean; differences: Difference[]; captured?: string }
}

/** Answers requests one after the other, as the server would. */
export function makeDryRun(world: DryWorld) {
  const leases = makeLeaseTable(world.leases)
  const overheard = makeHeard()
  const { nodes, networks, built, now } = world
  const isNode = (mac: Mac) => nodes.byMac.has(mac)

  return function run(exchange: Exchange): DryRun {
    const port = exchange.port === usualPorts.bootServer ? 'bootServer' : 'server'
    const read = tryRead(exchange.request)
    if (read.kind === 'ignore')
      return withComparison({ asked: 'a packet', answer: 'ignore', why: read.why, fields: [] }, exchange)
    const request = port === 'bootServer' ? { ...read, mac: overheard.realMac(read.mac, isNode) } : read
    const { mac, client, type } = request
    const node = nodes.byMac.get(mac)
    const asked = [`${type} of ${kindText[client.kind]}`, machineName(client)].filter(Boolean).join(', ')
    const about = { mac, asked, ...(node && { node: node.name }) }
    const network = networkFor(request, node, exchange)
    if ('kind' in network)
      return withComparison({ ...about, answer: 'ignore', why: network.why, fields: [] }, exchange)
    if (node) overheard.noteAlias(request)
    const reserved = (address: Ipv4) => nodes.byAddress.has(address)
    const server = world.serverOf(network)
    const before = leases.get(mac)
    const decided = decide(port, request, { network, server, built, node, leases, reserved, now })
    if ('lease' in decided && decided.lease) leases.apply(decided.lease)
    const reply = 'reply' in decided ? serializePacket(decided.reply, roomFor(request)) : undefined
    const facts = { request, node, network, decided, before }
    return withComparison(
      {
        ...about,
        network,
        answer: decided.kind,
        ...('why' in decided && { why: decided.why }),
        ...('address' in decided && decided.address !== NO_ADDRESS && { address: decided.address }),
        ...('file' in decided && decided.file.name !== undefined && { file: decided.file.name }),
        ...('file' in decided && decided.file.why !== undefined && { why: decided.file.why }),
        ...(reply && { reply }),
        fields: reply ? describePacket(reply).map((field) => withRule(field, ruleOf(field, facts))) : [],
      },
      exchange,
    )
  }

  /** The network that heard it: no capture says so, but its addresses do. */
  function networkFor(request: Request, node: BootNode | undefined, exchange: Exchange): Network | Ignore {
    const network = heardIn(request, node, exchange)
    const found = networkOf(request, { network, unicast: exchange.server !== undefined }, networks)
    return 'kind' in found && !network ? ignore('it is not known in which network it asked') : found
  }

  function heardIn({ packet, options }: Request, node: BootNode | undefined, exchange: Exchange) {
    const replies = exchange.replies.map(tryParse).filter((packet) => packet !== undefined)
    const hints: (Ipv4 | undefined)[] = [
      exchange.server,
      packet.ciaddr,
      ...replies.flatMap(({ yiaddr, siaddr }) => [yiaddr, siaddr]),
      node?.ip,
      options.requestedAddress,
    ]
    for (const hint of hints) {
      if (hint === undefined || hint === NO_ADDRESS) continue
      const found = networks.find(
        (network) => network.address === hint || subnetContains(network.subnet, hint),
      )
      if (found) return found
    }
    return networks.length === 1 ? networks[0] : undefined
  }
}

const kindText = { firmware: 'firmware', ipxe: 'iPXE', os: 'a system' } as const
const withRule = (field: Field, rule: string | undefined) => (rule === undefined ? field : { ...field, rule })

function tryRead(bytes: Uint8Array): ReturnType<typeof readRequest> {
  try {
    return readRequest(parsePacket(bytes))
  } catch (error) {
    if (error instanceof WireError) return { kind: 'ignore', why: `malformed: ${error.message}` }
    throw error
  }
}

function tryParse(bytes: Uint8Array): Packet | undefined {
  try {
    return parsePacket(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

/** Of several replies the one that differs least is meant: two servers may have answered. */
function withComparison(run: DryRun, { replies }: Exchange): DryRun {
  const { reply } = run
  if (replies.length === 0 && !reply) return run
  if (replies.length === 0) return { ...run, compared: { same: false, differences: [] } }
  if (!reply) return { ...run, compared: { same: false, differences: [], captured: textOf(replies[0]!) } }
  const [best] = replies
    .map((captured) => ({ captured, differences: comparePackets(captured, reply) }))
    .sort((a, b) => a.differences.length - b.differences.length)
  const { captured, differences } = best!
  return { ...run, compared: { same: differences.length === 0, differences, captured: textOf(captured) } }
}

const types = ['', 'discover', 'offer', 'request', 'decline', 'ack', 'nak', 'release', 'inform']

/** 'offer of 10.0.0.11 from 10.0.0.1' */
function textOf(reply: Uint8Array): string {
  const packet = tryParse(reply)
  if (!packet) return `${reply.length} bytes that are no DHCP packet`
  const type = types[packet.options.get(53)?.[0] ?? 0] || 'reply'
  const server = packet.options.get(54)
  const from = server?.length === 4 ? ` from ${server.join('.')}` : ''
  return `${type}${packet.yiaddr === NO_ADDRESS ? '' : ` of ${packet.yiaddr}`}${from}`
}

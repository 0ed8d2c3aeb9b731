// DHCP on all networks. Bytes in, decision in src/dhcp, bytes out; nothing from the network gets past `receive` as an error.
import { type Ipv4, type Mac, macFromBytes } from '../../src/address.ts'
import type { BootNode, ServerAddress } from '../../src/boot/plan.ts'
import { isOfNetwork } from '../../src/dhcp/assign.ts'
import { decide } from '../../src/dhcp/decide.ts'
import {
  bootServerDestination,
  type Destination,
  type DhcpPorts,
  destinationOf,
  usualPorts,
} from '../../src/dhcp/delivery.ts'
import { clientKey, makeFloods } from '../../src/dhcp/floods.ts'
import { makeHeard } from '../../src/dhcp/heard.ts'
import { makeLine } from '../../src/dhcp/line.ts'
import { NO_ADDRESS, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { rehearse } from '../../src/dhcp/rehearsal.ts'
import type { Answer } from '../../src/dhcp/reply.ts'
import { type Ignore, ignore, type Request, readRequest, roomFor } from '../../src/dhcp/request.ts'
import { isLooking, twinAnswer } from '../../src/dhcp/rogue.ts'
import { isOfNetworks, networkOf } from '../../src/dhcp/subnet.ts'
import { WireError } from '../../src/fault.ts'
import { subnetText } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'
import { type HandedDescriptor, openHanded } from '../net/handed.ts'
import type { DhcpSeen } from '../record/recorder.ts'
import type { Leases } from './leases.ts'
import { type Listener, openListeners } from './listeners.ts'
import { startProbes } from './probe.ts'
import { type Case, makeSay } from './say.ts'
import { makeLookingMac, startWatch, usualLookEveryMs } from './watch.ts'

export type DhcpNeeds = {
  networks: readonly Network[]
  /** Everything about us that a network's machines are told. */
  serverOf(network: Network): ServerAddress
  lookup(mac: Mac): BootNode | undefined
  /** Whether an address is a known node's by definition. */
  reserved(address: Ipv4): boolean
  /** The published names of the loaders that we have. */
  built: ReadonlySet<string>
  leases: Leases
  emit: Emit
  /** Told of every request that was read and of its answer, after the answer has left. */
  record?(seen: DhcpSeen): void
  /** Another DHCP server on our networks is expected. */
  coexist?: boolean
  /** We were there before: start even beside another DHCP server, and tell of it. */
  restarted?: boolean
  /** Sockets that systemd opened. */
  handed?: readonly HandedDescriptor[]
  ports?: DhcpPorts // others than the usual ones only in tests
  /** Between two looks for other DHCP servers. */
  lookEveryMs?: number
  now?: () => number
}

/** Said before a machine finds out. */
const PROXY_WARNING =
  'mode: proxy, and some firmware takes none of two offers; a network where we are the DHCP server is the sure way'

/** A burst of 10,000 machines fits. */
const lineLimits = { mostBytes: 16 << 20 }
const AT_ONCE = 32

/** Exchanges, until the compiler has done its part. */
const REHEARSED = 4000

/** In pieces: the process has other things to start. */
async function rehearseNow() {
  for (const _ of rehearse(REHEARSED)) await new Promise((done) => setImmediate(done))
}

/** How a packet came in. */
type Heard = Pick<Listener, 'arrival' | 'port'> & { peer: Destination }

/** Looks for other servers, then listens on every network's interface and address. */
export async function startDhcp(needs: DhcpNeeds) {
  const {
    networks,
    lookup,
    reserved,
    built,
    leases,
    emit,
    record,
    coexist = false,
    restarted = false,
    handed: descriptors = [],
  } = needs
  const { ports = usualPorts, now = Date.now, lookEveryMs = usualLookEveryMs } = needs
  const servers = new Map(networks.map((network) => [network, needs.serverOf(network)]))
  const ours = new Set(networks.map(({ address }) => address))
  const say = makeSay(emit, () => performance.now())
  const floods = makeFloods()
  const overheard = makeHeard()
  const lookingMac = makeLookingMac()
  for (const { mode, subnet } of networks)
    if (mode === 'proxy') say.warn(`${subnetText(subnet)}: ${PROXY_WARNING}`)
  await rehearseNow()
  const watch = await startWatch({
    ...{ networks, mac: lookingMac, ports, say },
    ...{ onlyTell: coexist || restarted, everyMs: lookEveryMs },
  })
  const handed = await openHanded(descriptors)
  const { listeners, sender, close } = await openListeners(networks, ports, handed)
  handed.finish()
  const probes = startProbes({ networks, holder, say })

  const report = (error: unknown) => say.ignored(`fault: ${messageOf(error)}`)
  const line = makeLine<{ bytes: Buffer; socket: number; isNode: boolean; heard: Heard }>(lineLimits)
  let working = false
  for (const [socket, { datagrams, arrival, port }] of listeners.entries())
    datagrams.listen((bytes, peer) => {
      const key = clientKey(bytes)
      const mac = key === undefined ? undefined : macFromBytes(bytes.subarray(28))
      if (mac && !floods.allow(key!, performance.now())) return flooded(mac)
      line.add({ bytes, socket, isNode: mac !== undefined && isNode(mac), heard: { arrival, port, peer } })
      if (!working) setImmediate(work)
      working = true
    }, report)

  /** A few at a time: in between more is read from the sockets, so that it is known who has asked again. */
  function work() {
    for (let count = 0; count < AT_ONCE; count++) {
      const next = line.take()
      working = next !== undefined
      if (!next) return
      try {
        receive(next.bytes, next.heard)
      } catch (error) {
        report(error)
      }
    }
    setImmediate(work)
  }

  function receive(bytes: Buffer, heard: Heard) {
    const request = tryRead(bytes)
    if (request.kind === 'ignore') return say.ignored(request.why)
    if (request.mac === lookingMac) return
    if (clientKey(bytes) === undefined && !floods.allow(request.mac, performance.now()))
      return flooded(request.mac)
    const network = networkOf(request, { ...heard.arrival, from: heard.peer.address }, networks)
    if ('kind' in network) return say.ignored(network.why, { mac: request.mac })
    if (isFromOutside(heard))
      return say.ignored(`asks from ${heard.peer.address}, outside of our networks`, { mac: request.mac })
    if (isLooking(request)) return meetTwin(request, network, heard)
    handle(caseOf(request, network, heard), heard, bytes)
  }

  /** On port 67 the answer goes to where the request says that its client is; here it goes to the sender. */
  const isFromOutside = ({ port, peer: { address } }: Heard): boolean =>
    port === 'bootServer' && address !== NO_ADDRESS && !isOfNetworks(address, networks)

  function tryRead(bytes: Uint8Array): Request | Ignore {
    try {
      return readRequest(parsePacket(bytes))
    } catch (error) {
      if (error instanceof WireError) return ignore(`malformed: ${error.message}`)
      throw error
    }
  }

  const flooded = (mac: Mac) => say.ignored('asks too often', { mac })

  function meetTwin(request: Request, network: Network, heard: Heard) {
    say.rogue(heard.peer.address, 'another sysclone starts or runs on this network')
    send(twinAnswer(request, network), { request, network, node: undefined }, heard)
  }

  const isNode = (mac: Mac) => lookup(mac) !== undefined

  function caseOf(asked: Request, network: Network, { port }: Heard): Case {
    const mac = port === 'bootServer' ? overheard.realMac(asked.mac, isNode) : asked.mac
    const request = mac === asked.mac ? asked : { ...asked, mac }
    const node = lookup(mac)
    if (node) overheard.noteAlias(request)
    if (network.mode === 'proxy') overheard.noteAddress(request, node !== undefined)
    return { request, network, node }
  }

  /** The one place where a request is decided. An answer that promises an address leaves when the lease is on the disk. */
  function handle(asked: Case, heard: Heard, bytes: Buffer) {
    const decided = answerTo(asked, heard)
    const stored = 'lease' in decided && decided.lease ? leases.take(decided.lease) : undefined
    if (!stored) return finish(decided, asked, heard, bytes)
    const done = () => finish(decided, asked, heard, bytes)
    stored.then(done, (error) => mayGoWithoutDisk(error, asked) && done()).catch(report)
  }

  /** The answer leaves first; whoever wants to know of it is told then. */
  function finish(decided: Answer, asked: Case, heard: Heard, bytes: Buffer) {
    const reply = send(decided, asked, heard)
    const { request, network, node } = asked
    const [server, port] = [network.address, ports[heard.port]]
    record?.({ time: now(), server, port, bytes, request, decided, reply, node })
    say.answered(asked, decided)
    if (decided.kind === 'ignore' && decided.server && !coexist && !ours.has(decided.server))
      say.rogue(decided.server, 'a machine takes its address from another DHCP server', whoAsks(asked))
  }

  function answerTo({ request, network, node }: Case, { port }: Heard): Answer {
    const server = servers.get(network)!
    const context = { network, server, built, node, leases: leases.view, reserved: notFor, now: now() }
    return decide(port, request, context)
  }

  function notFor(address: Ipv4, mac: Mac): boolean {
    const user = probes.inUse(address)
    return reserved(address) || (user !== undefined && user !== mac)
  }

  function holder(address: Ipv4) {
    if (reserved(address) || networks.some((network) => isOfNetwork(address, network))) return 'reserved'
    const lease = leases.view.at(address)
    return lease && { mac: lease.mac, running: lease.until > now() }
  }

  /** On a full disk nodes still boot: a fixed address needs no memory. An address of the pool could be given twice. */
  function mayGoWithoutDisk(error: unknown, { request: { mac }, node }: Case): boolean {
    say.ignored(`the lease cannot be written: ${messageOf(error)}`, { mac, node })
    return node?.ip !== undefined && node.mac[0] === mac
  }

  /** Answers with the bytes. */
  function send(decided: Answer, { request, network, node }: Case, { port, peer }: Heard) {
    if (!('reply' in decided)) return undefined
    const refusal = decided.kind === 'nak'
    const to =
      port === 'bootServer' ? bootServerDestination(peer) : destinationOf(decided.reply, { refusal, ports })
    const bytes = serializePacket(decided.reply, roomFor(request))
    sender(network.address, port).send(bytes, to, (why) =>
      say.ignored(`cannot send to ${to.address}: ${why}`, { mac: request.mac, node }),
    )
    return bytes
  }

  return {
    /** The known node that was given this address by the DHCP server beside us. */
    macOf: overheard.macOf,
    strangerAt: overheard.strangerAt,
    async close() {
      await watch.close()
      await probes.close()
      await close()
    },
  }
}

const whoAsks = ({ request: { mac }, node }: Case) => ({ mac, node })
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

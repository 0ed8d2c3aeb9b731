// DHCP on one network. Bytes in, decision in src/dhcp, bytes out; nothing from the network gets past `receive` as an error.
import type dgram from 'node:dgram'
import type { Ipv4, Mac } from '../../src/address.ts'
import type { BootNode, ServerAddress } from '../../src/boot/plan.ts'
import { machineName } from '../../src/dhcp/client.ts'
import { type DhcpPorts, destinationOf } from '../../src/dhcp/delivery.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { type Answer, answer } from '../../src/dhcp/reply.ts'
import { type Ignore, ignore, type Request, readRequest, roomFor } from '../../src/dhcp/request.ts'
import { WireError } from '../../src/fault.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'
import { interfaceOf, openAddressSocket, openDeviceSocket } from '../net/linux.ts'
import type { DhcpSeen } from '../record/recorder.ts'
import type { Leases } from './leases.ts'

export type DhcpNeeds = {
  network: Network
  /** Of the HTTP server, for the URLs in replies; `dhcp` only in tests. */
  ports: { http: number; image: number; dhcp?: DhcpPorts }
  lookup(mac: Mac): BootNode | undefined
  /** Whether an address is a known node's by definition. */
  reserved(address: Ipv4): boolean
  /** The published names of the loaders that we have. */
  built: ReadonlySet<string>
  leases: Leases
  emit: Emit
  /** Told of every request that was read and of its answer, after the answer has left. */
  record?(seen: DhcpSeen): void
  now?: () => number
}

/** The same line about the same machine is said once a minute, and no more lines than this: made-up MACs cost nothing. */
const QUIET_MS = 60_000
const QUIET_LIMIT = 1000

/** Listens on the network's interface and address. */
export async function startDhcp({
  network,
  ports,
  lookup,
  reserved,
  built,
  leases,
  emit,
  record,
  now = Date.now,
}: DhcpNeeds) {
  const dhcpPorts = ports.dhcp ?? { server: 67, client: 68 }
  const server: ServerAddress = { address: network.address, httpPort: ports.http, imagePort: ports.image }
  const device = network.interface ?? interfaceOf(network.address)
  // Sent from our address, so that 255.255.255.255 goes out of that interface whatever the default route is.
  const own = await openAddressSocket(network.address, dhcpPorts.server)
  const broadcasts = await openDeviceSocket(device, dhcpPorts.server).catch(async (error) => {
    await closed(own)
    throw error
  })
  const quiet = { lines: new Set<string>(), until: 0 }
  const report = (error: unknown) => ignored(`fault: ${messageOf(error)}`, {})
  for (const socket of [own, broadcasts]) {
    socket.on('message', (bytes) => void receive(bytes).catch(report))
    socket.on('error', report)
  }

  async function receive(bytes: Uint8Array) {
    const request = tryRead(bytes)
    if (request.kind === 'ignore') return ignored(request.why, {})
    const node = lookup(request.mac)
    const context = { network, server, built, node, leases: leases.view, reserved, now: now() }
    const decided = answer(request, context)
    const stored = 'lease' in decided && decided.lease ? leases.take(decided.lease) : undefined
    if (stored && !(await isStored(stored, request, node))) return
    const reply = 'reply' in decided ? send(decided.reply, decided.kind === 'nak', request) : undefined
    record?.({ time: context.now, server: network.address, port: 67, bytes, request, decided, reply, node })
    say(decided, request, node)
  }

  function tryRead(bytes: Uint8Array): Request | Ignore {
    try {
      return readRequest(parsePacket(bytes))
    } catch (error) {
      if (error instanceof WireError) return ignore(`malformed: ${error.message}`)
      throw error
    }
  }

  /** On a full disk nodes still boot: a fixed address needs no memory. An address of the pool could be given twice. */
  async function isStored(stored: Promise<void>, { mac }: Request, node: BootNode | undefined) {
    try {
      await stored
      return true
    } catch (error) {
      ignored(`the lease cannot be written: ${messageOf(error)}`, { mac, node })
      return node?.ip !== undefined && node.mac[0] === mac
    }
  }

  /** Answers with the bytes. */
  function send(reply: Packet, refusal: boolean, request: Request): Uint8Array {
    const { address, port } = destinationOf(reply, { refusal, ports: dhcpPorts })
    const bytes = serializePacket(reply, roomFor(request))
    own.send(bytes, port, address, (error) => {
      if (error) ignored(`cannot send to ${address}: ${error.message}`, request)
    })
    return bytes
  }

  function say(decided: Answer, request: Request, node: BootNode | undefined) {
    const { mac, client } = request
    const arch = machineName(client)
    const who = { mac, ...(node && { node: node.name }) }
    const what = { client: client.kind, ...(arch && { arch }) }
    const silent = decided.kind === 'ignore'
    // Of machines that are none of ours only the answered ones: main counts the boots of its nodes by this event.
    if (request.type === 'discover' && (node || !silent)) emit('dhcp.discover', { ...who, ...what })
    switch (decided.kind) {
      case 'ignore':
        return ignored(decided.why, { mac, node })
      case 'release':
      case 'decline':
        return emit(`dhcp.${decided.kind}`, { ...who, address: decided.address })
      case 'nak':
        return emit('dhcp.nak', { ...who, address: decided.address, why: decided.why })
      default: {
        const { address, file, leaseSeconds } = decided
        const given = { ...who, ...what, address, ...(file.name !== undefined && { file: file.name }) }
        if (decided.kind === 'offer') emit('dhcp.offer', given)
        else emit('dhcp.ack', { ...given, ...(leaseSeconds !== undefined && { leaseSeconds }) })
        if (file.why !== undefined) ignored(`no boot file: ${file.why}`, { mac, node })
      }
    }
  }

  function ignored(why: string, { mac, node }: { mac?: Mac; node?: BootNode | undefined }) {
    const line = `${mac} ${why}`
    if (now() >= quiet.until) Object.assign(quiet, { lines: new Set(), until: now() + QUIET_MS })
    if (quiet.lines.has(line) || quiet.lines.size >= QUIET_LIMIT) return
    quiet.lines.add(line)
    emit('dhcp.ignore', { why, ...(mac && { mac }), ...(node && { node: node.name }) })
  }

  return { close: () => Promise.all([own, broadcasts].map(closed)).then(() => {}) }
}

const closed = (socket: dgram.Socket) => new Promise<void>((done) => socket.close(done))
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

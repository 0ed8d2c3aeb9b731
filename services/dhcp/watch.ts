// Looks for other DHCP servers on our networks: at the start, then every few minutes.
import { randomBytes, randomInt } from 'node:crypto'
import type dgram from 'node:dgram'
import { type Mac, macFromBytes } from '../../src/address.ts'
import { BROADCAST, type DhcpPorts } from '../../src/dhcp/delivery.ts'
import { parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { lookingDiscover, type OtherServer, otherServer } from '../../src/dhcp/rogue.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { Network } from '../../src/node/network.ts'
import { openDeviceSocket } from '../net/linux.ts'
import type { Say } from './say.ts'

/** Three times, since any of them may be lost; dnsmasq pings an address for up to three seconds before it offers it. */
const ASK_AT_MS = [0, 1000, 2000]
const WAIT_MS = 3500
/** Between two looks. */
export const usualLookEveryMs = 300_000
const FOUND_LIMIT = 100

/** Of one process: other servers keep an address for it, so it is always the same one. Locally administered. */
export const makeLookingMac = (): Mac => macFromBytes(Uint8Array.of(2, ...randomBytes(5)))

/** `onlyTell`: what is found at the start is only told. `everyMs`: between two looks. */
type Needs = {
  networks: readonly Network[]
  mac: Mac
  ports: DhcpPorts
  onlyTell: boolean
  everyMs: number
  say: Say
}
/** A network whose broadcasts we hear; others can't be looked at from here. */
type Local = Network & { interface: string }

const kinds: Record<OtherServer['kind'], string> = {
  dhcp: 'another DHCP server answers on this network',
  proxy: 'another boot server (proxyDHCP) answers on this network',
  sysclone: 'another sysclone answers on this network',
}

/**
 * Resolves when no other server answers on the networks that we are to be the DHCP server of; where one may be there,
 * at once. What is found later is said as `dhcp.rogue`.
 * @throws UserError naming the other server
 */
export async function startWatch({ networks, mac, ports, onlyTell, everyMs, say }: Needs) {
  const local = networks.filter(isLocal)
  const closing = new AbortController()
  const look = (network: Local, first: boolean) =>
    lookForServers(network.interface, { mac, ports, first, signal: closing.signal })
  const alone = onlyTell ? [] : local.filter(({ mode }) => mode !== 'proxy')
  await Promise.all(alone.map(refuseBesideAnother))
  const others = local.filter((network) => !alone.includes(network))
  for (const network of others) void lookAround(network)
  const timer = setInterval(() => {
    for (const network of local) void lookAround(network)
  }, everyMs)

  async function refuseBesideAnother(network: Local) {
    const [other] = (await lookIfPossible(network, true)) ?? []
    if (!other) return
    throw new UserError(kinds[other.kind], {
      what: other.server,
      object: network.interface,
      allowed: 'to stop that server, `mode: proxy` for this network, or `serve --coexist`',
    })
  }

  async function lookAround(network: Local) {
    const found = await lookIfPossible(network, false)
    if (found && !closing.signal.aborted) judge(network, found)
  }

  /** Without a right to port 68 nobody is found; what else is wrong with the interface, listening on it will say. */
  async function lookIfPossible(network: Local, first: boolean): Promise<OtherServer[] | undefined> {
    try {
      return await look(network, first)
    } catch (error) {
      say.warn(`can not look for other servers on ${network.interface}: ${(error as Error).message}`)
      return undefined
    }
  }

  function judge({ mode, interface: device }: Local, found: OtherServer[]) {
    const unwanted = found.filter(({ kind }) => mode !== 'proxy' || kind !== 'dhcp')
    for (const { server, kind } of unwanted) say.rogue(server, `${kinds[kind]}: ${device}`)
    if (mode === 'proxy' && !found.some(({ kind }) => kind === 'dhcp'))
      say.warn(`no DHCP server answers on ${device}: with mode: proxy machines need one for their address`)
  }

  return {
    async close() {
      clearInterval(timer)
      closing.abort()
    },
  }
}

/** Nobody else is on the loopback interface, and it has no broadcasts. */
const isLocal = (network: Network): network is Local =>
  network.interface !== undefined && network.interface !== 'lo'

/**
 * Every other server that answers within a few seconds; `first`: only the first one, at once.
 * @throws UserError when the port of DHCP clients can't be had on that interface
 */
async function lookForServers(
  device: string,
  { mac, ports, first, signal }: { mac: Mac; ports: DhcpPorts; first: boolean; signal: AbortSignal },
): Promise<OtherServer[]> {
  const xid = randomInt(2 ** 32)
  const found = new Map<string, OtherServer>()
  const done = Promise.withResolvers<void>()
  const socket = await openDeviceSocket(device, ports.client)
  socket.setBroadcast(true)
  socket.on('error', () => {}) // an interface that went down: nobody answers
  socket.on('message', (bytes) => {
    const other = tryRead(bytes, xid)
    if (!other || found.size >= FOUND_LIMIT) return
    found.set(`${other.server} ${other.kind}`, other)
    if (first) done.resolve()
  })
  const question = serializePacket(lookingDiscover({ mac, xid }))
  const timers = ASK_AT_MS.map((at) => setTimeout(() => ask(socket, question, ports), at))
  timers.push(setTimeout(done.resolve, WAIT_MS))
  const stop = () => done.resolve()
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  await done.promise
  signal.removeEventListener('abort', stop)
  for (const timer of timers) clearTimeout(timer)
  await new Promise<void>((closed) => socket.close(closed))
  return [...found.values()]
}

const ask = (socket: dgram.Socket, question: Buffer, ports: DhcpPorts) =>
  socket.send(question, ports.server, BROADCAST, () => {})

/** All that servers broadcast is heard here, ours in the midst of a storm too: the cheap question comes first. */
function tryRead(bytes: Buffer, xid: number): OtherServer | undefined {
  if (bytes.length < 8 || bytes.readUInt32BE(4) !== xid) return undefined
  try {
    return otherServer(parsePacket(bytes), xid)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

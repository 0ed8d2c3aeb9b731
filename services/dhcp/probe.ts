// Looks ahead whether free addresses of the pools are used by machines that were never given them. Never when an offer is
// due, never for an address that is reserved or leased, and only a few a second: an answer waits for nothing here.
// A datagram makes the kernel ask by ARP; of a relayed subnet only "port unreachable" tells, so a machine that drops
// packets in silence is not found there.
import dgram from 'node:dgram'
import { type Ipv4, ipv4FromNumber, ipv4ToNumber, type Mac } from '../../src/address.ts'
import type { AddressRange, Network } from '../../src/node/network.ts'
import { neighbourKey, readNeighbours } from '../net/neighbours.ts'
import type { Say } from './say.ts'

const STEP_MS = 100
/** A pass over a pool begins no sooner than this after the one before. */
const PASS_MS = 600_000
const ANSWER_MS = 1000
/** The kernel gives a neighbour that has gone up after 5 s of doubt and three questions of 1 s. */
const CERTAIN_MS = 10_000
const DISCARD_PORT = 9

type Pooled = Network & { pool: AddressRange }
type Needs = {
  networks: readonly Network[]
  /** Whose an address of a pool is or was; `reserved`: it is never given, so it is not looked at. */
  holder(address: Ipv4): { mac: Mac; running: boolean } | 'reserved' | undefined
  say: Say
}
type Question = { network: Pooled & { interface: string }; address: Ipv4; asked: number; sure: boolean }
const UNKNOWN = 'unknown' as Mac

/** `inUse` names the machine that answered for an address, without any of its rights to it. */
export function startProbes({ networks, holder, say }: Needs) {
  const pools = networks
    .filter(isPooled)
    .map((network) => ({ network, next: 0, nextPass: Number.NEGATIVE_INFINITY }))
  const used = new Map<Ipv4, Mac>()
  const open: Question[] = []
  const sockets = new Map(pools.map(({ network }) => [network, openSocket()]))
  let looking = false
  const timers = [setInterval(step, STEP_MS), setInterval(() => void look(), ANSWER_MS)]

  function step() {
    for (const pool of pools) {
      const address = nextAddress(pool)
      if (address !== undefined) ask(pool.network, address)
    }
  }

  function nextAddress(pool: (typeof pools)[number]): Ipv4 | undefined {
    if (performance.now() < pool.nextPass) return undefined
    const { from, to } = pool.network.pool
    const count = ipv4ToNumber(to) - ipv4ToNumber(from) + 1
    const address = ipv4FromNumber(ipv4ToNumber(from) + pool.next)
    pool.next += 1
    if (pool.next === count) Object.assign(pool, { next: 0, nextPass: performance.now() + PASS_MS })
    return isFree(address, pool.network) ? address : undefined
  }

  /** Behind a relay the former holder can't be told from a stranger. */
  function isFree(address: Ipv4, network: Pooled): boolean {
    const is = holder(address)
    return is === undefined || (is !== 'reserved' && !is.running && isLocal(network))
  }

  function ask(network: Pooled, address: Ipv4) {
    if (!isLocal(network)) return askBehindRelay(address)
    sockets.get(network)!.send('', DISCARD_PORT, address, () => {})
    open.push({ network, address, asked: performance.now(), sure: false })
  }

  function askBehindRelay(address: Ipv4) {
    const socket = openSocket()
    used.delete(address)
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') report(address, UNKNOWN)
    })
    socket.connect(DISCARD_PORT, address, () => socket.send('', () => {}))
    setTimeout(() => socket.close(), ANSWER_MS).unref()
  }

  async function look() {
    const due = open.filter(({ asked, sure }) => performance.now() - asked >= (sure ? CERTAIN_MS : ANSWER_MS))
    if (due.length === 0 || looking) return
    looking = true
    const neighbours = await readNeighbours().catch(() => new Map<string, Mac>())
    looking = false
    for (const question of due) {
      open.splice(open.indexOf(question), 1)
      judge(question, neighbours.get(neighbourKey(question.network.interface, question.address)))
    }
  }

  function judge(question: Question, mac: Mac | undefined) {
    const { address, sure } = question
    const is = holder(address)
    const own = is !== undefined && is !== 'reserved' && is.mac === mac
    if (mac === undefined || own) return void used.delete(address)
    used.set(address, mac) // not given until it is certain, and then not at all
    if (sure) report(address, mac)
    else open.push({ ...question, sure: true })
  }

  function report(address: Ipv4, mac: Mac) {
    used.set(address, mac)
    say.conflict(address, mac === UNKNOWN ? undefined : mac)
  }

  return {
    inUse: (address: Ipv4): Mac | undefined => used.get(address),
    async close() {
      for (const timer of timers) clearInterval(timer)
      for (const socket of sockets.values()) socket.close()
    },
  }
}

const isPooled = (network: Network): network is Pooled => network.pool !== undefined
const isLocal = (network: Pooled): network is Question['network'] => network.interface !== undefined

function openSocket(): dgram.Socket {
  const socket = dgram.createSocket('udp4')
  socket.unref()
  socket.on('error', () => {}) // nobody is there
  return socket
}

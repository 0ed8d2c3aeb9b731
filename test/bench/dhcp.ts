// DHCP with durable leases: how many exchanges a second are kept up and what they cost, how long an answer takes at an
// ordinary rate, and how long a rack of 10,000 machines waits that is switched on at once.
import { setTimeout as sleep } from 'node:timers/promises'
import { makePerfdhcp, makeRack, type Perfdhcp } from './client.ts'
import { sysclone } from './ours.ts'
import { type Contestant, peers } from './peers.ts'
import type { Running } from './process.ts'
import { heading, note, plain, ratio } from './report.ts'
import { takeTurns } from './rounds.ts'
import type { Ground } from './site.ts'

const ROUNDS = 3
const MACHINES = 20_000
const LOWEST = 250 // exchanges a second
const ours = sysclone()

/** Every exchange that is begun in these seconds is to end: what is kept up, not what gets through when all is lost. */
const KEPT_UP = 0.99

export async function dhcpRate(ground: Ground) {
  heading('DHCP, durable leases: exchanges by perfdhcp')
  const contestants = [ours, peers.kea, peers.keaThreads, peers.dnsmasq]
  const perfdhcp = makePerfdhcp(ground.lan, ground.work)
  const found = await takeTurns(contestants, ROUNDS, async (contestant) => {
    const server = await contestant.start(ground.site())
    try {
      const { rate, cpu } = await sustained(perfdhcp, server)
      const p99 = await perfdhcp.p99({ rate: 1000, seconds: 2, machines: MACHINES })
      return { rate, cpu, p99 }
    } finally {
      await server.stop()
    }
  })
  const [our, kea, threads, dnsmasq] = contestants.map(({ name }) => found.get(name)!)
  const best = kea!.rate > threads!.rate ? peers.kea : peers.keaThreads
  const bestKea = found.get(best.name)!
  const rate = (value: number) => ({ value, unit: '/s' })
  const cost = (value: number) => ({ value, unit: 'us CPU' })
  const wait = (value: number) => ({ value, unit: 'ms' })
  ratio(`sustained, against ${best.name}`, rate(our!.rate), rate(bestKea.rate), { atLeast: 1.2 })
  ratio(`CPU of an exchange, against ${best.name}`, cost(our!.cpu), cost(bestKea.cpu), { atMost: 0.75 })
  ratio(`p99 at 1,000/s, against ${best.name}`, wait(our!.p99), wait(bestKea.p99), { atMost: 1.5 })
  ratio('sustained, against dnsmasq', rate(our!.rate), rate(dnsmasq!.rate))
  ratio('CPU of an exchange, against dnsmasq', cost(our!.cpu), cost(dnsmasq!.cpu))
  for (const [name, { rate, cpu, p99 }] of found)
    note(`${name}: ${rate.toFixed(0)}/s, ${cpu.toFixed(0)} us CPU each, p99 ${p99.toFixed(2)} ms`)
}

/** The highest rate that is kept up, and the microseconds of CPU that one exchange costs there. */
async function sustained(perfdhcp: Perfdhcp, { cpu }: Running) {
  const measure = async (rate: number, seconds: number) => {
    const before = cpu()
    const { count, share, rate: reached } = await perfdhcp.exchanges({ rate, seconds, machines: MACHINES })
    await sleep(200) // what is still on its way belongs to this rate
    return { rate: reached, share, cpu: ((cpu() - before) / Math.max(1, count)) * 1e6 }
  }
  let kept = await measure(LOWEST, 1)
  let [low, high] = [LOWEST, Number.POSITIVE_INFINITY]
  // Doubled while it is kept up, then halved towards the highest that is; to within a seventh.
  while (high > low * 1.15) {
    const doubling = high === Number.POSITIVE_INFINITY
    const rate = Math.round(doubling ? low * 2 : (low + high) / 2)
    const tried = await measure(rate, doubling ? 1 : 2)
    if (tried.share < KEPT_UP) high = rate
    else [low, kept] = [rate, tried]
    if (low > 30_000) break // the client's own limit
  }
  return kept
}

export async function dhcpAvalanche(ground: Ground) {
  heading('DHCP: 10,000 machines switched on at once')
  const rack = makeRack(ground.lan, ground.work)
  const contestants: Contestant[] = [ours, peers.kea, peers.keaThreads]
  const found = await takeTurns(contestants, 2, async (contestant) => {
    const server = await contestant.start(ground.site())
    try {
      const before = server.cpu()
      const { seconds, done, dhcpRetries } = await rack(10_000, [{ kind: 'dhcp' }], 60)
      return { seconds, done, retries: dhcpRetries, cpu: server.cpu() - before }
    } finally {
      await server.stop()
    }
  })
  const [our, ...keas] = contestants.map(({ name }) => found.get(name)!)
  const best = Math.min(...keas.map(({ seconds }) => seconds))
  const time = (value: number) => ({ value, unit: 's' })
  ratio('until all have an address, against the best Kea', time(our!.seconds), time(best), { atMost: 0.65 })
  plain('machines without an address', { value: 10_000 - our!.done, unit: '' }, { atMost: 0 })
  for (const [name, { seconds, done, retries, cpu }] of found)
    note(`${name}: ${done} in ${seconds.toFixed(2)} s, ${retries} retries, ${cpu.toFixed(2)} s CPU`)
}

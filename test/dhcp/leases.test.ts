import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Ipv4,
  ipv4FromNumber,
  ipv4ToNumber,
  type Mac,
  macFromBytes,
  parseIpv4,
  parseMac,
} from '../../src/address.ts'
import { type Lease, type LeaseEvent, makeLeaseTable, step } from '../../src/dhcp/leases.ts'

const mac = parseMac('52:54:00:00:00:01')
const other = parseMac('52:54:00:00:00:02')
const address = parseIpv4('10.0.0.100')
const now = 1_000_000
const about = { mac, address, now }
const lease = (state: Lease['state'], until: number): Lease => ({ mac, address, state, until })

const rows: [name: string, before: Lease | undefined, event: LeaseEvent, after: Lease | undefined][] = [
  ['an offer is held for a while', undefined, { type: 'offer', ...about }, lease('held', now + 40_000)],
  [
    'an offer of the running lease leaves it as it is',
    lease('bound', now + 1),
    { type: 'offer', ...about },
    lease('bound', now + 1),
  ],
  [
    'an offer of a lease that ran out is a new hold',
    lease('bound', now),
    { type: 'offer', ...about },
    lease('held', now + 40_000),
  ],
  [
    'an ACK binds',
    lease('held', now + 1),
    { type: 'ack', ...about, seconds: 300 },
    lease('bound', now + 300_000),
  ],
  ['another server was chosen: the hold goes', lease('held', now + 1), { type: 'drop', ...about }, undefined],
  [
    'another server was chosen: a lease stays',
    lease('bound', now + 1),
    { type: 'drop', ...about },
    lease('bound', now + 1),
  ],
  ['released', lease('bound', now + 1), { type: 'release', ...about }, lease('released', now)],
  [
    'a release of another address is nothing',
    lease('bound', now + 1),
    { type: 'release', ...about, address: parseIpv4('10.0.0.9') },
    lease('bound', now + 1),
  ],
  ['declined', lease('bound', now + 1), { type: 'decline', ...about }, lease('declined', now + 600_000)],
  ['declined by one who has none', undefined, { type: 'decline', ...about }, undefined],
]
for (const [name, before, event, after] of rows) test(name, () => expect(step(before, event)).toEqual(after))

const pool = { from: parseIpv4('10.0.0.100'), to: parseIpv4('10.0.0.102') }
const reserved = () => false
const wish = (who: Mac, wanted?: Ipv4, at = now) => ({ mac: who, wanted, now: at, reserved })
const macs = Array.from({ length: 5 }, (_, i) => parseMac(`52:54:00:00:01:0${i}`))

test('each MAC gets an address of its own until the pool is used up, then none', () => {
  const table = makeLeaseTable()
  const given = macs.map((who) => {
    const chosen = table.choose(pool, wish(who))
    if (chosen) table.apply({ type: 'ack', mac: who, address: chosen, now, seconds: 300 })
    return chosen
  })
  expect(new Set(given.slice(0, 3)).size).toBe(3)
  expect(given.slice(3)).toEqual([undefined, undefined])
  // A lease that ran out is given on, and a machine that comes back before that gets its own.
  expect(table.choose(pool, wish(macs[0]!, undefined, now + 300_001))).toBe(given[0])
  expect(table.choose(pool, wish(macs[3]!, undefined, now + 300_001))).toBeDefined()
})

test('a pool that made-up machines hold: the oldest offer gives way, and who asks for what it was offered gets it', () => {
  const table = makeLeaseTable()
  const offer = (who: Mac, at: number) => {
    const address = table.choose(pool, wish(who, undefined, at))
    if (address) table.apply({ type: 'offer', mac: who, address, now: at })
    return address
  }
  const ask = (who: Mac, wanted: Ipv4, at: number) =>
    table.mayHave(pool, { ...wish(who, undefined, at), wanted, wasOffered: true })
  const [real, made1, made2, late, thief] = macs as [Mac, Mac, Mac, Mac, Mac]
  const its = offer(real, now)!
  offer(made1, now + 1)
  offer(made2, now + 2)
  expect(offer(late, now + 9000)).toBeUndefined() // firmware may still choose
  expect(offer(late, now + 10_001)).toBe(its)
  expect(ask(real, its, now + 11_000)).toBe(true)
  expect(table.mayHave(pool, { ...wish(thief, undefined, now + 11_000), wanted: its })).toBe(false)
  table.apply({ type: 'ack', mac: real, address: its, now: now + 11_000, seconds: 300 })
  expect([ask(late, its, now + 12_000), table.get(late)]).toEqual([false, undefined])
  expect(offer(late, now + 12_000)).not.toBe(its)
})

test('a release makes room at once', () => {
  const table = makeLeaseTable()
  for (const who of macs.slice(0, 3))
    table.apply({ type: 'ack', mac: who, address: table.choose(pool, wish(who))!, now, seconds: 300 })
  expect(table.choose(pool, wish(macs[3]!))).toBeUndefined()
  const free = table.get(macs[1]!)!.address
  table.apply({ type: 'release', mac: macs[1]!, address: free, now })
  expect(table.choose(pool, wish(macs[3]!))).toBe(free)
})

test('a declined address is given to nobody for ten minutes, not to its MAC either', () => {
  const table = makeLeaseTable([{ mac, address, state: 'bound', until: now + 1000 }])
  expect(table.apply({ type: 'decline', mac, address, now })?.state).toBe('declined')
  for (const who of [mac, other]) {
    expect(table.mayHave(pool, { ...wish(who), wanted: address })).toBe(false)
    expect(table.choose(pool, wish(who, address))).not.toBe(address)
    expect(table.mayHave(pool, { ...wish(who, address, now + 600_000), wanted: address })).toBe(true)
  }
})

test('a clock that is set back by an hour does not keep the addresses that were only offered or declined', () => {
  const hour = 3_600_000
  const table = makeLeaseTable()
  table.apply({ type: 'offer', mac, address: pool.from, now: now + hour })
  table.apply({ type: 'ack', mac: other, address: pool.to, now: now + hour, seconds: 300 })
  const middle = ipv4FromNumber(ipv4ToNumber(pool.from) + 1)
  table.apply({ type: 'ack', mac: macs[0]!, address: middle, now: now + hour, seconds: 300 })
  table.apply({ type: 'decline', mac: macs[0]!, address: middle, now: now + hour })
  const free = (address: Ipv4) => table.mayHave(pool, { ...wish(macs[1]!), wanted: address })
  expect([pool.from, middle, pool.to].map(free)).toEqual([true, true, false])
})

test('reserved addresses and those outside of the pool are not given', () => {
  const table = makeLeaseTable()
  const onlyLast = { ...wish(mac), reserved: (ip: Ipv4) => ip !== pool.to }
  expect(table.choose(pool, onlyLast)).toBe(pool.to)
  expect(table.mayHave(pool, { ...wish(mac), wanted: parseIpv4('10.0.0.103') })).toBe(false)
})

test('only leases that run name their machine', () => {
  const table = makeLeaseTable([{ mac, address, state: 'bound', until: now + 1 }])
  expect([table.macOf(address, now), table.macOf(address, now + 1)]).toEqual([mac, undefined])
})

test('law: whatever happens, no two MACs have one address and no MAC has two', () => {
  const range = { from: parseIpv4('10.0.0.100'), to: parseIpv4('10.0.0.103') }
  const types = fc.constantFrom('offer', 'ack', 'drop', 'release', 'decline' as const)
  const what = fc.record({
    type: types,
    who: fc.constantFrom(...macs),
    seconds: fc.nat(500),
    wait: fc.nat(300_000),
  })
  fc.assert(
    fc.property(fc.array(what, { maxLength: 40 }), (events) => {
      const table = makeLeaseTable()
      const running = new Map<Ipv4, { who: Mac; until: number }>()
      let time = now
      for (const { type, who, seconds, wait } of events) {
        time += wait
        const own =
          type === 'offer' || type === 'ack'
            ? table.choose(range, wish(who, undefined, time))
            : table.get(who)?.address
        if (!own) continue
        const before = running.get(own)
        if (type === 'ack') expect(before && before.who !== who && before.until > time).not.toBe(true)
        const changed = table.apply({ type, mac: who, address: own, now: time, seconds } as LeaseEvent)
        if (changed?.state === 'bound') running.set(own, { who, until: changed.until })
        else if (changed) running.delete(own)
        const list = table.list()
        expect(new Set(list.map((l) => l.address)).size).toBe(list.length)
        const owned = list.filter((l) => l.state !== 'declined').map((l) => l.mac)
        expect(new Set(owned).size).toBe(owned.length)
      }
    }),
    { numRuns: 200 },
  )
})

test('a full pool of 65,536 addresses costs one search, not one for each made-up MAC', () => {
  const from = ipv4ToNumber(parseIpv4('10.1.0.0'))
  const big = { from: ipv4FromNumber(from), to: ipv4FromNumber(from + 65_535) }
  const all = { ...wish(mac), reserved: () => true }
  const table = makeLeaseTable()
  let asked = 0
  for (let i = 0; i < 1000; i++) table.choose(big, { ...all, reserved: () => ++asked > 0 })
  expect(asked).toBeLessThan(2 * 65_536)
})

test('a large pool whose addresses come free one by one is not looked through for each of them', () => {
  const from = ipv4ToNumber(parseIpv4('10.1.0.0'))
  const count = 16_384
  const big = { from: ipv4FromNumber(from), to: ipv4FromNumber(from + count - 1) }
  const table = makeLeaseTable()
  let [time, looked, made] = [now, 0, 0]
  /** A machine that was never seen before, each at its own time. */
  function stranger(): Ipv4 | undefined {
    const who = macFromBytes(Uint8Array.of(2, 0, 0, made >> 16, (made >> 8) & 255, made++ & 255))
    const chosen = table.choose(big, { ...wish(who, undefined, time), reserved: () => ++looked < 0 })
    if (chosen !== undefined) table.apply({ type: 'offer', mac: who, address: chosen, now: time })
    return chosen
  }
  const given = new Set<Ipv4 | undefined>()
  for (let i = 0; i < count; i++) {
    time += 2
    given.add(stranger())
  }
  expect(given.size).toBe(count) // each of them, once
  looked = 0
  const again = Array.from({ length: 10_000 }, () => {
    time += 2
    return stranger()
  })
  expect(again.filter(Boolean).length).toBeGreaterThan(5000)
  expect(looked / again.length).toBeLessThan(200)
})

test('machines with MACs in a row in a pool that is nearly full: each free address is found', () => {
  const from = ipv4ToNumber(parseIpv4('10.1.0.0'))
  const big = { from: ipv4FromNumber(from), to: ipv4FromNumber(from + 999) }
  const table = makeLeaseTable()
  const given = Array.from({ length: 1001 }, (_, i) => {
    const who = macFromBytes(Uint8Array.of(2, 0, 0, 0, i >> 8, i & 255))
    const chosen = table.choose(big, wish(who))
    if (chosen) table.apply({ type: 'ack', mac: who, address: chosen, now, seconds: 300 })
    return chosen
  })
  expect(new Set(given.slice(0, 1000)).size).toBe(1000)
  expect(given[1000]).toBeUndefined()
})

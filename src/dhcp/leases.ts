// Lease rules. One address per MAC and one MAC per address; never by option 61: firmware, iPXE, ramdisk and the
// installed system of one machine send four different ones.
import type { Ipv4, Mac } from '../address.ts'
import { type AddressRange, inRange } from '../node/network.ts'
import { type FreeAddresses, makeFreeAddresses } from './free-addresses.ts'

/** `held`: offered, not yet asked for. `released` and run-out leases keep their address for their MAC until it is needed. */
export type LeaseState = 'held' | 'bound' | 'released' | 'declined'
/** `until` is in milliseconds since 1970. */
export type Lease = { mac: Mac; address: Ipv4; state: LeaseState; until: number }

type About = { mac: Mac; address: Ipv4; now: number }
export type LeaseEvent =
  | (About & { type: 'offer' })
  | (About & { type: 'ack'; seconds: number })
  /** The client took another server's offer, or one of our other addresses. */
  | (About & { type: 'drop' })
  | (About & { type: 'release' })
  /** The client found somebody else at that address. */
  | (About & { type: 'decline' })

/** Long enough for every firmware's choice among offers (EDK2 waits up to 32 s), short enough for a small pool. */
const HOLD_MS = 40_000
/** Of a pool that is used up the oldest hold gives way after this: made-up MACs never ask for what they were offered. */
const YIELD_MS = 10_000
/** So many holds, the oldest ones, are looked at for one that gives way. */
const MOST_LOOKED = 64
const QUARANTINE_MS = 600_000

/** The lease of one MAC after an event; `undefined`: there is none. */
export function step(lease: Lease | undefined, event: LeaseEvent): Lease | undefined {
  const { mac, address, now } = event
  const same = lease?.address === address
  switch (event.type) {
    case 'offer':
      // A running lease outlives a new offer of its address: the client may have lost its memory, not its address.
      if (lease && same && lease.state === 'bound' && lease.until > now) return lease
      return { mac, address, state: 'held', until: now + HOLD_MS }
    case 'ack':
      return { mac, address, state: 'bound', until: now + event.seconds * 1000 }
    case 'drop':
      return lease?.state === 'held' ? undefined : lease
    case 'release':
      return lease && same && lease.state !== 'declined' ? { ...lease, state: 'released', until: now } : lease
    case 'decline':
      return lease && same ? { ...lease, state: 'declined', until: now + QUARANTINE_MS } : lease
  }
}

const shortMs: Partial<Record<LeaseState, number>> = { held: HOLD_MS, declined: QUARANTINE_MS }

/** The clock was set back since: what was to be short would keep its address for as long as that. */
const isOfLaterClock = ({ state, until }: Lease, now: number): boolean =>
  until - now > (shortMs[state] ?? Number.POSITIVE_INFINITY)

/** A machine that is away for longer gets whatever address is free then. */
const REMEMBER_MS = 30 * 86_400_000

/** Whether the record still says anything: who has the address, had it not long ago, or that nobody may have it. */
export function isWorthKeeping({ state, until }: Lease, now: number): boolean {
  return state === 'held' || state === 'declined' ? until > now : until + REMEMBER_MS > now
}

/** What a reply is decided on. */
export type LeaseView = {
  get(mac: Mac): Lease | undefined
  /** An address of the pool for this MAC: its last one, the wanted one, or any other that is free. */
  choose(pool: AddressRange, wish: Wish): Ipv4 | undefined
  /** Whether the MAC may have this address: in the pool, and nobody else's. */
  mayHave(pool: AddressRange, wish: Wish & { wanted: Ipv4 }): boolean
}
/** `reserved`: addresses of the pool that are somebody's by configuration. */
export type Wish = {
  mac: Mac
  wanted: Ipv4 | undefined
  now: number
  reserved(address: Ipv4): boolean
  /** It asks for what we have offered it. */
  wasOffered?: boolean
}

/** All leases in memory, at most one record an address: bounded by the pools and the known nodes. */
export function makeLeaseTable(records: Iterable<Lease> = []) {
  const byMac = new Map<Mac, Lease>()
  const byAddress = new Map<Ipv4, Lease>()
  /** Those that were only offered, the oldest first. */
  const held = new Map<Mac, Lease>()
  /** By the pool's first address, for pools that are asked for addresses. */
  const freeOf = new Map<Ipv4, FreeAddresses>()
  for (const lease of records) put(lease)

  function put(lease: Lease) {
    const before = byMac.get(lease.mac)
    forget(before)
    forget(byAddress.get(lease.address))
    byAddress.set(lease.address, lease)
    if (lease.state === 'held') held.set(lease.mac, lease)
    // A declined address is nobody's: its MAC must get another one.
    if (lease.state !== 'declined') byMac.set(lease.mac, lease)
    if (before && before.address !== lease.address) noteFree(before.address)
    if (lease.state === 'released') noteFree(lease.address)
  }
  function forget(lease: Lease | undefined) {
    if (!lease) return
    byAddress.delete(lease.address)
    if (held.get(lease.mac) === lease) held.delete(lease.mac)
    if (byMac.get(lease.mac) === lease) byMac.delete(lease.mac)
  }
  function noteFree(address: Ipv4) {
    for (const free of freeOf.values()) free.note(address)
  }

  /** Takes the event in. The answer is the changed record when it must survive a restart; holds need not. */
  function apply(event: LeaseEvent): Lease | undefined {
    const before = byMac.get(event.mac)
    const after = step(before, event)
    if (after === before) return undefined
    if (after) put(after)
    else if (before) {
      forget(before)
      noteFree(before.address)
    }
    return after && after.state !== 'held' ? after : undefined
  }

  function takenUntil(address: Ipv4, { mac, now, reserved }: Wish): number {
    if (reserved(address)) return Number.POSITIVE_INFINITY
    const lease = byAddress.get(address)
    if (!lease || lease.until <= now || isOfLaterClock(lease, now)) return 0
    return lease.mac === mac && lease.state !== 'declined' ? 0 : lease.until
  }
  const mayHave = (pool: AddressRange, wish: Wish & { wanted: Ipv4 }) =>
    inRange(pool, wish.wanted) &&
    (takenUntil(wish.wanted, wish) === 0 || (wish.wasOffered === true && isOnlyHeld(wish)))
  /** It gave way to a later offer, and is asked for first. */
  const isOnlyHeld = ({ wanted, reserved }: Wish & { wanted: Ipv4 }) =>
    byAddress.get(wanted)?.state === 'held' && !reserved(wanted)

  function choose(pool: AddressRange, wish: Wish): Ipv4 | undefined {
    const own = byMac.get(wish.mac)?.address
    for (const wanted of [own, wish.wanted])
      if (wanted !== undefined && mayHave(pool, { ...wish, wanted })) return wanted
    const free = freeOf.get(pool.from) ?? makeFreeAddresses(pool)
    freeOf.set(pool.from, free)
    const until = (address: Ipv4) => takenUntil(address, wish)
    return (
      free.find(wish.mac, wish.now, { until, isKnown: (address) => byAddress.has(address) }) ??
      oldestHeld(pool, wish)
    )
  }

  function oldestHeld(pool: AddressRange, { now, reserved }: Wish): Ipv4 | undefined {
    let looked = 0
    for (const { address, until } of held.values()) {
      if (until - now > HOLD_MS - YIELD_MS || ++looked > MOST_LOOKED) return undefined
      if (inRange(pool, address) && !reserved(address)) return address
    }
    return undefined
  }

  /** The machine that has the address now. */
  function macOf(address: Ipv4, now: number): Mac | undefined {
    const lease = byAddress.get(address)
    return lease && lease.state === 'bound' && lease.until > now ? lease.mac : undefined
  }

  return {
    get: (mac: Mac) => byMac.get(mac),
    /** The record of an address, whoever's it is. */
    at: (address: Ipv4) => byAddress.get(address),
    choose,
    mayHave,
    apply,
    macOf,
    list: () => [...byAddress.values()],
  }
}
export type LeaseTable = ReturnType<typeof makeLeaseTable>

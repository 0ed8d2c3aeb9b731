// Finding a free address of one pool without looking at all of them for each machine: made-up MACs ask by the ten thousand,
// and of a pool that they have used up addresses come free one by one.
import { type Ipv4, ipv4FromNumber, ipv4ToNumber, type Mac } from '../address.ts'
import type { AddressRange } from '../node/network.ts'

export type Taken = {
  /** 0: the address is free; milliseconds since 1970. */
  until(address: Ipv4): number
  /** Somebody has it or had it. */
  isKnown(address: Ipv4): boolean
}

/** So many places are looked at behind the one that the MAC gives. */
const NEAR = 64
/** The whole pool is looked through so seldom, a larger one in pieces. */
const LOOK_MS = 1000
const PIECE = 65_536
/** It is looked through after this at the latest. */
const MOST_MS = 40_000

export function makeFreeAddresses(pool: AddressRange) {
  const first = ipv4ToNumber(pool.from)
  const count = ipv4ToNumber(pool.to) - first + 1
  const at = (place: number): Ipv4 => ipv4FromNumber(first + (place % count))
  // Both are only good guesses: who is in them may have been given out since.
  const unused = new Set<Ipv4>()
  const former = new Set<Ipv4>()
  let nextLook = 0
  let cursor = 0

  /** One that nobody ever had before one that somebody had; undefined: none is known to be free now. */
  function find(mac: Mac, now: number, taken: Taken): Ipv4 | undefined {
    const isKnownFull = now < nextLook && nextLook - now <= MOST_MS // a clock that was set back must not stop us
    if (!isKnownFull || unused.size > 0) {
      const found =
        nearby(mac, taken) ?? firstOf(unused, (each) => !taken.isKnown(each) && taken.until(each) === 0)
      if (found !== undefined) return found
    }
    const isFree = (each: Ipv4) => taken.until(each) === 0
    const found = firstOf(former, isFree)
    if (found !== undefined || isKnownFull) return found
    look(now, taken)
    return firstOf(unused, isFree) ?? firstOf(former, isFree)
  }

  /** The same machine finds the same address even after its record is lost. */
  function nearby(mac: Mac, taken: Taken): Ipv4 | undefined {
    const start = Number.parseInt(mac.replaceAll(':', ''), 16) % count
    for (let i = 0; i < Math.min(NEAR, count); i++) {
      const address = at(start + i)
      if (!taken.isKnown(address) && taken.until(address) === 0) return address
    }
    return undefined
  }

  function look(now: number, taken: Taken) {
    const most = Math.min(count, PIECE)
    let earliest = Number.POSITIVE_INFINITY
    for (let i = 0; i < most; i++) {
      const address = at(cursor + i)
      const until = taken.until(address)
      if (until > 0) earliest = Math.min(earliest, until)
      else (taken.isKnown(address) ? former : unused).add(address)
    }
    cursor = (cursor + most) % count
    const isFull = most === count && unused.size + former.size === 0
    nextLook = Math.max(now + LOOK_MS, isFull ? Math.min(earliest, now + MOST_MS) : 0)
  }

  return {
    find,
    /** Nobody has this one any more. */
    note(address: Ipv4) {
      const place = ipv4ToNumber(address) - first
      if (place >= 0 && place < count) former.add(address)
    },
  }
}
export type FreeAddresses = ReturnType<typeof makeFreeAddresses>

/** It stays there until it is taken; those that are taken go. */
function firstOf(some: Set<Ipv4>, isFree: (address: Ipv4) => boolean): Ipv4 | undefined {
  for (const address of some) {
    if (isFree(address)) return address
    some.delete(address)
  }
  return undefined
}

// Packets that almost are what clients send: captured ones with a few things wrong, the same ones for the same seed.

export type Random = {
  below(limit: number): number
  pick<T>(list: readonly T[]): T
  bytes(count: number): Buffer
}

/** xorshift32: small, and the same everywhere. */
export function seeded(seed: number): Random {
  let state = seed >>> 0 || 1
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state
  }
  const below = (limit: number) => next() % limit
  return {
    below,
    pick: (list) => list[below(list.length)]!,
    bytes: (count) => Buffer.from(Array.from({ length: count }, () => below(256))),
  }
}

type Mutation = (bytes: Buffer, random: Random, others: readonly Buffer[]) => Buffer

/** A place in the packet; more often near its end, where options are. */
const place = (bytes: Buffer, random: Random) =>
  bytes.length === 0
    ? 0
    : random.below(2)
      ? random.below(bytes.length)
      : bytes.length - 1 - random.below(Math.min(bytes.length, 300))

const values = [0, 1, 2, 3, 4, 5, 52, 53, 55, 82, 127, 128, 254, 255]

const mutations: Mutation[] = [
  function flipBit(bytes, random) {
    const at = place(bytes, random)
    bytes[at] = bytes[at]! ^ (1 << random.below(8))
    return bytes
  },
  function setByte(bytes, random) {
    bytes[place(bytes, random)] = random.below(3) ? random.pick(values) : random.below(256)
    return bytes
  },
  function cut(bytes, random) {
    return bytes.subarray(0, place(bytes, random))
  },
  function prolong(bytes, random) {
    return Buffer.concat([bytes, random.bytes(1 + random.below(random.below(8) ? 40 : 900))])
  },
  function remove(bytes, random) {
    const at = place(bytes, random)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8))])
  },
  function repeat(bytes, random) {
    const at = place(bytes, random)
    const part = bytes.subarray(at, at + 1 + random.below(60))
    return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)])
  },
  function insert(bytes, random) {
    const at = place(bytes, random)
    return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(12)), bytes.subarray(at)])
  },
  function splice(bytes, random, others) {
    const other = random.pick(others)
    return Buffer.concat([bytes.subarray(0, place(bytes, random)), other.subarray(place(other, random))])
  },
]

/** One of `originals` with one to four mutations; sometimes as it is. Never longer than a datagram. */
export function mutated(originals: readonly Buffer[], random: Random): Buffer {
  let bytes: Buffer = Buffer.from(random.pick(originals))
  for (let count = random.below(5); count > 0; count--)
    bytes = random.pick(mutations)(bytes, random, originals)
  return bytes.subarray(0, 9100)
}

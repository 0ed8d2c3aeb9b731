// One token bucket a client, so that a machine that asks without end costs nothing and others are answered. Memory is
// bounded however many addresses are made up.

/** More than any client sends while it boots: firmware, iPXE, ramdisk and their repetitions. */
const BURST = 40
const PER_SECOND = 4
/** Clients in one of the two generations. */
const GENERATION = 32_768

type Bucket = { tokens: number; at: number }
/** Stands for the client: a number or text. */
export type ClientKey = number | string

/** `now` is in milliseconds, of a clock that does not go back. */
export function makeFloods() {
  // Who is heard of again moves to the young; the old are forgotten when the young have become many.
  let young = new Map<ClientKey, Bucket>()
  let old = new Map<ClientKey, Bucket>()

  /** Whether a packet of this client is to be looked at. */
  function allow(key: ClientKey, now: number): boolean {
    const bucket = bucketOf(key, now)
    const since = Math.max(0, now - bucket.at) / 1000
    bucket.tokens = Math.min(BURST, bucket.tokens + since * PER_SECOND)
    bucket.at = now
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }

  function bucketOf(key: ClientKey, now: number): Bucket {
    const known = young.get(key)
    if (known) return known
    if (young.size >= GENERATION) {
      old = young
      young = new Map()
    }
    const bucket = old.get(key) ?? { tokens: BURST, at: now }
    young.set(key, bucket)
    return bucket
  }

  return { allow, size: () => young.size + old.size }
}
export type Floods = ReturnType<typeof makeFloods>

/** The first six bytes of chaddr, read before anything is parsed; InfiniBand (hlen 0) has none there. */
export function clientKey(bytes: Uint8Array): number | undefined {
  if (bytes.length < 34 || bytes[2] === 0) return undefined
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUIntBE(28, 6)
}

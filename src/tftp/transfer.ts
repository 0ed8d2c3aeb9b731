// One file to one client, in lockstep (RFC 1350). Blocks are counted, never read; time comes with the event.
import type { Packet } from './packet.ts'

/** Block 0 is our OACK. Counts go on past 65535; only the wire wraps. */
export type Transfer = {
  block: number // sent, not yet acknowledged
  lastBlock: number
  tries: number // how often `block` was sent again
  sentAt: number
  rtt?: { smooth: number; spread: number } // RFC 6298, ms
  timeoutMs?: number // agreed with the client; then it alone counts
}
export type Event = { type: 'packet'; packet: Packet; now: number } | { type: 'timeout'; now: number }
export type Outcome = 'complete' | 'unconfirmed' | 'aborted' | 'client-error' | 'client-silent'
export type Effect = { do: 'send'; block: number } | { do: 'finish'; why: Outcome; text?: string }

const limits = {
  tries: 10, // about 35 s: GRUB opens all initrds at once and reads one after the other
  lastTries: 3, // many clients close their socket before the last ACK gets out: then all is well
  firstMs: 1000, // before the round trip is known
  minMs: 200, // far above any LAN's round trip, far below a client's own timer of seconds
  maxMs: 5000,
} as const

/** How many DATA blocks a file is: one that ends on a block's border is closed by an empty one. */
export const blockCount = (bytes: number, blockBytes: number): number => Math.floor(bytes / blockBytes) + 1

export const onWire = (block: number): number => block & 0xffff

/** The first packet, OACK or DATA 1, is on its way. */
export function begin(
  file: { blocks: number; oack: boolean; timeoutMs?: number | undefined },
  now: number,
): Transfer {
  const { blocks, oack, timeoutMs } = file
  const first = { block: oack ? 0 : 1, lastBlock: blocks, tries: 0, sentAt: now }
  return timeoutMs === undefined ? first : { ...first, timeoutMs }
}

/** When the present block is sent again, ms after `sentAt`. Every retry doubles it. */
export function retryMs(t: Transfer): number {
  if (t.timeoutMs !== undefined) return t.timeoutMs
  const base = t.rtt ? Math.max(limits.minMs, t.rtt.smooth + 4 * t.rtt.spread) : limits.firstMs
  return Math.min(limits.maxMs, base * 2 ** t.tries)
}

/** `undefined`: the event changes nothing and is not answered. */
export function step(t: Transfer, event: Event): [Transfer, Effect] | undefined {
  if (event.type === 'timeout') return afterSilence(t, event.now)
  const { packet, now } = event
  if (packet.op === 'error') return [t, { do: 'finish', ...clientsWord(packet) }]
  // A stale ACK is dropped, not answered: answering it doubles every later block (RFC 1123 4.2.3.1).
  if (packet.op !== 'ack' || packet.block !== onWire(t.block)) return undefined
  if (t.block === t.lastBlock) return [t, { do: 'finish', why: 'complete' }]
  const block = t.block + 1
  return [
    { ...measured(t, now), block, tries: 0, sentAt: now },
    { do: 'send', block },
  ]
}

function afterSilence(t: Transfer, now: number): [Transfer, Effect] {
  const isLast = t.block === t.lastBlock
  if (t.tries < (isLast ? limits.lastTries : limits.tries))
    return [
      { ...t, tries: t.tries + 1, sentAt: now },
      { do: 'send', block: t.block },
    ]
  return [t, { do: 'finish', why: isLast ? 'unconfirmed' : 'client-silent' }]
}

/** EDK2 and elilo ask every file twice and break the first one off after its size (ERROR 8, some 0): that is no fault. */
function clientsWord({ code, message }: { code: number; message: string }): { why: Outcome; text?: string } {
  return code === 8 || code === 0
    ? { why: 'aborted' }
    : { why: 'client-error', text: `error ${code}: ${message}` }
}

/** RFC 6298 2 on the answer to a block; one that was sent twice says nothing (Karn). */
function measured(t: Transfer, now: number): Transfer {
  if (t.tries > 0) return t
  const sample = Math.max(0, now - t.sentAt)
  if (!t.rtt) return { ...t, rtt: { smooth: sample, spread: sample / 2 } }
  const { smooth, spread } = t.rtt
  const rtt = {
    smooth: smooth + (sample - smooth) / 8,
    spread: spread + (Math.abs(sample - smooth) - spread) / 4,
  }
  return { ...t, rtt }
}

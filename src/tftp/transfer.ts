// One file to one client: windows of blocks (RFC 7440), of one block when nothing else was agreed (RFC 1350). Blocks are
// counted, never read; time comes with the event.

/** Block 0 is our OACK. Counts go on past 65535; only the wire wraps. */
export type Transfer = {
  acked: number // up to here the client has it all; -1: not even our OACK
  sent: number
  lastBlock: number
  window: number // so many blocks go out before one ACK
  tries: number // how often the present window was sent again by the timer
  sentAt: number
  heard: boolean // the client has answered at least once
  wentBack: boolean // the present window was sent again because the client said so
  rtt?: { smooth: number; spread: number } // RFC 6298, ms
  timeoutMs?: number // agreed with the client: the longest wait
}
export type Event =
  | { type: 'ack'; block: number; now: number } // as on the wire, 16 bits
  | { type: 'error'; code: number; message: string }
  | { type: 'timeout'; now: number }
export type Outcome = 'complete' | 'unconfirmed' | 'aborted' | 'client-error' | 'client-silent'
/** `from` and `to` are both sent. */
export type Effect = { do: 'send'; from: number; to: number } | { do: 'finish'; why: Outcome; text?: string }

const limits = {
  tries: 10, // about 35 s: GRUB opens all initrds at once and reads one after the other
  lastTries: 3, // many clients close their socket before the last ACK gets out: then all is well
  unheardTries: 3, // made-up senders never answer; 12 s: a client whose first ACK was lost repeats it after 5 s or 6
  firstMs: 1000, // before the round trip is known
  minMs: 200, // far above any LAN's round trip, far below a client's own timer of seconds
  maxMs: 5000,
  mostAgreedMs: 10_000, // of the 255 s that a client may ask for: one that is gone would keep its place for most of an hour
} as const

/** How many DATA blocks a file is: one that ends on a block's border is closed by an empty one. */
export const blockCount = (bytes: number, blockBytes: number): number => Math.floor(bytes / blockBytes) + 1

export const onWire = (block: number): number => block & 0xffff

/** The first packet, OACK or DATA 1, is on its way: everything from `acked + 1` to `sent`. */
export function begin(
  file: { blocks: number; oack: boolean; window: number; timeoutMs?: number | undefined },
  now: number,
): Transfer {
  const { blocks, oack, window, timeoutMs } = file
  return {
    acked: oack ? -1 : 0,
    sent: oack ? 0 : 1,
    lastBlock: blocks,
    window,
    tries: 0,
    sentAt: now,
    heard: false,
    wentBack: false,
    ...(timeoutMs !== undefined && { timeoutMs }),
  }
}

/**
 * When the present window is sent again, ms after `sentAt`. Every retry doubles it, up to what was agreed: curl and U-Boot ask
 * for 5 or 6 s, which as the only wait would make each lost packet cost that much (RFC 2349 says so; a block too early harms nobody).
 */
export function retryMs(t: Transfer): number {
  if (!t.heard) return Math.min(limits.maxMs, limits.firstMs * 2 ** t.tries)
  const base = t.rtt ? Math.max(limits.minMs, t.rtt.smooth + 4 * t.rtt.spread) : limits.firstMs
  return Math.min(t.timeoutMs ?? limits.maxMs, limits.mostAgreedMs, base * 2 ** t.tries)
}

/** `undefined`: the event changes nothing and is not answered. */
export function step(t: Transfer, event: Event): [Transfer, Effect] | undefined {
  switch (event.type) {
    case 'ack':
      return afterAck(t, event)
    case 'error':
      return [t, { do: 'finish', ...clientsWord(event) }]
    case 'timeout':
      return afterSilence(t, event.now)
  }
}

function afterAck(
  t: Transfer,
  { block, now }: { block: number; now: number },
): [Transfer, Effect] | undefined {
  const ahead = onWire(block - t.acked)
  if (ahead > t.sent - t.acked) return undefined // of a window before this one, or of none
  const acked = t.acked + ahead
  if (acked < t.sent && !isComplaint(t, ahead, now)) return undefined
  if (acked === t.lastBlock)
    return [
      { ...t, acked, heard: true },
      { do: 'finish', why: 'complete' },
    ]
  // Not all of the window: its rest was lost, so the client goes on from there (RFC 7440 4).
  const wentBack = acked < t.sent
  const sent = Math.min(t.lastBlock, acked + t.window)
  const rtt = wentBack ? t.rtt : measured(t, now)
  const next = { ...t, acked, sent, wentBack, heard: true, tries: 0, sentAt: now, ...(rtt && { rtt }) }
  return [next, { do: 'send', from: acked + 1, to: sent }]
}

/**
 * The ACK of the window before, once more, is never answered in lockstep: that would double every later block (RFC 1123
 * 4.2.3.1). With a window it also says that this one's first block is missing, as an ACK inside the window says of a later
 * one. Clients may say so for each block out of order, and packets come doubled: what was just sent again is not sent again
 * before the client can have seen it.
 */
function isComplaint(t: Transfer, ahead: number, now: number): boolean {
  if (t.window === 1 || t.acked < 0) return false
  const isFresh = t.rtt !== undefined && now - t.sentAt >= t.rtt.smooth / 2
  return isFresh || (ahead > 0 && !t.wentBack)
}

function afterSilence(t: Transfer, now: number): [Transfer, Effect] {
  const isLast = t.sent === t.lastBlock
  const most = !t.heard ? limits.unheardTries : isLast ? limits.lastTries : limits.tries
  if (t.tries < most)
    return [
      { ...t, tries: t.tries + 1, sentAt: now, wentBack: false },
      { do: 'send', from: t.acked + 1, to: t.sent },
    ]
  return [t, { do: 'finish', why: isLast && t.heard ? 'unconfirmed' : 'client-silent' }]
}

/** EDK2 and elilo ask every file twice and break the first one off after its size (ERROR 8, some 0): that is no fault. */
function clientsWord({ code, message }: { code: number; message: string }): { why: Outcome; text?: string } {
  return code === 8 || code === 0
    ? { why: 'aborted' }
    : { why: 'client-error', text: `error ${code}: ${message}` }
}

/** RFC 6298 2 on the answer to a window; one that was sent twice says nothing (Karn). */
function measured({ rtt, tries, wentBack, sentAt }: Transfer, now: number): Transfer['rtt'] {
  if (tries > 0 || wentBack) return rtt
  const sample = Math.max(0, now - sentAt)
  if (!rtt) return { smooth: sample, spread: sample / 2 }
  const { smooth, spread } = rtt
  return {
    smooth: smooth + (sample - smooth) / 8,
    spread: spread + (Math.abs(sample - smooth) - spread) / 4,
  }
}

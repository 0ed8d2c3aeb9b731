import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  begin,
  blockCount,
  type Effect,
  type Event,
  retryMs,
  step,
  type Transfer,
} from '../../src/tftp/transfer.ts'

/** In the middle of a transfer of three blocks: `block` is out and nothing else. */
const at = (block: number, more: Partial<Transfer> = {}): Transfer => ({
  acked: block - 1,
  sent: block,
  lastBlock: 3,
  window: 1,
  tries: 0,
  sentAt: 0,
  heard: block > 0,
  wentBack: false,
  ...more,
})
/** Blocks 9 to 16 of 100 are out, in windows of 8. */
const windowed = (more: Partial<Transfer> = {}): Transfer => ({
  ...at(9),
  acked: 8,
  sent: 16,
  lastBlock: 100,
  window: 8,
  rtt: { smooth: 2, spread: 1 },
  ...more,
})
const ack = (block: number, now = 1): Event => ({ type: 'ack', block, now })
const timeout: Event = { type: 'timeout', now: 1 }
const error = (code: number): Event => ({ type: 'error', code, message: 'User aborted' })
const send = (from: number, to = from): Effect => ({ do: 'send', from, to })

const rows: [string, Transfer, Event, Effect | undefined][] = [
  ['the OACK is acknowledged: first block', at(0), ack(0), send(1)],
  ['an ack moves on', at(1), ack(1), send(2)],
  ['a duplicate ACK is never answered in lockstep (sorcerer’s apprentice)', at(2), ack(1, 9999), undefined],
  ['an ack from the future is not answered', at(2), ack(3), undefined],
  ['an ack before the OACK’s own is not answered', at(0), ack(65535), undefined],
  ['the last ack ends it', at(3), ack(3), { do: 'finish', why: 'complete' }],
  ['only the timer sends again: silence', at(2), timeout, send(2)],
  ['silence for long', at(2, { tries: 10 }), timeout, { do: 'finish', why: 'client-silent' }],
  [
    'the final ACK may never come: silence after the last block means that it was received',
    at(3, { tries: 3 }),
    timeout,
    { do: 'finish', why: 'unconfirmed' },
  ],
  [
    'a sender that never answered at all is given up early',
    at(0, { tries: 3 }),
    timeout,
    { do: 'finish', why: 'client-silent' },
  ],
  ['EDK2 breaks off after the size: no fault', at(0), error(8), { do: 'finish', why: 'aborted' }],
  ['others say it with 0', at(1), error(0), { do: 'finish', why: 'aborted' }],
  [
    'a full disk is a fault',
    at(2),
    error(3),
    { do: 'finish', why: 'client-error', text: 'error 3: User aborted' },
  ],
  ['the block number wraps from 65535 to 0', at(65536, { lastBlock: 70000 }), ack(0), send(65537)],
  ['an ack of the round before', at(65537, { lastBlock: 70000 }), ack(0), undefined],
  [
    'a window over the wrap',
    windowed({ acked: 65530, sent: 65538, lastBlock: 70000 }),
    ack(2),
    send(65539, 65546),
  ],
  ['after the OACK the first window', windowed({ acked: -1, sent: 0 }), ack(0), send(1, 8)],
  ['a window is acknowledged: the next one', windowed(), ack(16), send(17, 24)],
  ['the last window ends with the file', windowed({ lastBlock: 19 }), ack(16), send(17, 19)],
  ['an old ACK inside the window goes back: on from last ACK + 1', windowed(), ack(11), send(12, 19)],
  [
    'the ACK of the window before, a round trip later: its first block was lost',
    windowed(),
    ack(8, 2),
    send(9, 16),
  ],
  ['the same at once: a doubled packet, not answered', windowed({ sentAt: 0 }), ack(8, 0.1), undefined],
  ['the same again right after going back', windowed({ wentBack: true, sentAt: 1.5 }), ack(8, 2), undefined],
  [
    'an ACK inside the window right after going back',
    windowed({ wentBack: true, sentAt: 1.5 }),
    ack(11, 2),
    undefined,
  ],
  ['the same a round trip later', windowed({ wentBack: true, sentAt: 0 }), ack(11, 2), send(12, 19)],
  ['an ACK of two windows ago', windowed(), ack(3), undefined],
  ['beyond the window', windowed(), ack(17), undefined],
  ['silence in a window: all of it again', windowed(), timeout, send(9, 16)],
]
for (const [name, before, event, effect] of rows)
  test(name, () => expect(step(before, event)?.[1]).toEqual(effect))

test('a file that ends on a border of blocks is closed by an empty block, an empty file is one', () => {
  expect([0, 1, 511, 512, 513, 1024].map((bytes) => blockCount(bytes, 512))).toEqual([1, 1, 1, 2, 2, 3])
})

test('a client that agreed on 255 s and is gone gives its place back within two minutes', () => {
  let t = begin({ blocks: 9, oack: true, window: 1, timeoutMs: 255_000 }, 0)
  ;[t] = step(t, ack(0))!
  for (let waited = 0; waited < 120_000; ) {
    waited += retryMs(t)
    const [after, effect] = step(t, { type: 'timeout', now: waited })!
    t = after
    if (effect.do === 'finish') return expect(effect.why).toBe('client-silent')
  }
  throw new Error('it still waits')
})

test('the timer: a second at first, 200 ms once the round trip is known, doubled by silence, up to what was agreed', () => {
  const first = begin({ blocks: 9, oack: true, window: 1 }, 0)
  expect(retryMs(first)).toBe(1000)
  const unheard = [0, 1, 2, 3].map((tries) => retryMs({ ...first, tries }))
  expect(unheard).toEqual([1000, 2000, 4000, 5000]) // longer than the 5 s after which clients repeat a lost ACK
  const [known] = step(first, ack(0))!
  expect(retryMs(known)).toBe(200)
  const [again] = step(known, timeout)!
  expect(retryMs(again)).toBe(400)
  const own = begin({ blocks: 9, oack: true, window: 1, timeoutMs: 3000 }, 0)
  const [agreed] = step(own, ack(0))!
  expect([0, 1, 4, 9].map((tries) => retryMs({ ...agreed, tries }))).toEqual([200, 400, 3000, 3000])
  expect([0, 4, 9].map((tries) => retryMs({ ...known, tries }))).toEqual([200, 3200, 5000])
  const [slow] = step(first, ack(0, 900))!
  expect(retryMs(slow)).toBe(2700)
})

test('a round trip that was measured on a block sent twice does not count (Karn)', () => {
  const [again] = step(at(1, { sentAt: 0 }), { type: 'timeout', now: 1000 })!
  expect(step(again, ack(1, 1001))![0].rtt).toBeUndefined()
})

const fate = fc.constantFrom<Fate>('pass', 'lose', 'twice', 'late')
const wire = { blocks: fc.integer({ min: 1, max: 150 }), window: fc.integer({ min: 1, max: 64 }) }

test('law: under any loss, doubling and reordering the client gets every block once and in order, or silence ends it', () => {
  fc.assert(
    fc.property(
      wire.blocks,
      wire.window,
      fc.boolean(),
      fc.array(fate, { maxLength: 200 }),
      (blocks, window, oack, fates) => {
        const { received, why } = play({ blocks, window: oack ? window : 1, oack }, (n) => fates[n] ?? 'pass')
        expect(received).toEqual(Array.from({ length: received.length }, (_, i) => i + 1))
        if (why === 'complete') expect(received.length).toBe(blocks)
        expect(['complete', 'unconfirmed', 'client-silent']).toContain(why)
        if (fates.every((f) => f !== 'lose')) expect(why).toBe('complete')
      },
    ),
  )
})

test('law: with one packet in ten lost everything arrives, within a bounded number of packets', () => {
  const seed = fc.nat()
  fc.assert(
    fc.property(wire.blocks, wire.window, seed, (blocks, window, first) => {
      let state = first
      const { received, why, packets } = play({ blocks, window, oack: true }, () => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0
        return (state >>> 16) % 10 === 0 ? 'lose' : 'pass'
      })
      expect(why).not.toBe('client-silent')
      expect(received.length).toBe(blocks)
      expect(packets).toBeLessThan(60 + 4 * blocks * Math.max(1, window / 4))
    }),
    { seed: 7 }, // chance would break the last block four times in a row some day
  )
})

test('law: doubled packets do not multiply', () => {
  fc.assert(
    fc.property(wire.blocks, wire.window, (blocks, window) => {
      const { packets, why } = play({ blocks, window, oack: true }, () => 'twice')
      expect(why).toBe('complete')
      // Each block goes out twice, each of the doubled ones may be complained of, and nothing beyond.
      expect(packets).toBeLessThanOrEqual(12 * (blocks + window + 2))
    }),
  )
})

type Fate = 'pass' | 'lose' | 'twice' | 'late'
type Flight = { at: number; to: 'client' | 'server'; block: number }

/**
 * A client as RFC 7440 has it (an ACK at the end of a window, and at once for what is out of order), behind a wire of one
 * millisecond that treats the n-th packet, in either direction, as `fateOf` says.
 */
function play(file: { blocks: number; window: number; oack: boolean }, fateOf: (n: number) => Fate) {
  const received: number[] = []
  const flights: Flight[] = []
  let [t, now, packets, inWindow, opened] = [begin(file, 0), 0, 0, 0, false]
  const put = (to: Flight['to'], block: number) => {
    const how = fateOf(packets++)
    if (how === 'lose') return
    flights.push({ at: now + (how === 'late' ? 2.5 : 1), to, block })
    if (how === 'twice') flights.push({ at: now + 1, to, block })
  }
  const acknowledge = () => {
    inWindow = 0
    put('server', received.length)
  }
  function client(block: number) {
    if (block === 0) {
      if (received.length === 0) acknowledge()
      opened = true
      return
    }
    if (file.oack && !opened) return
    if (block !== received.length + 1) {
      acknowledge() // for each block out of order, as EDK2 does
      return
    }
    received.push(block)
    inWindow++
    if (inWindow === file.window || block === file.blocks) acknowledge()
  }
  function server(event: Event) {
    const next = step(t, event)
    if (!next) return undefined
    const [after, effect] = next
    t = after
    if (effect.do === 'finish') return effect.why
    for (let block = effect.from; block <= effect.to; block++) put('client', block)
    return undefined
  }
  put('client', t.sent)
  for (let turn = 0; turn < 20_000; turn++) {
    flights.sort((a, b) => a.at - b.at)
    const flight = flights[0]
    const due = t.sentAt + retryMs(t)
    if (!flight || due < flight.at) {
      now = due
      const why = server({ type: 'timeout', now })
      if (why) return { received, why, packets }
      continue
    }
    flights.shift()
    now = flight.at
    if (flight.to === 'client') client(flight.block)
    else {
      const why = server(ack(flight.block & 0xffff, now))
      if (why) return { received, why, packets }
    }
  }
  throw new Error('it never ends')
}

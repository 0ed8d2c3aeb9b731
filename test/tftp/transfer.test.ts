import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Packet } from '../../src/tftp/packet.ts'
import {
  begin,
  blockCount,
  type Effect,
  type Event,
  retryMs,
  step,
  type Transfer,
} from '../../src/tftp/transfer.ts'

const at = (block: number, more: Partial<Transfer> = {}): Transfer => ({
  block,
  lastBlock: 3,
  tries: 0,
  sentAt: 0,
  ...more,
})
const packet = (p: Packet): Event => ({ type: 'packet', packet: p, now: 1 })
const ack = (block: number) => packet({ op: 'ack', block })
const timeout: Event = { type: 'timeout', now: 1 }
const error = (code: number) => packet({ op: 'error', code, message: 'User aborted' })

const rows: [string, Transfer, Event, Effect | undefined][] = [
  ['the OACK is acknowledged: first block', at(0), ack(0), { do: 'send', block: 1 }],
  ['an ack moves on', at(1), ack(1), { do: 'send', block: 2 }],
  ['an old ack is not answered', at(2), ack(1), undefined],
  ['an ack from the future is not answered', at(2), ack(3), undefined],
  ['the last ack ends it', at(3), ack(3), { do: 'finish', why: 'complete' }],
  ['silence: again', at(2), timeout, { do: 'send', block: 2 }],
  ['silence for long', at(2, { tries: 10 }), timeout, { do: 'finish', why: 'client-silent' }],
  [
    'silence after the last block: it was received',
    at(3, { tries: 3 }),
    timeout,
    { do: 'finish', why: 'unconfirmed' },
  ],
  ['EDK2 breaks off after the size', at(0), error(8), { do: 'finish', why: 'aborted' }],
  ['others say it with 0', at(1), error(0), { do: 'finish', why: 'aborted' }],
  [
    'a full disk is a fault',
    at(2),
    error(3),
    { do: 'finish', why: 'client-error', text: 'error 3: User aborted' },
  ],
  ['data is none of our business', at(2), packet({ op: 'data', block: 2, data: Buffer.of(1) }), undefined],
  ['the wire wraps after 65535', at(65536, { lastBlock: 70000 }), ack(0), { do: 'send', block: 65537 }],
  ['an ack of the round before', at(65537, { lastBlock: 70000 }), ack(0), undefined],
]
for (const [name, before, event, effect] of rows)
  test(name, () => expect(step(before, event)?.[1]).toEqual(effect))

test('a file that ends on a border of blocks is closed by an empty block', () => {
  expect([0, 1, 511, 512, 513, 1024].map((bytes) => blockCount(bytes, 512))).toEqual([1, 1, 1, 2, 2, 3])
})

test("the timer: a second at first, 200 ms once the round trip is known, doubled by silence, the client's own if agreed", () => {
  const first = begin({ blocks: 9, oack: true }, 0)
  expect(retryMs(first)).toBe(1000)
  const [known] = step(first, ack(0))!
  expect(retryMs(known)).toBe(200)
  const [again] = step(known, timeout)!
  expect(retryMs(again)).toBe(400)
  expect(retryMs(begin({ blocks: 9, oack: true, timeoutMs: 3000 }, 0))).toBe(3000)
  const slow = step(first, { type: 'packet', packet: { op: 'ack', block: 0 }, now: 900 })![0]
  expect(retryMs(slow)).toBe(2700)
})

test('law: under any loss and duplication the client gets every block once and in order, or silence ends it', () => {
  const fate = fc.constantFrom('pass', 'lose', 'twice')
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.array(fate, { maxLength: 60 }), (blocks, fates) => {
      const { received, why } = play(blocks, [...fates] as Fate[])
      expect(received).toEqual(Array.from({ length: received.length }, (_, i) => i + 1))
      if (why === 'complete') expect(received.length).toBe(blocks)
      expect(['complete', 'unconfirmed', 'client-silent']).toContain(why)
      if (fates.every((f) => f !== 'lose')) expect(why).toBe('complete')
    }),
  )
})

type Fate = 'pass' | 'lose' | 'twice'
/** A client as RFC 1350 has it, behind a wire that treats each packet, in either direction, as `fates` say. */
function play(blocks: number, fates: Fate[]) {
  const received: number[] = []
  let t = begin({ blocks, oack: false }, 0)
  const toClient = [1]
  const toServer: number[] = []
  const copies = () => ({ pass: 1, lose: 0, twice: 2 })[fates.shift() ?? 'pass']
  for (let turn = 0; turn < 1000; turn++) {
    const data = toClient.shift()
    if (data !== undefined) {
      for (let n = copies(); n > 0; n--) {
        if (data === received.length + 1) received.push(data)
        if (data <= received.length) toServer.push(data)
      }
      continue
    }
    const acked = toServer.shift()
    const arrived = acked === undefined ? 1 : copies()
    for (let n = arrived; n > 0; n--) {
      const next = step(t, acked === undefined ? { type: 'timeout', now: turn } : ack(acked))
      if (!next) continue
      t = next[0]
      if (next[1].do === 'finish') return { received, why: next[1].why }
      toClient.push(next[1].block)
    }
  }
  throw new Error('it never ends')
}

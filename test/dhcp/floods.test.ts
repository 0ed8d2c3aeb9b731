import { expect, test } from 'vitest'
import { clientKey, makeFloods } from '../../src/dhcp/floods.ts'
import { capture } from './captures.ts'

test('a client that asks without end is looked at a few times a second, and others always', () => {
  const floods = makeFloods()
  const allowed = Array.from({ length: 10_000 }, (_, i) => floods.allow('flooder', 1000 + i)).filter(Boolean)
  expect(allowed.length).toBe(40 + 39) // ten seconds of 4, less the first instant
  expect(floods.allow('other', 11_000)).toBe(true)
  expect(floods.allow('flooder', 60_000)).toBe(true)
})

test('a boot with its repetitions is never too much', () => {
  const floods = makeFloods()
  // EDK2 at 0, 4, 12, 28 s, then iPXE every second, then a ramdisk: DISCOVER and REQUEST each time.
  const times = [0, 4, 12, 28, ...Array.from({ length: 20 }, (_, i) => 30 + i), 60, 61, 62]
  for (const at of times.flatMap((second) => [second, second]))
    expect(floods.allow(1, at * 1000), `${at} s`).toBe(true)
})

test('made-up addresses cost a bounded memory, and a flooder is not forgotten among them', () => {
  const floods = makeFloods()
  while (floods.allow('flooder', 0));
  for (let i = 0; i < 500_000; i++) {
    floods.allow(i, 0)
    if (i % 1000 === 0) floods.allow('flooder', 0)
  }
  expect(floods.size()).toBeLessThanOrEqual(65_536)
  expect(floods.allow('flooder', 0)).toBe(false)
})

test('a clock that is set back gives no tokens and takes none', () => {
  const floods = makeFloods()
  expect(floods.allow('a', 1_000_000)).toBe(true)
  expect(floods.allow('a', 0)).toBe(true)
})

test('the client is known before anything is parsed', () => {
  const bytes = capture('udhcpc-discover')
  expect(clientKey(bytes)).toBe(0x525400770021)
  expect(clientKey(bytes.subarray(0, 33))).toBeUndefined()
  bytes[2] = 0
  expect(clientKey(bytes)).toBeUndefined()
})

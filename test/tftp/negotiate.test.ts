import fc from 'fast-check'
import { expect, test } from 'vitest'
import { blockRoom, negotiate } from '../../src/tftp/negotiate.ts'
import type { Options } from '../../src/tftp/packet.ts'

const file = { bytes: 1_000_000, maxBlockBytes: 1468 }

// [client, what it asks, block size, our OACK]
const rows: [string, Options, number, Options][] = [
  ['tftp-hpa: no options', {}, 512, {}],
  ['iPXE', { blksize: '1432', tsize: '0' }, 1432, { blksize: '1432', tsize: '1000000' }],
  [
    'OVMF: windowsize is taken up',
    { tsize: '0', blksize: '1468', windowsize: '4' },
    1468,
    { blksize: '1468', tsize: '1000000', windowsize: '4' },
  ],
  ['a window is 64 at most', { windowsize: '65535' }, 512, { windowsize: '64' }],
  ['no window of none', { windowsize: '0' }, 512, {}],
  ['unknown options are left out', { rollover: '0', multicast: '' }, 512, {}],
  ['curl at its largest: one frame', { blksize: '65464' }, 1468, { blksize: '1468' }],
  ['curl: timeout', { timeout: '6' }, 512, { timeout: '6' }],
  ['the smallest block', { blksize: '8' }, 8, { blksize: '8' }],
  ['nonsense is left out', { blksize: '0', tsize: '-1', timeout: '256' }, 512, {}],
  ['text is left out', { blksize: '1468x', tsize: '', timeout: '1.5' }, 512, {}],
  ['numbers beyond all bounds are left out', { blksize: '9'.repeat(400), timeout: '0' }, 512, {}],
]
for (const [name, asked, blockBytes, reply] of rows)
  test(name, () => expect(negotiate(asked, file)).toMatchObject({ blockBytes, reply }))

test('law: whatever is asked, a block fits and nothing is promised that was not asked', () => {
  const options = fc.dictionary(
    fc.constantFrom('blksize', 'tsize', 'timeout', 'windowsize', 'x'),
    fc.string(),
  )
  const numbers = fc.dictionary(
    fc.constantFrom('blksize', 'tsize', 'timeout', 'windowsize'),
    fc.integer().map(String),
  )
  fc.assert(
    fc.property(fc.oneof(options, numbers), (asked) => {
      const { blockBytes, reply, timeoutMs, window } = negotiate(asked, file)
      expect(blockBytes).toBeGreaterThanOrEqual(8)
      expect(blockBytes).toBeLessThanOrEqual(1468)
      expect(window).toBeGreaterThanOrEqual(1)
      expect(window).toBeLessThanOrEqual(64)
      expect(Object.keys(asked)).toEqual(expect.arrayContaining(Object.keys(reply)))
      if (timeoutMs !== undefined) expect(timeoutMs).toBeLessThanOrEqual(255_000)
    }),
  )
})

test('a block fits a frame: the MTU less 32 bytes, and never below the 512 that every client may expect', () => {
  expect([1500, 9000, 65536, 576, 68].map(blockRoom)).toEqual([1468, 8968, 65464, 544, 512])
})

import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { lastProgress, readConsole } from '../../services/lab/serial.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-serial-'))
afterAll(() => rmSync(folder, { recursive: true }))

const consoles: [string, string, ReturnType<typeof lastProgress>][] = [
  ['nothing yet', 'SeaBIOS (version 1.16.2)\r\niPXE initialising devices...', undefined],
  ['a plain line', 'sysclone: disks 5% /dev/vda\r\n', { phase: 'disks', percent: 5, text: '/dev/vda' }],
  [
    'the same line by the kernel log',
    '[   12.345678] sysclone: copy 37%\r\n',
    { phase: 'copy', percent: 37, text: '' },
  ],
  [
    'the last of several',
    'sysclone: copy 1%\nsysclone: copy 64%\n',
    { phase: 'copy', percent: 64, text: '' },
  ],
  [
    'a line that is not complete yet',
    'sysclone: copy 6%\nsysclone: copy 6',
    { phase: 'copy', percent: 6, text: '' },
  ],
  ['words without a percentage', 'sysclone: cannot go on\n', undefined],
  ['a percentage that is none', 'sysclone: copy 640%\n', undefined],
  ['control characters', 'sysclone: copy 6% a\x1b[2Jb\n', { phase: 'copy', percent: 6, text: 'a[2Jb' }],
]
for (const [name, text, progress] of consoles)
  test(`console: ${name}`, () => expect(lastProgress(text)).toEqual(progress))

test('any text gives a percentage of 0 to 100 or nothing', () => {
  const noise = fc.string({
    unit: fc.constantFrom('s', 'sysclone: ', 'copy ', '9', '%', ' ', '\n', '\r', '\x1b'),
  })
  fc.assert(
    fc.property(noise, (text) => {
      const percent = lastProgress(text)?.percent ?? 0
      return percent >= 0 && percent <= 100
    }),
  )
})

test('a console is read from a mark on, and at most its last 256 KiB', () => {
  const path = join(folder, 'console.log')
  expect(readConsole(path)).toBe('')
  writeFileSync(path, 'first boot\n')
  const mark = 11
  appendFileSync(path, 'second boot\n')
  expect(readConsole(path, mark)).toBe('second boot\n')
  appendFileSync(path, `${'x'.repeat(300 * 1024)}\nend\n`)
  expect(readConsole(path)).toHaveLength(256 * 1024)
  expect(readConsole(path)).toMatch(/\nend\n$/)
})

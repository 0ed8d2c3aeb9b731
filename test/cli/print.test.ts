// Lines for a terminal and for a file.
import { expect, test } from 'vitest'
import { openPrint } from '../../services/cli/print.ts'

function said(io: { isTty: boolean; columns?: number; noColor?: boolean }, text: string) {
  let out = ''
  const print = openPrint({ columns: 80, err: () => {}, ...io, out: (some) => (out += some) })
  print.tinted(text, 'bad')
  return out
}

test('colour and one line on a terminal; the whole text and nothing else elsewhere', () => {
  expect(said({ isTty: true }, 'n1 failed')).toBe('\x1b[31mn1 failed\x1b[0m\n')
  expect(said({ isTty: true, noColor: true }, 'n1 failed')).toBe('n1 failed\n')
  expect(said({ isTty: true, noColor: true, columns: 5 }, 'n1 failed')).toBe('n1 fa\n')
  expect(said({ isTty: false, columns: 5 }, 'n1 failed')).toBe('n1 failed\n')
  for (const isTty of [true, false]) expect(said({ isTty }, 'a\x1b[2Jb')).toContain('a?[2Jb')
})

test('a command that found a difference ends with 1, without a word on the standard error', () => {
  let err = ''
  const print = openPrint({ out: () => {}, err: (text) => (err += text), isTty: false, columns: 80 })
  expect(print.exitCode()).toBe(0)
  print.fail()
  expect([print.exitCode(), err]).toEqual([1, ''])
})

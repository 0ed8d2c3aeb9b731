import { expect, test } from 'vitest'
import { grouped, openDisplay, renderTable } from '../../services/lab/display.ts'

function screen(isTTY: boolean) {
  let text = ''
  const write = (more: string) => {
    text += more
  }
  return { isTTY, columns: 40, write, read: () => text }
}

test('off a terminal: a plain line each time the key changes', () => {
  const plain = screen(false)
  const display = openDisplay(plain)
  display.status('n1: copy 10%', 'copy 1')
  display.status('n1: copy 11%', 'copy 1')
  display.status('n1: copy 20%', 'copy 2')
  display.say('done')
  expect(plain.read()).toBe('  n1: copy 10%\n  n1: copy 20%\ndone\n')
})

test('on a terminal: one line that is replaced, cut to the width, and gone when something is said', () => {
  const terminal = screen(true)
  const display = openDisplay(terminal)
  display.status('x'.repeat(60), 'a')
  display.status('n1: copy 11%', 'a')
  display.say('done')
  expect(terminal.read()).toBe(`${'x'.repeat(39)}\r\x1b[Kn1: copy 11%\r\x1b[Kdone\n`)
})

test('table: numbers to the right, words to the left, an empty cell is no word', () => {
  const rows = [
    ['captured', '61.5', grouped(1234567)],
    ['all of it', '7.0', grouped(undefined)],
  ]
  expect(renderTable(['step', 'seconds', 'bytes'], rows)).toEqual([
    'step       seconds      bytes',
    '---------  -------  ---------',
    'captured      61.5  1,234,567',
    'all of it      7.0',
  ])
})

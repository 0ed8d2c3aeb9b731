import { expect, test } from 'vitest'
import { tableOf } from '../../services/cli/table.ts'

const head = ['NAME', 'GROUPS', 'IP']
const rows = [
  ['n1', 'all,compute,rack1,gpu', '10.0.0.11'],
  ['n02', 'all', ''],
]
const terminal = (columns: number) => ({ isTty: true, columns })

test('columns are as wide as their widest cell', () => {
  expect(tableOf(terminal(80), head, rows)).toEqual([
    'NAME  GROUPS                 IP',
    'n1    all,compute,rack1,gpu  10.0.0.11',
    'n02   all',
  ])
})

test('on a narrow terminal the widest column gives way, and what was cut is marked', () => {
  const lines = tableOf(terminal(30), head, rows)
  expect(lines).toEqual(['NAME  GROUPS         IP', 'n1    all,compute,~  10.0.0.11', 'n02   all'])
  for (const columns of [24, 30, 37, 38, 39])
    for (const line of tableOf(terminal(columns), head, rows))
      expect(line.length).toBeLessThanOrEqual(columns)
})

test('a terminal without room keeps four characters of each column', () => {
  expect(tableOf(terminal(1), head, rows)[1]).toBe('n1    all~  10.~')
})

test('elsewhere than on a terminal nothing is cut', () => {
  expect(tableOf({ isTty: false, columns: 10 }, head, rows)[1]).toBe('n1    all,compute,rack1,gpu  10.0.0.11')
})

test('no rows, no table; without a head only the rows; a letter of two units is one', () => {
  expect(tableOf(terminal(80), head, [])).toEqual([])
  expect(tableOf(terminal(80), [], [['a', 'b']])).toEqual(['a  b'])
  expect(tableOf(terminal(9), [], [['😀😀😀😀😀', 'bbbb']])).toEqual(['😀😀😀~  bbbb'])
})

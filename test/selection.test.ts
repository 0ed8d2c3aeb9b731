import { describe, expect, test } from 'vitest'
import type { NodeName } from '../src/address.ts'
import { changeNode, nodeAttributes } from '../src/node/attributes.ts'
import type { Node } from '../src/node/node.ts'
import { parseSelections, printSelections, selectsAll } from '../src/selection.ts'

const empty: Node = { name: 'n1' as NodeName, groups: [], mac: [] }
const attrs = { groups: 'all,rack1', mac: '525400000001', arch: 'x86_64', lock: '1' }
const node = changeNode(empty, { op: 'set', attrs }, [])
const holds = (text: string) => selectsAll(nodeAttributes, parseSelections(text), empty)(node)

const table: [text: string, holds: boolean][] = [
  ['arch==x86_64', true],
  ['arch!=x86_64', false],
  ['arch==aarch64', false],
  ['arch=~x86', true],
  ['arch=~/^x86$/', false],
  ['arch!~arm', true],
  ['osimage==', true],
  ['osimage!=', false],
  ['groups==rack1', true],
  ['groups==all,rack1', true],
  ['groups!=rack1', false],
  ['groups=~rack[23]', false],
  ['mac==52-54-00-00-00-01', true],
  ['lock==yes', true],
  ['arch==x86_64::groups==rack1', true],
  ['arch==x86_64::groups==rack2', false],
  ['status==', true],
]
describe('a node of rack1 with x86_64', () => {
  for (const [text, expected] of table) test(text, () => expect(holds(text)).toBe(expected))
})

const bad: [text: string, message: RegExp][] = [
  ['arch', /not a selection \(arch; allowed: attr==value/],
  ['arch=x86_64', /not a selection/],
  ['color==red', /no such attribute \(color/],
  ['arch==arm', /not a known word/],
  ['currstate==boot', /nothing is selected by this attribute \(currstate; allowed: status/],
  ['arch=~(', /a parenthesis is not closed/],
]
describe('what is refused', () => {
  for (const [text, message] of bad) test(text, () => expect(() => holds(text)).toThrow(message))
})

test('they are written as they were read', () => {
  expect(printSelections(parseSelections('arch==x86_64::groups=~rack[12]'))).toBe(
    'arch==x86_64::groups=~rack[12]',
  )
})

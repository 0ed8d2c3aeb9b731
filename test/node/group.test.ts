import { describe, expect, test } from 'vitest'
import type { ImageName, NodeName } from '../../src/address.ts'
import {
  changeGroup,
  checkDynamic,
  type Group,
  groupsOf,
  noNode,
  osimageFor,
  overridesFor,
} from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'

const node = (name: string, groups: string[], more: Partial<Node> = {}): Node => ({
  ...noNode,
  name: name as NodeName,
  groups,
  ...more,
})
const group = (name: string, more: Partial<Group> = {}): Group => ({ name, ...more })
const image = (name: string) => ({ osimage: name as ImageName })
const expand = (text: string) => [...new Set(text.split(','))] as NodeName[] // as a noderange: each once

const table: [what: string, node: Node, groups: Group[], osimage: string | undefined][] = [
  ['its own osimage wins', node('n', ['a'], image('own')), [group('a', image('x'))], 'own'],
  ['else its group’s', node('n', ['a']), [group('a', image('x'))], 'x'],
  ['not another group’s', node('n', ['a']), [group('b', image('x'))], undefined],
  [
    'a group without one does not count',
    node('n', ['a', 'b']),
    [group('a', { priority: 1 }), group('b', image('x'))],
    'x',
  ],
  [
    'the lowest priority wins',
    node('n', ['a', 'b']),
    [group('a', { ...image('x'), priority: 20 }), group('b', { ...image('y'), priority: 3 })],
    'y',
  ],
  [
    'no priority comes last',
    node('n', ['a', 'b']),
    [group('a', image('x')), group('b', { ...image('y'), priority: 1_000_000 })],
    'y',
  ],
  ['equals go by name', node('n', ['b', 'a']), [group('b', image('y')), group('a', image('x'))], 'x'],
  [
    'a dynamic group counts for whom it selects',
    node('n', [], { arch: 'x86_64' }),
    [group('d', { ...image('x'), where: 'arch==x86_64' }), group('e', { ...image('y'), where: 'arch==' })],
    'x',
  ],
]
describe('the osimage of a node', () => {
  for (const [what, which, groups, osimage] of table)
    test(what, () => expect(osimageFor(which, groups)).toBe(osimage))
})

test('overrides: of the image, of all, of the groups with the foremost last, of the node', () => {
  const groups = [
    group('a', { overrides: ['a1', 'a2'] }),
    group('b', { overrides: ['b1', 'a2'], priority: 5 }),
    group('c', { overrides: ['c1'] }),
    group('d', { overrides: ['d1'], where: 'arch==x86_64', priority: 9 }),
    group('e'),
  ]
  const its = overridesFor(node('n1', ['e', 'a', 'b'], { arch: 'x86_64' }), 'img' as ImageName, groups)
  // In order of weight the groups say b1 a2 (b), d1 (d), a1 (a): the first one counts most and is laid last.
  expect(its.map(({ name, must }) => (must ? name : `[${name}]`))).toEqual([
    '[img]',
    '[all]',
    'a1',
    'd1',
    'a2',
    'b1',
    '[n1]',
  ])
  expect(its.find(({ name }) => name === 'a2')?.of).toBe('group b')
  expect(overridesFor(node('n2', []), 'img' as ImageName, [])).toHaveLength(3)
})

test('groups: those that are defined, and those that nodes name', () => {
  const nodes = [node('n1', ['a', 'b']), node('n2', ['b'], { arch: 'x86_64' })]
  const groups = groupsOf(
    [group('b', { priority: 1 }), group('d', { where: 'arch==x86_64' }), group('e')],
    nodes,
  )
  expect(Object.fromEntries([...groups].map(([name, { members }]) => [name, members]))).toEqual({
    a: ['n1'],
    b: ['n1', 'n2'],
    d: ['n2'],
    e: [],
  })
  expect(groups.get('b')?.priority).toBe(1)
})

test('a group keeps overrides and excludes', () => {
  const empty = { name: 'g', members: [] as NodeName[] }
  const attrs = { overrides: 'a, b', exclude: '/var/log/*' }
  expect(changeGroup(empty, { op: 'set', attrs }, expand)).toMatchObject({
    overrides: ['a', 'b'],
    exclude: ['/var/log/*'],
  })
  for (const wrong of ['../a', '-a', '.a', 'a/b', 'a b', 'x'.repeat(65)])
    expect(() => changeGroup(empty, { op: 'set', attrs: { overrides: wrong } }, expand)).toThrow(
      /^g: overrides: not the name of an override/,
    )
})

test('members are a list; a dynamic group has none of its own', () => {
  const empty = { name: 'g', members: [] as NodeName[] }
  const made = changeGroup(empty, { op: 'set', attrs: { members: 'n1,n2', priority: '7' } }, expand)
  expect(made).toEqual({ name: 'g', members: ['n1', 'n2'], priority: 7 })
  expect(changeGroup(made, { op: 'add', attrs: { members: 'n2,n3' } }, expand).members).toEqual([
    'n1',
    'n2',
    'n3',
  ])
  expect(changeGroup(made, { op: 'remove', attrs: { members: 'n1' } }, expand).members).toEqual(['n2'])
  expect(() => changeGroup(made, { op: 'set', attrs: { where: 'arch==' } }, expand)).toThrow(
    /^g: members: a dynamic group has those that where= selects \(2 members/,
  )
  expect(() => changeGroup(empty, { op: 'set', attrs: { where: 'members==n1' } }, expand)).toThrow(
    /^g: where: no such attribute/,
  )
  expect(() => checkDynamic([group('d', { where: 'arch==' })], [node('n1', ['a', 'd'])])).toThrow(
    /^n1: groups: a dynamic group has those that its where= selects \(d/,
  )
})

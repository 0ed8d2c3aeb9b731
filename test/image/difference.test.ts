import { expect, test } from 'vitest'
import { differenceOf } from '../../src/image/difference.ts'

const file = {
  type: 'f',
  mode: '644',
  uid: 0,
  gid: 0,
  size: 3,
  mtimeNs: '1',
  path: 'a',
  sha256: 'x',
} as const
const link = {
  type: 'l',
  mode: '777',
  uid: 0,
  gid: 0,
  size: 1,
  mtimeNs: '1',
  path: 'a',
  target: 'b',
} as const

test.each([
  ['nothing', file, file, undefined],
  ['content', file, { ...file, sha256: 'y' }, ['content']],
  ['content and time', file, { ...file, size: 4, mtimeNs: '2' }, ['content', 'time']],
  ['only its time', file, { ...file, mtimeNs: '2' }, ['time']],
  [
    'content that has no digest',
    { ...file, sha256: undefined },
    { ...file, mtimeNs: '2' },
    ['content', 'time'],
  ],
  ['mode and owner', file, { ...file, mode: '4755', gid: 5 }, ['mode', 'owner']],
  ['an attribute that is new', file, { ...file, xattrs: 'z' }, ['xattr']],
  ['where a link leads', link, { ...link, target: 'c' }, ['target']],
  ['kind', file, link, ['type']],
  ['a device', { ...file, type: 'c', rdev: '1:3' }, { ...file, type: 'c', rdev: '1:5' }, ['device']],
])('%s', (_, a, b, what) => {
  expect(differenceOf(a as never, b as never)).toEqual(
    what && { path: 'a', change: 'changed', type: b.type, what },
  )
})

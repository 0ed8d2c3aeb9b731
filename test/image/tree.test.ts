import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import type { LayerMember } from '../../src/image/archive-index.ts'
import { indexArchive } from '../../src/image/archive-index.ts'
import { growTree, hardLinkGroups } from '../../src/image/tree.ts'

/** `d:path`, `f:path=content`, `l:path>target`, `h:path>other`; offsets count up. */
function layer(...words: string[]): LayerMember[] {
  return words.map((word, i) => {
    const [, kind, path, sign, rest] = /^(\w):([^=>]*)(?:([=>])(.*))?$/.exec(word)!
    const type = kind === 'h' ? 'f' : (kind as 'f' | 'd' | 'l')
    return {
      facts: {
        type,
        mode: '644',
        uid: 0,
        gid: 0,
        path: path!,
        ...(kind === 'l' && { target: rest! }),
        ...(kind === 'f' && { size: rest?.length ?? 0, mtimeNs: '0' }),
      },
      offset: i * 512,
      end: (i + 1) * 512,
      ...(kind === 'h' && { hardLinkTo: rest! }),
      ...(kind === 'f' && sign && { sha256: rest! }),
    }
  })
}
function treeOf(...layers: LayerMember[][]) {
  const tree = growTree()
  for (const members of layers) tree.add(members)
  return tree
}
const lines = (...layers: LayerMember[][]) =>
  treeOf(...layers)
    .entries()
    .map(({ facts, stored }) => `${facts.path}@${stored.layer}${stored.sha256 ? `=${stored.sha256}` : ''}`)

const base = layer('d:.', 'd:a', 'f:a/x=1', 'f:a/y=1', 'd:a/sub', 'f:a/sub/z=1', 'f:b=1', 'l:s>a')

test.each<[string, LayerMember[][], string[]]>([
  ['one layer', [base], ['.@0', 'a@0', 'a/sub@0', 'a/sub/z@0=1', 'a/x@0=1', 'a/y@0=1', 'b@0=1', 's@0']],
  [
    'a file again: the later one',
    [base, layer('f:b=2')],
    ['.@0', 'a@0', 'a/sub@0', 'a/sub/z@0=1', 'a/x@0=1', 'a/y@0=1', 'b@1=2', 's@0'],
  ],
  [
    'a directory again keeps what is in it',
    [base, layer('d:a')],
    ['.@0', 'a@1', 'a/sub@0', 'a/sub/z@0=1', 'a/x@0=1', 'a/y@0=1', 'b@0=1', 's@0'],
  ],
  [
    'a file in the place of a directory takes all of it',
    [base, layer('f:a=2')],
    ['.@0', 'a@1=2', 'b@0=1', 's@0'],
  ],
  [
    'a directory in the place of a link',
    [base, layer('d:s', 'f:s/new=2', 'f:.wh.a'), layer('f:.wh.b')],
    ['.@0', 's@1', 's/new@1=2'],
  ],
  ['a whiteout of a directory', [base, layer('f:.wh.a')], ['.@0', 'b@0=1', 's@0']],
  [
    'a whiteout below a directory that is there again',
    [base, layer('d:a', 'f:a/.wh.x')],
    ['.@0', 'a@1', 'a/sub@0', 'a/sub/z@0=1', 'a/y@0=1', 'b@0=1', 's@0'],
  ],
  [
    'an opaque directory keeps what its own layer has, whatever comes first',
    [base, layer('d:a', 'f:a/new=2', 'f:a/.wh..wh..opq')],
    ['.@0', 'a@1', 'a/new@1=2', 'b@0=1', 's@0'],
  ],
  [
    'a whiteout does not take what its own layer has',
    [base, layer('f:b=2', 'f:.wh.b')],
    ['.@0', 'a@0', 'a/sub@0', 'a/sub/z@0=1', 'a/x@0=1', 'a/y@0=1', 'b@1=2', 's@0'],
  ],
  ['a whiteout of what is not there', [base, layer('f:.wh.none', 'f:none/.wh.x')], lines(base)],
  ['notes of aufs', [base, layer('d:.wh..wh.plnk', 'f:.wh..wh.aufs')], lines(base)],
  [
    'taken away and there again',
    [base, layer('f:.wh.a'), layer('d:a', 'f:a/x=3')],
    ['.@0', 'a@2', 'a/x@2=3', 'b@0=1', 's@0'],
  ],
  ['twice in one layer: the later one', [layer('d:.', 'f:x=1', 'f:x=2')], ['.@0', 'x@0=2']],
])('%s', (_, layers, expected) => expect(lines(...layers)).toEqual(expected))

test('a hard link has the facts and the content of its file, also when that is gone as a path', () => {
  const linked = layer('d:.', 'f:x=1', 'h:y>x')
  const groups = (...layers: LayerMember[][]) =>
    hardLinkGroups(treeOf(...layers).entries()).map((group) => group.map(({ facts }) => facts.path))
  expect(groups(linked)).toEqual([['x', 'y']])
  expect(lines(linked, layer('f:x=2'))).toEqual(['.@0', 'x@1=2', 'y@0=1'])
  expect(groups(linked, layer('f:x=2'))).toEqual([])
  const [, , y] = treeOf(linked, layer('f:x=2')).entries()
  expect(y).toMatchObject({
    facts: { path: 'y', size: 1 },
    stored: { offset: 1024 },
    content: { offset: 512 },
  })
  // A link into a layer below, which other tools write.
  expect(lines(linked, layer('h:z>y'))).toEqual(['.@0', 'x@0=1', 'y@0=1', 'z@1=1'])
  expect(groups(linked, layer('h:z>y', 'f:.wh.x'))).toEqual([['y', 'z']])
})

test.each([
  ['a file below a symbolic link', [layer('d:.', 'l:etc>/etc', 'f:etc/passwd=1')]],
  ['a file below a link of a lower layer', [base, layer('f:s/passwd=1')]],
  ['a file below a file', [base, layer('f:b/x=1')]],
  ['a link over a directory that is filled in the same layer', [layer('d:.', 'f:e/x=1', 'l:e>/etc')]],
  ['a hard link to nothing', [base, layer('h:z>nowhere')]],
  ['a hard link to a directory', [base, layer('h:z>a')]],
])('%s is refused', (_, layers) => expect(() => treeOf(...layers)).toThrow(WireError))

test('directories that nothing describes are named; deep paths do no harm', () => {
  expect(treeOf(layer('f:a/b/c=1')).undescribed()).toEqual(['.', 'a', 'a/b'])
  const deep = (depth: number) => Array.from({ length: depth }, () => 'x').join('/')
  expect(treeOf(layer('d:.', `f:${deep(2000)}=1`)).undescribed()).toHaveLength(1999)
  expect(() => treeOf(layer(`f:${deep(2_000_000)}=1`))).toThrow(/too deep/)
})

test('names of what the prototype of objects has are names like others', () => {
  expect(lines(layer('d:.', 'd:__proto__', 'f:__proto__/constructor=1'))).toHaveLength(3)
})

const dir = mkdtempSync(join(tmpdir(), 'sysclone-tree-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

test('layers of GNU tar: offsets and ends meet, contents have the digests that sha256sum gives', () => {
  mkdirSync(join(dir, 't/d'), { recursive: true })
  writeFileSync(join(dir, 't/d/a'), 'content')
  linkSync(join(dir, 't/d/a'), join(dir, 't/d/b'))
  writeFileSync(join(dir, 't', 'n'.repeat(200)), 'x'.repeat(1000))
  const archive = execFileSync('tar', [
    ...['-C', join(dir, 't'), '-cf', '-', '--format=posix', '--sort=name', '.'],
  ])
  const index = indexArchive()
  for (let at = 0; at < archive.length; at += 300) index.push(archive.subarray(at, at + 300))
  index.end()
  const { members } = index
  expect(members.map(({ facts, hardLinkTo }) => [facts.path.slice(0, 5), hardLinkTo])).toEqual([
    ['.', undefined],
    ['d', undefined],
    ['d/a', undefined],
    ['d/b', 'd/a'],
    ['nnnnn', undefined],
  ])
  for (let i = 1; i < members.length; i++) expect(members[i]!.offset).toBe(members[i - 1]!.end)
  const sum = execFileSync('sha256sum', [join(dir, 't/d/a')], { encoding: 'utf8' }).slice(0, 64)
  const tree = growTree()
  tree.add(members)
  expect(tree.entries().find(({ facts }) => facts.path === 'd/b')!.stored.sha256).toBe(sum)
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import type { ListedFile } from '../../src/image/compare-line.ts'
import {
  parseListLine,
  parseManifestLine,
  renderCompareLine,
  renderManifestLine,
} from '../../src/image/compare-line.ts'
import { makeExclude, parseExclude } from '../../src/image/excludes.ts'
import { planLayers } from '../../src/image/layers.ts'

const file = (path: string, size = 100, more: Partial<ListedFile> = {}): ListedFile => ({
  type: 'f',
  mode: '644',
  uid: 0,
  gid: 0,
  size,
  mtimeNs: '1',
  path,
  ctimeNs: '1',
  inode: path,
  links: 1,
  ...more,
})
const directory = (path: string): ListedFile => {
  const { size: _, mtimeNs: __, ...rest } = file(path)
  return { ...rest, type: 'd', mode: '755' }
}

describe('layers', () => {
  const part = fc.constantFrom('a', 'b', 'c', 'd')
  const paths = fc.uniqueArray(
    fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/')),
    { maxLength: 60 },
  )
  const files = fc
    .tuple(
      paths,
      fc.array(fc.tuple(fc.integer({ min: 0, max: 2e8 }), fc.integer({ min: 0, max: 12 })), {
        minLength: 60,
        maxLength: 60,
      }),
    )
    .map(([names, facts]) =>
      names.map((path, i) => {
        const [size, group] = facts[i]!
        if (size % 5 === 0) return directory(path)
        return file(path, size, group < 4 ? { inode: `group${group}`, links: 3 } : {})
      }),
    )

  test('every file once, directories in the last layer alone, links of one file together, 2 to 4 layers', () => {
    fc.assert(
      fc.property(files, (list) => {
        const layers = planLayers(list)
        const all = layers.flat().map((f) => f.path)
        expect(all.sort()).toEqual(list.map((f) => f.path).sort())
        expect(layers.length).toBeLessThanOrEqual(4)
        expect(layers.at(-1)!.every((f) => f.type === 'd')).toBe(true)
        expect(
          layers.slice(0, -1).every((layer) => layer.length > 0 && layer.every((f) => f.type !== 'd')),
        ).toBe(true)
        for (const inode of ['group0', 'group1', 'group2', 'group3'])
          expect(layers.filter((layer) => layer.some((f) => f.inode === inode)).length).toBeLessThanOrEqual(1)
        for (const layer of layers) expect(layer.map((f) => f.path)).toEqual(layer.map((f) => f.path).sort())
      }),
      { numRuns: 200 },
    )
  })

  test('a large tree is cut into three of about equal weight', () => {
    const list = Array.from({ length: 3000 }, (_, i) => file(`usr/${i % 40}/${i}`, 300_000))
    const sizes = planLayers([...list, directory('usr')]).map((layer) =>
      layer.reduce((sum, f) => sum + (f.size ?? 0), 0),
    )
    expect(sizes).toHaveLength(4)
    expect(Math.max(...sizes.slice(0, 3)) / Math.min(...sizes.slice(0, 3))).toBeLessThan(1.2)
  })

  test('whiteout names are refused by name', () => {
    expect(() => planLayers([file('srv/.wh.data')])).toThrow(/\/srv\/\.wh\.data/)
    expect(() => planLayers([directory('srv/.wh..wh..opq')])).toThrow(/\.wh\.\.wh\.\.opq/)
    expect(planLayers([file('srv/x.wh.data')])).toHaveLength(2)
  })

  test('a folder of 300,000 files, and one of as many folders', () => {
    const many = Array.from({ length: 300_000 }, (_, i) => i)
    const files = planLayers(many.map((i) => file(`var/mail/${i}`)))
    expect(files.map((layer) => layer.length)).toEqual([100_000, 100_000, 100_000, 0])
    const folders = planLayers(many.map((i) => file(`var/${i}/x`)))
    expect(folders.flat()).toHaveLength(300_000)
  })
})

const rows: [string, ListedFile['type'], boolean][] = [
  ['proc', 'd', false],
  ['proc/cpuinfo', 'f', true],
  ['tmp', 'd', false],
  ['tmp/a/b', 'f', true],
  ['tmpfiles', 'f', false],
  ['lost+found', 'd', true],
  ['boot/lost+found', 'd', true],
  ['usr/share/lost+found', 'd', false],
  ['swapfile', 'f', true],
  ['var/odd\nswap', 'f', true],
  ['var/cache/apt/archives/a_1_amd64.deb', 'f', true],
  ['var/cache/apt/archives/lock', 'f', false],
  ['etc/ssh/sshd_config', 'f', false],
  ['etc/shadow', 'f', false],
  ['root/.ssh/authorized_keys', 'f', false],
]
test.each(rows)('%s (%s) is left out: %s', (path, type, out) => {
  expect(makeExclude({ paths: ['var/odd\nswap'] })(path, type) !== undefined).toBe(out)
})

// Pattern, then what it leaves out and what it does not; a slash at the end says that it is a directory.
const words: [string, string[], string[]][] = [
  ['/srv/data', ['srv/data', 'srv/data/', 'srv/data/a/b'], ['srv/', 'srv/data2', 'x/srv/data']],
  ['/srv/*', ['srv/a', 'srv/a/', 'srv/a/b'], ['srv/', 'srv2/a']],
  ['/srv/**/cache', ['srv/a/b/cache/', 'srv/a/cache/x'], ['srv/a', 'cache']],
  ['*.tmp', ['a.tmp', 'var/x.tmp', 'var/d.tmp/inside'], ['a.tmp2', 'tmp']],
  ['cache/', ['cache/', 'home/u/cache/', 'home/u/cache/x'], ['home/u/cache']],
  ['/opt/v[0-9]', ['opt/v1', 'opt/v2/x'], ['opt/vx', 'opt/v10']],
  ['/opt/[!a]?', ['opt/bc'], ['opt/ab', 'opt/b']],
  ['/sp\xe4t', ['sp\xc3\xa4t'], ['sp\xe4t']],
]
test.each(words)('exclude=%s', (word, out, kept) => {
  const why = makeExclude({ patterns: [parseExclude(word)] })
  const of = (path: string) => why(path.replace(/\/$/, ''), path.endsWith('/') ? 'd' : 'f')
  expect(out.filter((path) => of(path) !== `exclude=${word}`)).toEqual([])
  expect(kept.filter((path) => of(path) !== undefined)).toEqual([])
})

test('what is kept is kept with the way to it', () => {
  const why = makeExclude({ patterns: ['+ /var/tmp/keep/*', '+ /srv/a/b', '/srv/*'] })
  expect(why('var/tmp/keep/x', 'f')).toBeUndefined()
  expect(why('var/tmp/keep', 'd')).toBeUndefined()
  expect(why('var/tmp/other', 'f')).toBeDefined()
  expect([why('srv/a', 'd'), why('srv/a/b', 'f')]).toEqual([undefined, undefined])
  expect(why('srv/c', 'f')).toBe('exclude=/srv/*')
})

test.each(['', '/', 'a//b', '/a/../b', '/a/./b', '/x[a', '/a,b', 'a\nb', '+ rel', `/${'x'.repeat(1001)}`])(
  'no pattern: %j',
  (text) => {
    expect(() => parseExclude(text)).toThrow()
  },
)

describe('lines', () => {
  const name = fc
    .string({ unit: fc.constantFrom('a', '\\', '\t', '\n', ' ', '\xff', '0', '1', '3', '4'), minLength: 1 })
    .filter((text) => text !== '.')
  test('list and manifest lines give back what went in, whatever the names', () => {
    fc.assert(
      fc.property(name, name, (path, target) => {
        const link: ListedFile = { ...file(path), type: 'l', target }
        const { ctimeNs, inode, links, ...facts } = link
        const line = renderCompareLine(facts)
        expect(line).not.toMatch(/\n/)
        expect(parseListLine(`${ctimeNs}\t7\t${links}\t${line}`)).toEqual({ ...link, inode: '7' })
        const stored = { sha256: 'ab', layer: 1, offset: 512, ctimeNs, inode: '7' }
        expect(parseManifestLine(renderManifestLine(facts, stored))).toEqual({ ...facts, ...stored })
      }),
    )
  })

  test.each([
    '',
    'x',
    '1\t2\t3\tf',
    '1\t2\t3\tf\t644\t0\t0\t1\t1\t-\t../x\t',
    '1\t2\t3\tf\t644\t0\t0\t1\t1\t-\t/x\t',
    '1\t2\tz\tf\t644\t0\t0\t1\t1\t-\tx\t',
    '1\t2\t3\ts\t644\t0\t0\t1\t1\t-\tx\t',
  ])('a line out of shape throws WireError: %j', (line) =>
    expect(() => parseListLine(line)).toThrow(WireError),
  )
})

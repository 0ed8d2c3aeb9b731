import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { diffVersions } from '../../services/images/diff.ts'
import { squashVersion } from '../../services/images/squash.ts'
import { type Images, openImages } from '../../services/images/store.ts'
import { startWorkProgress } from '../../services/images/work-progress.ts'
import type { ImageName } from '../../src/address.ts'
import { parseManifestLine } from '../../src/image/compare-line.ts'
import { renderTarHeader, tarEnd } from '../../src/image/tar-write.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { contents, listing, publishLayers, tarFlags, tarOf, unpack } from './layered.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-squash-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const tree = join(dir, 'tree')
const file = (path: string, content: string | Buffer) => {
  mkdirSync(join(tree, path, '..'), { recursive: true })
  writeFileSync(join(tree, path), content)
}
const run = (...argv: string[]) => execFileSync(argv[0]!, argv.slice(1))

let images: Images
let before: ImageVersion
let after: ImageVersion
const progress = startWorkProgress({ emit: () => {}, kind: 'squash' })
const squash = (version: ImageVersion) =>
  squashVersion({
    images,
    version,
    progress,
    signal: new AbortController().signal,
    now: new Date(1_800_000_000_000),
  })
const manifestOf = (version: ImageVersion) =>
  zstdDecompressSync(readFileSync(images.blobPath(version.manifest.digest)))
    .toString('latin1')
    .split('\n')
    .filter(Boolean)
    .map(parseManifestLine)

beforeAll(async () => {
  images = await openImages(join(dir, 'images'))
  file('etc/passwd', 'root')
  file('etc/gone', 'x')
  file('usr/tool', Buffer.alloc(9_000_000, 'words of many kinds '))
  linkSync(join(tree, 'usr/tool'), join(tree, 'usr/tool-too'))
  linkSync(join(tree, 'usr/tool'), join(tree, 'usr/tool-three'))
  file('usr/whole/a', 'a')
  file('usr/whole/b', 'b')
  file(`usr/${'long-'.repeat(40)}`, 'long')
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/usr/`), Buffer.from('\xff\n', 'latin1')]), 'odd')
  symlinkSync('tool', join(tree, 'usr/link'))
  run('truncate', '-s', '5000000', join(tree, 'usr/sparse'))
  run(
    'dd',
    'if=/dev/urandom',
    `of=${tree}/usr/sparse`,
    'bs=4096',
    'count=1',
    'seek=500',
    'conv=notrunc',
    'status=none',
  )
  run('setfattr', '-n', 'user.x', '-v', 'y', join(tree, 'etc/passwd'))
  run('mkfifo', join(tree, 'usr/pipe'))
  run('mknod', join(tree, 'usr/null'), 'c', '1', '3')
  chmodSync(join(tree, 'usr/tool'), 0o4755)
  mkdirSync(join(tree, 'usr/zone/none'), { recursive: true })
  run('touch', '-d', '@1600000000.5', join(tree, 'usr/zone'))
  const first = tarOf(tree)
  // The first name of the group goes, a directory becomes a file, another is emptied; the rest is changed and new.
  const delta = join(dir, 'delta')
  mkdirSync(join(delta, 'etc'), { recursive: true })
  mkdirSync(join(delta, 'usr/whole'), { recursive: true })
  writeFileSync(join(delta, 'etc/.wh.gone'), '')
  writeFileSync(join(delta, 'etc/passwd'), 'root and more')
  writeFileSync(join(delta, 'usr/.wh.tool'), '')
  writeFileSync(join(delta, 'usr/whole/.wh..wh..opq'), '')
  writeFileSync(join(delta, 'usr/whole/new'), 'new')
  run(
    'touch',
    '-d',
    '@1700000000.123456789',
    join(delta, 'etc'),
    join(delta, 'usr'),
    join(delta, 'usr/whole'),
  )
  // A folder of which alone something is new: laid down after the one that it lies in it would change the time of that.
  chmodSync(join(tree, 'usr/zone/none'), 0o711)
  const folder = run('tar', '-C', tree, '-cf', '-', ...tarFlags, '--no-recursion', './usr/zone/none')
  before = await publishLayers(images, [first, tarOf(delta), folder])
  after = await squash(before)
  // The same by hand, in the file system.
  unlinkSync(join(tree, 'etc/gone'))
  unlinkSync(join(tree, 'usr/tool'))
  rmSync(join(tree, 'usr/whole'), { recursive: true })
  run('cp', '-a', join(delta, 'usr/whole'), join(tree, 'usr/whole'))
  unlinkSync(join(tree, 'usr/whole/.wh..wh..opq'))
  run('rm', join(tree, 'etc/passwd')) // else its attribute would stay
  run('cp', '-a', join(delta, 'etc/passwd'), join(tree, 'etc/passwd'))
  for (const each of ['etc', 'usr', 'usr/whole', '.']) run('touch', '-r', join(delta, each), join(tree, each))
})

describe('squashed', () => {
  test('it is the next version, with the same tree in layers that do not overlap', async () => {
    expect(after).toMatchObject({ name: 'img', version: 2, origin: 'squash of img:1', source: 'golden' })
    expect(after.kernel).toEqual(before.kernel)
    expect(after.layers.map((layer) => layer.directories)).toEqual([false, true])
    expect(await images.verify(after)).toEqual([])
    const out = join(dir, 'out')
    unpack(images, after, out)
    expect(listing(out)).toBe(listing(tree))
    expect(contents(out)).toBe(contents(tree))
    expect(
      run('find', out, '-samefile', join(out, 'usr/tool-too')).toString().split('\n').filter(Boolean),
    ).toHaveLength(2)
  })

  test('its manifest knows what the old one knew, and where each member is now', () => {
    const [old, fresh] = [manifestOf(before), manifestOf(after)]
    const known = ({ layer: _, offset: __, ...facts }: (typeof old)[number]) => facts
    expect(fresh.map(known)).toEqual(old.map(known))
    expect(fresh.find(({ path }) => path === 'usr/tool-too')!.inode).toMatch(/^\d+$/)
    for (const [i, { entryCount }] of after.layers.entries())
      expect(fresh.filter(({ layer }) => layer === i)).toHaveLength(entryCount)
  })

  test('nothing differs from what it was; from the first layer alone all of the change', async () => {
    const lines: string[] = []
    const outlet = { write: async (chunk: string | Uint8Array) => void lines.push(String(chunk)) } as never
    expect(await diffVersions(images, [before, after], outlet)).toBe(0)
    expect(await squash(after)).toMatchObject({ version: 3 })
  })

  test('a version whose manifest says otherwise is refused', async () => {
    const lie = await publishLayers(images, [tarOf(join(dir, 'delta', 'etc'))], {
      more: { manifest: before.manifest },
    })
    await expect(squash(lie)).rejects.toThrow(/manifest and the layers do not agree/)
    const damaged = await publishLayers(images, [tarOf(join(dir, 'delta', 'usr'))])
    const path = images.blobPath(damaged.layers[0]!.digest)
    const bytes = readFileSync(path)
    bytes[bytes.length >> 1]! ^= 1
    writeFileSync(path, bytes)
    await expect(squash(damaged)).rejects.toThrow(/damaged|zstd|checksum|Corrupt/i)
  })
})

test('a tree of more files than a function takes arguments', async () => {
  const one = renderTarHeader({ path: 'srv', type: 'directory', mode: 0o755 })
  const files = Array.from({ length: 130_000 }, (_, i) =>
    renderTarHeader({ path: `srv/${i}`, type: 'file', mode: 0o644 }),
  )
  const version = await publishLayers(images, [Buffer.concat([one, ...files, tarEnd()])], {
    name: 'many' as ImageName,
  })
  const few = await squash(version)
  expect(few.layers.reduce((sum, layer) => sum + layer.entryCount, 0)).toBe(130_001)
  expect(manifestOf(few).map(({ path }) => path)).toHaveLength(130_001)
})

import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { contentHash } from '../../src/image/content-hash.ts'
import type { TarEntry } from '../../src/image/tar.ts'
import { nanoseconds, parsePax, readTar } from '../../src/image/tar.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-tar-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const flags =
  '--format=posix --pax-option=delete=atime --xattrs --xattrs-include=* --acls --sparse --numeric-owner'
/** What GNU tar makes of a tree, with one block a record: less padding to cut through. */
const tar = (root: string, ...more: string[]): Buffer =>
  execFileSync(
    'tar',
    ['-C', root, '-b', '1', '-cf', '-', ...(more.length > 0 ? more : flags.split(' ')), '--sort=name', '.'],
    {
      maxBuffer: 1 << 28,
      env: { ...process.env, LC_ALL: 'C' },
    },
  )

const tree = join(dir, 'tree')
mkdirSync(join(tree, 'd'), { recursive: true })
writeFileSync(join(tree, 'd/a'), 'content of a')
linkSync(join(tree, 'd/a'), join(tree, 'd/b'))
symlinkSync('d/a', join(tree, 'link'))
writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from('\xff\n\t', 'latin1')]), 'x')
writeFileSync(join(tree, 'l'.repeat(180)), 'long')
execFileSync('mknod', [join(tree, 'null'), 'c', '1', '3'])
execFileSync('mkfifo', [join(tree, 'pipe')])
execFileSync('truncate', ['-s', '70000', join(tree, 'sparse')])
execFileSync('dd', [
  'if=/dev/zero',
  `of=${tree}/sparse`,
  'bs=1',
  'seek=40960',
  'count=3',
  'conv=notrunc',
  'status=none',
])
execFileSync('chown', ['70000:3000000', join(tree, 'sparse')])
execFileSync('touch', ['-d', '2001-02-03 04:05:06.123456789Z', join(tree, 'd/a')])
const archive = tar(tree)

type Seen = TarEntry & { content: string; sha256: string | undefined }
function read(bytes: Buffer, chunkSizes: number[] = [bytes.length]): Seen[] {
  const seen: Seen[] = []
  let parts: Buffer[] = []
  let hash: ReturnType<typeof contentHash>
  const reader = readTar({
    entry: (entry) => {
      parts = []
      hash = contentHash(entry)
    },
    data: (_, chunk) => {
      parts.push(Buffer.from(chunk))
      hash.update(chunk)
    },
    done: (entry) =>
      seen.push({ ...entry, content: Buffer.concat(parts).toString('latin1'), sha256: hash.digest() }),
  })
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = chunkSizes[i % chunkSizes.length]!
    reader.push(bytes.subarray(at, at + size))
    at += size
  }
  reader.end()
  return seen
}

describe('an archive by GNU tar', () => {
  const entries = read(archive)
  const entry = (path: string) => entries.find((e) => e.facts.path === path)!

  test('every kind of file with its facts', () => {
    expect(entries.map((e) => [e.facts.type, e.facts.path])).toEqual([
      ['d', '.'],
      ['d', 'd'],
      ['f', 'd/a'],
      ['f', 'd/b'],
      ['l', 'link'],
      ['f', 'l'.repeat(180)],
      ['c', 'null'],
      ['p', 'pipe'],
      ['f', 'sparse'],
      ['f', '\xff\n\t'],
    ])
    expect(entry('d').facts).not.toHaveProperty('mtimeNs')
    expect(entry('d/a')).toMatchObject({
      content: 'content of a',
      facts: { mtimeNs: '981173106123456789', size: 12 },
    })
    expect(entry('d/b').hardLinkTo).toBe('d/a')
    expect(entry('link').facts).toMatchObject({ target: 'd/a', size: 3 })
    expect(entry('null').facts).toMatchObject({ rdev: '1:3', size: 0 })
    expect(entry('sparse').facts).toMatchObject({ size: 70000, uid: 70000, gid: 3000000 })
    expect(entry('d/a').ctimeNs).toMatch(/^\d{19}$/)
  })

  test('a sparse file has the digest that sha256sum gives', () => {
    const expected = execFileSync('sha256sum', [join(tree, 'sparse')])
      .toString()
      .slice(0, 64)
    expect(entry('sparse')).toMatchObject({ sha256: expected, storedBytes: expect.any(Number) })
    expect(entry('sparse').extents!.length).toBeGreaterThan(0)
    expect(entry('sparse').storedBytes).toBeLessThan(10_000)
  })

  test('an offset is where the member can be read alone', () => {
    const at = entry('sparse').offset
    expect(read(archive.subarray(at))[0]!.facts).toEqual(entry('sparse').facts)
  })

  test('the size of the pieces does not matter', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 20 }), (sizes) => {
        expect(read(archive, sizes)).toEqual(entries)
      }),
      { numRuns: 30 },
    )
  })

  test('cut short anywhere before its end mark, it throws WireError, nothing else', () => {
    const mark = archive.length - 1024 // two blocks of zeros; one is enough to know the end
    for (let length = 0; length <= archive.length; length++) {
      let error: unknown
      try {
        read(archive.subarray(0, length), [4096])
      } catch (caught) {
        error = caught
      }
      if (length < mark + 512) expect(error, `at ${length}`).toBeInstanceOf(WireError)
      else if (error !== undefined) expect(error, `at ${length}`).toBeInstanceOf(WireError)
    }
  })

  test('with any bytes changed, it parses or throws WireError, nothing else', () => {
    const change = fc.tuple(fc.integer({ min: 0, max: archive.length - 1 }), fc.integer({ min: 0, max: 255 }))
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const bytes = Buffer.from(archive)
        for (const [at, value] of changes) bytes[at] = value
        expectParsesOrWireError(bytes)
      }),
      { numRuns: 500 },
    )
  })

  test("GNU tar's own format with its long names is read too", () => {
    const gnu = read(tar(tree, '--format=gnu', '--numeric-owner'))
    expect(gnu.map((e) => e.facts.path)).toEqual(entries.map((e) => e.facts.path))
  })
})

test('a pax value holds any byte, and records out of shape throw WireError', () => {
  expect(parsePax(Buffer.from('25 SCHILY.xattr.user.a=b\n'))).toEqual(new Map([['SCHILY.xattr.user.a', 'b']]))
  expect(parsePax(Buffer.from('13 key=a\n=\0b\n12 path=a/b\n', 'latin1'))).toEqual(
    new Map([
      ['key', 'a\n=\0b'],
      ['path', 'a/b'],
    ]),
  )
  for (const wrong of [
    '9 a=b\n',
    '6 a=b',
    '99 a=b\n',
    '0 a=b\n',
    '-1 a=b\n',
    '6 abc\n',
    ' 6 a=b\n',
    '6a=b\n',
    'x',
  ])
    expect(() => parsePax(Buffer.from(wrong)), wrong).toThrow(WireError)
})

test('paths that would leave the root are refused', () => {
  for (const name of ['/etc/passwd', '../x', 'a/../../x', 'a//b', './/../x']) {
    const bytes = Buffer.from(archive.subarray(entryOffsetOf('pipe')))
    const forged = forge(bytes, name)
    expect(() => read(forged), name).toThrow(/not a plain relative path/)
  }
})

test('times in nanoseconds, before 1970 too', () => {
  expect(nanoseconds('1700000000')).toBe('1700000000000000000')
  expect(nanoseconds('1.5')).toBe('1500000000')
  expect(nanoseconds('-0.25')).toBe('-250000000')
  expect(nanoseconds('1.1234567899')).toBe('1123456789')
  expect(() => nanoseconds('1e9')).toThrow(WireError)
})

const entryOffsetOf = (path: string) => read(archive).find((e) => e.facts.path === path)!.offset

/** The first member of an archive under another name, its pax header left out. */
function forge(bytes: Buffer, name: string): Buffer {
  const header = Buffer.from(bytes.subarray(1024, 1536))
  header.fill(0, 0, 100)
  header.write(name, 0, 'latin1')
  header.fill(0x20, 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return Buffer.concat([header, Buffer.alloc(1024)])
}

function expectParsesOrWireError(bytes: Buffer) {
  try {
    read(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(WireError)
  }
}

// Overrides as they are packed for a node: real folders, real tar and zstd.
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openOverrides } from '../../services/deploy/overrides.ts'
import type { ImageName, NodeName } from '../../src/address.ts'
import type { Group } from '../../src/node/group.ts'
import { noNode } from '../../src/node/group.ts'

const img = 'img' as ImageName
const n1 = { ...noNode, name: 'n1' as NodeName, groups: ['compute'] }

async function setUp(groups: Group[] = []) {
  const top = mkdtempSync(join(tmpdir(), 'sysclone-overrides-'))
  onTestFinished(() => rmSync(top, { recursive: true }))
  const [folder, packed] = [join(top, 'overrides'), join(top, 'packed')]
  const blobs = join(packed, 'blobs/sha256')
  const world = { time: Date.now() }
  const open = () =>
    openOverrides({
      folder,
      packed,
      groups: { list: async () => groups },
      now: () => world.time,
      mostBytes: 1e6,
    })
  const overrides = await open()
  function write(path: string, text: string) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const blobOf = (digest: string) => join(blobs, digest.slice(7))
  const namesIn = (digest: string) =>
    execFileSync('tar', ['--zstd', '-tf', blobOf(digest)], { encoding: 'utf8' })
      .trim()
      .split('\n')
  return { top, folder, packed, blobs, world, open, overrides, write, blobOf, namesIn }
}

test('what is there is packed, in the order in which it is laid', async () => {
  const { overrides, write, blobOf, namesIn, packed } = await setUp([
    { name: 'compute', overrides: ['ntp', 'img', 'dns'] },
  ])
  for (const name of ['n1', 'all', 'ntp', 'dns', 'img', 'n2']) write(`${name}/etc/of-${name}`, name)
  await overrides.check(n1, img)
  const laid = await overrides.pack(n1, img)
  // The group names that of the image too: there it counts more.
  expect(laid.map(({ name }) => name)).toEqual(['all', 'dns', 'img', 'ntp', 'n1'])
  for (const { name, digest, bytes } of laid) {
    expect(namesIn(digest)).toEqual(['./', './etc/', `./etc/of-${name}`])
    expect(statSync(blobOf(digest)).size).toBe(bytes)
    expect(execFileSync('sha256sum', [blobOf(digest)], { encoding: 'utf8' })).toContain(digest.slice(7))
  }
  expect(statSync(packed).mode & 0o777).toBe(0o700)
})

test('nobody made any: nothing is laid', async () => {
  const { overrides } = await setUp()
  await overrides.check(n1, img)
  expect(await overrides.pack(n1, img)).toEqual([])
})

test('one that a group asks for must be there, and be a folder', async () => {
  const { overrides, folder } = await setUp([{ name: 'compute', overrides: ['ntp'] }])
  const missing = `n1: an override is missing (ntp of group compute; allowed: the folder ${folder}/ntp)`
  await expect(overrides.check(n1, img)).rejects.toThrow(missing)
  writeFileSync(join(folder, 'ntp'), '')
  await expect(overrides.pack(n1, img)).rejects.toThrow('n1: an override is missing')
})

test('a tree is packed again when something in it changed, and only then', async () => {
  const { overrides, write, world, open, blobs, top } = await setUp()
  write('all/etc/motd', 'one')
  const digest = async (from = overrides) => (await from.pack(n1, img))[0]!.digest
  const first = await digest()
  expect(await Promise.all([digest(), digest(), digest()])).toEqual([first, first, first])
  write('all/etc/motd', 'two') // of the same length
  expect(await digest()).toBe(first) // looked at a moment ago
  world.time += 3000
  const second = await digest()
  expect(second).not.toBe(first)
  world.time += 3000
  expect(await digest()).toBe(second)
  expect(readdirSync(blobs).length).toBe(2) // who has the first one's digest still gets it
  expect(await digest(await open())).toBe(second) // as after a restart: the same tree, the same bytes
  expect(readdirSync(join(top, 'packed/staging'))).toEqual([])
})

test('what no install can want any more is forgotten', async () => {
  const { overrides, write, world, blobOf } = await setUp()
  write('all/x', '1')
  write('n1/y', '1')
  const [all, own] = await overrides.pack(n1, img)
  const old = new Date(world.time - 25 * 3600_000)
  utimesSync(blobOf(all!.digest), old, old)
  utimesSync(blobOf(own!.digest), old, old)
  world.time += 3000
  write('n1/y', '2')
  const [still, anew] = await overrides.pack(n1, img)
  expect(still).toEqual(all) // it was asked for just now
  expect([all, own, anew].map((each) => existsSync(blobOf(each!.digest)))).toEqual([true, false, true])
})

test('a blob that is gone is made again', async () => {
  const { overrides, write, world, blobOf } = await setUp()
  write('all/x', '1')
  const [all] = await overrides.pack(n1, img)
  rmSync(blobOf(all!.digest))
  world.time += 3000
  expect(await overrides.pack(n1, img)).toEqual([all])
  expect(existsSync(blobOf(all!.digest))).toBe(true)
})

test('what can not be packed is named, and leaves nothing', async () => {
  const { overrides, write, folder, top, blobs } = await setUp()
  write('all/x', '1')
  execFileSync('truncate', ['-s', '2M', join(folder, 'all/large')])
  await expect(overrides.pack(n1, img)).rejects.toThrow(
    /^the override is too large \(.*overrides\/all; allowed: /,
  )
  expect([readdirSync(join(top, 'packed/staging')), readdirSync(blobs)]).toEqual([[], []])
})

// The real builds, from the packages of this machine, into folders of this test.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Bootfiles, bootfilePath, buildBootfiles, loadBootfiles } from '../../services/loaders/build.ts'

const work = mkdtempSync(join(tmpdir(), 'sysclone-bootfiles-'))
const stateDir = join(work, 'state')
const cacheDir = join(work, 'cache')
afterAll(() => rmSync(work, { recursive: true }))

let built: Bootfiles
beforeAll(async () => {
  // Two at once: one builds, the other waits and takes what it finds.
  const both = ['state', 'other'].map((s) =>
    buildBootfiles({ stateDir: join(work, s), cacheDir, arch: 'x86_64' }),
  )
  const [first, second] = await Promise.all(both)
  expect(second).toEqual(first)
  built = first!
}, 120_000)

test('the index names what is there', async () => {
  expect(Object.keys(built.loaders)).toEqual(['boot/grub/x86_64-efi/core.efi', 'boot/grub/i386-pc/core.0'])
  for (const ref of [built.ramdisk, ...Object.values(built.loaders)])
    expect(statSync(bootfilePath(stateDir, ref.digest)).size).toBe(ref.bytes)
  expect(await loadBootfiles(stateDir, 'x86_64')).toEqual(built)
  expect(readdirSync(cacheDir).filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('a second time takes from the cache', async () => {
  const before = readdirSync(cacheDir).map((name) => statSync(join(cacheDir, name)).mtimeMs)
  expect(await buildBootfiles({ stateDir, cacheDir, arch: 'x86_64' })).toEqual(built)
  expect(readdirSync(cacheDir).map((name) => statSync(join(cacheDir, name)).mtimeMs)).toEqual(before)
})

test('the same packages give the same bytes', () => {
  const again = join(work, 'again.img')
  execFileSync('sh', [join(import.meta.dirname, '../../bootfiles/ramdisk/build.sh'), again])
  expect(readFileSync(again).equals(readFileSync(bootfilePath(stateDir, built.ramdisk.digest)))).toBe(true)
}, 120_000)

test('the ramdisk is small enough for GRUB, and every program in it finds its libraries', () => {
  expect(built.ramdisk.bytes).toBeLessThan(14e6)
  const root = join(work, 'root')
  mkdirSync(root)
  const image = bootfilePath(stateDir, built.ramdisk.digest)
  execFileSync('sh', ['-c', 'gzip -dc "$1" | cpio -i --quiet --no-preserve-owner', 'sh', image], {
    cwd: root,
  })
  expect(statSync(join(root, 'init')).mode & 0o777).toBe(0o755)
  const versions: [string, string][] = [
    ['curl', '--version'],
    ['kmod', '--version'],
    ['mke2fs', '-V'],
    ['mkfs.vfat', '--help'],
    ['mkswap', '--version'],
    ['sfdisk', '--version'],
    ['sha256sum', '--version'],
    ['tar', '--version'],
    ['wipefs', '--version'],
    ['zstd', '--version'],
  ]
  for (const [tool, flag] of versions) {
    const { status, stderr } = inside(root, `/usr/sbin/${tool} ${flag}`)
    expect({ tool, status, stderr: stderr.match(/error while loading.*/)?.[0] }).toEqual({
      tool,
      status: 0,
      stderr: undefined,
    })
  }
  expect(inside(root, '/usr/sbin/tar --help').stdout).toMatch(/--xattrs/)
  expect(inside(root, 'udhcpc --help; ip; date -u').stderr).toMatch(/Usage: udhcpc/)
})

/** In a name space of its own, so that the test needs no root to change its root. */
const inside = (root: string, script: string) =>
  spawnSync('unshare', ['--map-root-user', 'chroot', root, '/bin/sh', '-c', script], { encoding: 'utf8' })

test('missing and damaged files are named, with the cure', async () => {
  await expect(loadBootfiles(join(work, 'nowhere'), 'x86_64')).rejects.toThrow(
    /no boot files .*run: sysclone bootfiles build/,
  )
  const core = bootfilePath(stateDir, built.loaders['boot/grub/i386-pc/core.0']!.digest)
  const whole = readFileSync(core)
  writeFileSync(core, whole.subarray(1))
  await expect(loadBootfiles(stateDir, 'x86_64')).rejects.toThrow(/damaged .*not what its name says/)
  rmSync(core)
  await expect(loadBootfiles(stateDir, 'x86_64')).rejects.toThrow(/is missing/)
  writeFileSync(
    join(stateDir, 'bootfiles/x86_64.json'),
    '{"ramdisk":{"digest":"../../etc/passwd","bytes":1}}',
  )
  await expect(loadBootfiles(stateDir, 'x86_64')).rejects.toThrow(/damaged .*not a digest/)
  expect(await buildBootfiles({ stateDir, cacheDir, arch: 'x86_64' })).toEqual(built)
  expect(await loadBootfiles(stateDir, 'x86_64')).toEqual(built)
})

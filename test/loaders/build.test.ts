// The real builds, from the packages of this machine, into folders of this test.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bootfilePath } from '../../services/loaders/blobs.ts'
import { type Built, buildBootfiles, loadBootfiles } from '../../services/loaders/build.ts'
import { checkOwnLoaders, keepOwnLoaders } from '../../services/loaders/own.ts'
import { loaderFiles } from '../../src/boot/loaders.ts'
import type { BlobRef } from '../../src/image/version.ts'

const work = mkdtempSync(join(tmpdir(), 'sysclone-bootfiles-'))
const stateDir = join(work, 'state')
const cacheDir = join(work, 'cache')
afterAll(() => rmSync(work, { recursive: true }))

// Fetched packages come from the machine's own cache: a second run of the tests needs no network.
const machineCache = process.env.SYSCLONE_CACHE || '/var/cache/sysclone'
const foreign = {} as Record<'aarch64' | 'ppc64le', Built>
let built: Built & { ramdisk: BlobRef }
beforeAll(async () => {
  for (const arch of ['aarch64', 'ppc64le'] as const)
    foreign[arch] = await buildBootfiles({ stateDir, cacheDir: machineCache, arch })
  await buildBootfiles({ stateDir: join(work, 'third'), cacheDir: machineCache, arch: 'x86_64' })
  for (const name of readdirSync(machineCache).filter((each) => each.startsWith('loader-packages-x86_64-')))
    cpSync(join(machineCache, name), join(cacheDir, name), { recursive: true, verbatimSymlinks: true })
  // Two at once: one builds, the other waits and takes what it finds.
  const both = ['state', 'other'].map((s) =>
    buildBootfiles({ stateDir: join(work, s), cacheDir, arch: 'x86_64' }),
  )
  const [first, second] = await Promise.all(both)
  expect(second).toEqual(first)
  built = first as typeof built
}, 900_000) // the first time packages are fetched

test('the index names what is there', async () => {
  expect(Object.keys(built.loaders)).toEqual(Object.keys(loaderFiles.x86_64))
  for (const ref of [built.ramdisk, ...Object.values(built.loaders)])
    expect(statSync(bootfilePath(stateDir, ref.digest)).size).toBe(ref.bytes)
  expect(await loadBootfiles(stateDir)).toEqual({
    ramdisks: { x86_64: built.ramdisk },
    loaders: { ...built.loaders, ...foreign.aarch64.loaders, ...foreign.ppc64le.loaders },
  })
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
  await expect(loadBootfiles(join(work, 'nowhere'))).rejects.toThrow(
    /no boot files .*run: sysclone bootfiles build/,
  )
  const core = bootfilePath(stateDir, built.loaders['boot/grub/i386-pc/core.0']!.digest)
  const whole = readFileSync(core)
  writeFileSync(core, whole.subarray(1))
  await expect(loadBootfiles(stateDir)).rejects.toThrow(/damaged .*not what its name says/)
  rmSync(core)
  await expect(loadBootfiles(stateDir)).rejects.toThrow(/is missing/)
  writeFileSync(
    join(stateDir, 'bootfiles/x86_64.json'),
    '{"ramdisk":{"digest":"../../etc/passwd","bytes":1}}',
  )
  await expect(loadBootfiles(stateDir)).rejects.toThrow(/damaged .*not a digest/)
  expect(await buildBootfiles({ stateDir, cacheDir, arch: 'x86_64' })).toEqual(built)
  expect((await loadBootfiles(stateDir)).ramdisks.x86_64).toEqual(built.ramdisk)
})

// The machine that a program is for, as its own format says.
const formats: [name: string, form: RegExp | number][] = [
  ['boot/grub/i386-pc/core.0', /^\xb2\x7f\xea/], // how pxeboot.img begins
  ['boot/grub/x86_64-efi/core.efi', 0x8664],
  ['boot/shim/x86_64/shimx64.efi', 0x8664],
  ['boot/shim/x86_64/grubx64.efi', 0x8664],
  ['boot/shim/x86_64/mmx64.efi', 0x8664],
  ['boot/ipxe/snponly.efi', 0x8664],
  ['boot/ipxe/ipxe.efi', 0x8664],
  ['boot/grub/arm64-efi/core.efi', 0xaa64],
  ['boot/shim/aarch64/shimaa64.efi', 0xaa64],
  ['boot/shim/aarch64/grubaa64.efi', 0xaa64],
  ['boot/shim/aarch64/mmaa64.efi', 0xaa64],
  ['boot/ipxe/ipxe-arm64.efi', 0xaa64],
  ['boot/grub/powerpc-ieee1275/core.elf', /^\x7fELF\x01\x02\x01/], // 32 bits, big endian
]
const bytesOf = (name: string) => {
  const all: Record<string, BlobRef> = {
    ...built.loaders,
    ...foreign.aarch64.loaders,
    ...foreign.ppc64le.loaders,
  }
  return readFileSync(bootfilePath(stateDir, all[name]!.digest))
}
for (const [name, form] of formats)
  test(`${name} is for its machine`, () => {
    const bytes = bytesOf(name)
    if (typeof form !== 'number') return expect(bytes.toString('latin1', 0, 16)).toMatch(form)
    expect(bytes.readUInt16LE(bytes.readUInt32LE(60) + 4)).toBe(form)
  })

test('what Secure Boot checks is signed: each has a certificate table', () => {
  const tables = formats
    .filter(([name]) => name.includes('/shim/'))
    .map(([name]) => {
      const bytes = bytesOf(name)
      const optional = bytes.readUInt32LE(60) + 24 // PE32+: the fifth data directory, 112 + 4 * 8 after it
      return bytes.readUInt32LE(optional + 112 + 4 * 8 + 4)
    })
  expect(tables).toHaveLength(6)
  expect(Math.min(...tables)).toBeGreaterThan(1000)
})

test("ppc64le's GRUB is of a release whose network card works", () => {
  expect(bytesOf('boot/grub/powerpc-ieee1275/core.elf').toString('latin1')).toMatch(/2\.(1[4-9]|[2-9]\d)/)
})

test('without a mirror the server starts with what it has, and says what is lacking', async () => {
  const path = process.env.PATH
  const bin = join(work, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'apt-get'), '#!/bin/sh\necho no network >&2\nexit 100\n', { mode: 0o755 })
  process.env.PATH = `${bin}:${path}`
  try {
    const needs = { stateDir: join(work, 'lonely'), cacheDir: join(work, 'empty'), arch: 'x86_64' } as const
    await expect(buildBootfiles(needs)).rejects.toThrow(/no Debian mirror|no network/)
    const lonely = await buildBootfiles({ ...needs, fetch: 'try' })
    expect(lonely.lacking).toMatch(/no Debian mirror|no network/)
    const cores = ['boot/grub/i386-pc/core.0', 'boot/grub/x86_64-efi/core.efi']
    expect(Object.keys(lonely.loaders)).toEqual(cores)
    expect(Object.keys((await loadBootfiles(needs.stateDir)).loaders)).toEqual(cores)
    // What was fetched once stays.
    const kept = await buildBootfiles({ ...needs, stateDir: join(work, 'third'), fetch: 'try' })
    expect(Object.keys(kept.loaders).sort()).toEqual(Object.keys(loaderFiles.x86_64).sort())
  } finally {
    process.env.PATH = path
  }
}, 60_000)

test('own loaders are copied when the server starts, and only what can be one', async () => {
  const elilo = join(work, 'elilo.efi')
  cpSync(bootfilePath(stateDir, built.loaders['boot/ipxe/snponly.efi']!.digest), elilo)
  await keepOwnLoaders(stateDir, { elilo })
  const { digest } = (await loadBootfiles(stateDir)).loaders['elilo.efi']!
  rmSync(elilo)
  expect(readFileSync(bootfilePath(stateDir, digest)).length).toBeGreaterThan(100_000)
  const wrong: [string, string, RegExp][] = [
    [
      'elilo',
      bootfilePath(stateDir, foreign.aarch64.loaders['boot/ipxe/ipxe-arm64.efi']!.digest),
      /machine 0xaa64/,
    ],
    ['elilo', bootfilePath(stateDir, built.loaders['boot/ipxe/undionly.kpxe']!.digest), /not an EFI program/],
    ['pxelinux', join(work, 'nothing'), /loaders.pxelinux: not a loader .*ENOENT/],
    ['pxelinux', work, /EISDIR/],
  ]
  for (const [key, path, why] of wrong) await expect(checkOwnLoaders({ [key]: path })).rejects.toThrow(why)
  await keepOwnLoaders(stateDir, {}) // taken out of the configuration
  expect((await loadBootfiles(stateDir)).loaders['elilo.efi']).toBeUndefined()
})

// Work on images as a person does it: the command line, the server, its job processes, real archives.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { makeTree, shim, signedGrub } from '../capture/golden.ts'
import { tarOf } from '../images/layered.ts'
import { addresses, mac, openWorld, until, type World } from './world.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-images-'))
const at = (name: string) => join(dir, name)
const run = (...argv: string[]) => execFileSync(argv[0]!, argv.slice(1), { stdio: 'pipe' }).toString()
const main = join(import.meta.dirname, '../../services/cli/main.ts')
vi.setConfig({ testTimeout: 240_000 }) // a dozen processes each, on a machine that may be busy
let world: World

beforeAll(async () => {
  makeTree(at('tree'))
  run('cp', '/bin/true', at('tree/usr/bin/sh'))
  run('ln', '-s', 'usr/bin', at('tree/bin'))
  writeFileSync(at('root.tar'), tarOf(at('tree')))
  writeFileSync(at('tree/etc/motd'), 'second')
  run('chmod', '0600', at('tree/etc/fstab'))
  rmSync(at('tree/usr/share/empty'))
  run('sh', '-c', `tar -C ${at('tree')} --format=posix -cf - . | gzip > ${at('second.tar.gz')}`)
  writeFileSync(
    at('layout.yaml'),
    'disks:\n  - partitions:\n      - { type: bios-boot, size: 1 MiB }\n      - { type: linux, size: 4 GiB, filesystem: ext4, mountpoint: / }\n',
  )
  world = await openWorld()
  await world.start()
})
afterAll(async () => {
  await world?.close()
  rmSync(dir, { recursive: true, force: true })
})

const said = (...words: string[]) => {
  const { code, out, err } = world.sysclone(...words)
  return { code, out: out.trim(), err: err.trim() }
}
const blobs = (folder = join(world.stateDir, 'images')) => readdirSync(join(folder, 'blobs/sha256'))

test('imgimport, lsimage, diff and cat', () => {
  writeFileSync(
    at('bad.yaml'),
    'disks:\n  - partitions:\n      - { type: floppy, size: 1 MiB }\n      - { type: linux, mountpoint: / }\n',
  )
  const bad = said('imgimport', at('root.tar'), 'rt', '--layout', at('bad.yaml'))
  expect(bad.code).toBe(1)
  expect(bad.err.split('\n')).toEqual([
    expect.stringMatching(
      /bad.yaml:3: disks\[0\]\.partitions\[0\]\.type: not allowed \(floppy; allowed: bios-boot/,
    ),
    expect.stringMatching(/bad.yaml:4: disks\[0\]\.partitions\[1\]\.mountpoint: not without a filesystem/),
  ])
  const first = said('imgimport', at('root.tar'), 'rt', '--layout', at('layout.yaml'))
  expect([first.code, first.out.split('\n').at(-1)]).toEqual([0, `${at('root.tar')}: imported as rt:1`])
  expect(said('imgimport', at('second.tar.gz'), 'rt', '--layout', at('layout.yaml')).out).toMatch(
    /imported as rt:2$/,
  )
  expect(said('lsdef', '-t', 'osimage', 'rt', '-i', 'version,osarch').out).toContain('version=2')
  const rows = JSON.parse(said('lsimage', 'rt', '--json').out)
  expect(rows).toHaveLength(2)
  for (const row of rows) {
    expect(row.ownBytes + row.sharedBytes).toBe(row.bytes)
    expect(row.sharedBytes).toBeGreaterThan(0) // the kernel at least
  }
  const detail = said('lsimage', 'rt:2', '-l').out
  expect(detail).toMatch(/^Object name: rt:2\n/)
  expect(detail).toContain(`origin=import of ${at('second.tar.gz')}`)
  expect(detail).toContain('disks=/dev/sda gpt')
  const differences = said('diff', 'rt:1', 'rt:2')
  expect(differences.code).toBe(0)
  const lines = differences.out.split('\n')
  expect(lines).toContain('+ /etc/motd')
  expect(lines).toContain('- /usr/share/empty')
  expect(lines).toContain('~ /etc/fstab (mode)')
  expect(lines).toContain('~ /usr/share/noise (xattr)') // that archive has no attributes
  expect(JSON.parse(said('diff', 'rt:1', 'rt:2', '--json').out).map(({ path }: any) => path)).toEqual(
    lines.map((line) => /^. (\S+?)\/?( \(|$)/.exec(line)![1]),
  )
  expect(world.sysclone('cat', 'rt', '/etc/motd').out).toBe('second')
  expect(said('cat', 'rt', '/lib/os-release')).toMatchObject({
    code: 1,
    err: expect.stringContaining('a symbolic link; /lib -> usr/lib; /usr/lib/os-release'),
  })
  expect(said('cat', 'rt:9', '/etc/motd').err).toMatch(/no such version.*allowed: 1 2/)
})

test('cpimage, squash, imgexport and imgimport of the export', () => {
  expect(said('cpimage', 'rt:1', 'twin').out).toBe('rt:1: copied as twin:1')
  expect(said('cpimage', 'rt:1', 'rt', '--next').out).toBe('rt:1: copied as rt:3')
  expect(said('squash', 'rt:2').out).toMatch(/rt:2: squashed as rt:4$/)
  expect(said('diff', 'rt:2', 'rt:4').out).toBe('')
  expect(said('imgexport', 'rt:4', at('x.tar')).out).toMatch(/rt:4: exported to .*x\.tar, \d/)
  run(
    'sh',
    '-c',
    `SYSCLONE_SERVER=${world.socket} ${process.execPath} ${main} imgexport rt:4 - > ${at('y.tar')}`,
  )
  expect(readFileSync(at('y.tar')).equals(readFileSync(at('x.tar')))).toBe(true)
  expect(said('imgimport', at('x.tar'), 'back').out).toMatch(/imported as back:1$/)
  const digest = (name: string) => JSON.parse(said('lsimage', name, '--json').out)[0].digest
  expect(digest('back')).toBe(digest('rt:4'))
})

test('a place of its own: listed, served, checked, removed', () => {
  expect(said('imgimport', at('x.tar'), 'placed', '-l', at('place')).out).toMatch(/imported as placed:1$/)
  expect(JSON.parse(said('lsimage', 'placed', '--json').out)[0].place).toBe(at('place'))
  expect(said('lsdef', '-t', 'osimage', 'placed', '-i', 'rootimgdir').out).toContain(
    `rootimgdir=${at('place')}`,
  )
  said(
    'mkdef',
    '-t',
    'node',
    '-o',
    'secure',
    'mac=52:54:00:99:00:66',
    `ip=${addresses.thief}`,
    'netboot=shim',
  )
  expect(said('nodeset', 'secure', 'osimage=placed').code).toBe(0)
  const own = join(world.stateDir, 'images/blobs')
  run('mv', own, `${own}.away`) // only the place has it now
  try {
    for (const name of blobs(at('place'))) {
      const answer = world.curl(addresses.n1, `http://${addresses.server}:8081/blobs/sha256/${name}`, '-I')
      expect(answer.status).toBe(200)
    }
    const body = (path: string) => world.curl(addresses.thief, path).body
    const [kernel] = /blobs\/sha256\/[0-9a-f]{64}/.exec(body('/grub/grub.cfg-01-52:54:00:99:00:66'))!
    expect(body(`/${kernel}`)).toBe('kernel'.repeat(12_000).slice(0, 70_000))
    expect(body('/boot/signed/placed/1/shimx64.efi')).toBe(shim)
    expect(body('/boot/signed/placed/1/grubx64.efi')).toBe(signedGrub)
  } finally {
    run('mv', `${own}.away`, own)
  }
  said('nodeset', 'secure', 'boot')
  expect(world.curl(addresses.thief, '/boot/signed/placed/1/shimx64.efi').status).toBe(404)
  expect(said('rmdef', '-t', 'node', 'secure').code).toBe(0)
  expect(said('fsck').out).toMatch(/sound: \d+ blobs of 7 versions/)
  expect(said('rmimage', 'placed').out).toMatch(/^placed: removed/)
  expect(blobs(at('place'))).toEqual([])
})

test('rmimage is refused while somebody needs the version', async () => {
  said('mkdef', '-t', 'node', '-o', 'n1', `mac=${mac}`, `ip=${addresses.n1}`)
  said('chdef', '-t', 'node', '-o', 'n1', 'osimage=twin')
  expect(said('rmimage', 'twin')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/twin: the image is in use \(osimage of n1/),
  })
  said('chdef', '-t', 'node', '-o', 'n1', 'osimage=')
  const armed = said('nodeset', 'n1', 'osimage=rt:1')
  expect(armed.code).toBe(0)
  expect(said('rmimage', 'rt:1').err).toMatch(/n1 is armed with it/)
  expect(said('rmimage', 'rt:3', 'rt:9')).toMatchObject({
    code: 1,
    out: expect.stringMatching(/^rt:3: removed/),
    err: expect.stringMatching(/rt:9: no such version/),
  })
  said('nodeset', 'n1', 'boot')
  said('chdef', '-t', 'node', '-o', 'n1', 'osimage=')
  expect(said('rmimage', 'twin', 'back').code).toBe(0)
  expect(said('lsdef', '-t', 'osimage', 'twin', '-i', 'version').out).not.toContain('version=1')
  expect(said('imgimport', at('x.tar'), 'twin').out).toMatch(/imported as twin:2$/) // never 1 again
})

test('fsck names what is damaged, and exits with 1; gc removes what is left over', () => {
  writeFileSync(join(world.stateDir, 'images/blobs/sha256', 'e'.repeat(64)), 'orphan')
  expect(said('gc').out).toMatch(/^1 blobs/)
  const { layers } = JSON.parse(said('lsimage', 'rt:1', '-l', '--json').out)[0]
  const path = join(world.stateDir, 'images/blobs/sha256', layers[0].digest.slice(7))
  const bytes = readFileSync(path)
  bytes[1000]! ^= 1
  writeFileSync(path, bytes)
  const found = said('fsck', 'rt:1')
  expect(found.code).toBe(1)
  expect(found.err).toContain(`rt:1: blob is damaged (${layers[0].digest}: its content is`)
  expect(said('fsck', 'twin').code).toBe(0)
  const all = JSON.parse(world.sysclone('fsck', '--json').out)
  expect(all.damaged).toHaveLength(1)
  bytes[1000]! ^= 1
  writeFileSync(path, bytes)
  expect(said('fsck').code).toBe(0)
})

test('a job that is killed at any moment leaves all versions whole, and the next one works', async () => {
  const before = JSON.parse(said('lsimage', '--json').out)
  const moments: [number, string[]][] = [
    [300, ['imgimport', at('x.tar'), 'killed']],
    [200, ['squash', 'rt:2']],
    [0, ['gc']],
  ]
  for (const [wait, words] of moments) {
    const { ended } = world.spawnSysclone(...words)
    let pid: number | undefined
    await until('the job runs', () => {
      pid = world.pids('job')[0]
      return pid !== undefined
    })
    await new Promise((done) => setTimeout(done, wait))
    try {
      process.kill(pid!, 'SIGKILL')
    } catch {
      // it was quicker
    }
    await ended
  }
  const after = JSON.parse(said('lsimage', '--json').out)
  for (const each of before) expect(after.map(({ digest }: any) => digest)).toContain(each.digest)
  expect(said('fsck').code).toBe(0)
  expect(said('imgimport', at('x.tar'), 'killed').code).toBe(0)
  expect(said('gc').code).toBe(0)
  expect(readdirSync(join(world.stateDir, 'images/staging'))).toEqual([])
  expect(existsSync(join(world.stateDir, 'images/index.json.next'))).toBe(false)
  expect(statSync(join(world.stateDir, 'images')).mode & 0o777).toBe(0o700)
})

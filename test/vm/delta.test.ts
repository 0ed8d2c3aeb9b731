// A golden client in QEMU is looked at, captured, changed, and captured again while a command holds it still. The second
// version, carried to another place as an archive, is installed on a blank machine with Secure Boot by the image's own shim
// and GRUB: it is what the golden client is now.
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoSettings } from '../../services/cli/lab.ts'
import type { Lab } from '../../services/lab/lab.ts'
import { openLab } from '../../services/lab/lab.ts'
import { until } from '../../services/lab/site.ts'
import { buildLoaders } from './loaders.ts'

const abort = new AbortController()
const golden = { name: 'golden', mac: '52:54:00:77:00:0a', ip: '10.77.0.10' }
const clone = { name: 'n1', firmware: 'uefi-secure', mac: '52:54:00:77:00:12', ip: '10.77.0.12' } as const
const say = (line: string) => process.stderr.write(`  ${line}\n`)
const wait = { limitMs: 20 * 60_000, everyMs: 1000, signal: abort.signal }

// What the clone is asked as well: every kind of change lies below these two.
const tell = `cd /
find srv/delta usr/local/delta -printf '%p|%y|%m|%U|%G|%n|%l' \\( -type d -o -printf '|%s|%T@' \\) -printf '\\n' | sort
find srv/delta usr/local/delta -type d -printf '%p|%T@\\n' | sort
find srv/delta usr/local/delta -type f -exec sha256sum {} + | sort
find srv/delta usr/local/delta -type f -links +1 -printf '%i %p\\n' | sort | awk '!($1 in n) { n[$1] = ++k } { print n[$1], $2 }'
`
const prepare = `rm -rf /srv/delta /usr/local/delta; mkdir -p /srv/delta/folder/deep /usr/local/delta/was-folder; cd /srv/delta
for i in 1 2 3 4 5 6 7 8; do echo $i > f$i; done; ln f1 folder/f1-link; ln f1 f1-third; ln f2 f2-link
echo x > folder/deep/x; echo y > was-file; echo z > /usr/local/delta/was-folder/z; echo g > "trailing "; echo s > 'st*r'; sync
`
const change = `cd /srv/delta; sleep 2; echo changed > f3; chmod 4711 f4; chown 12:34 f5; touch -d '2001-02-03 04:05:06.5' f6; rm f7
rm folder/f1-link; ln f2 folder/f2-more; rm -r folder/deep; mkdir -p new/empty; rm was-file "trailing "; mkdir was-file; echo in > was-file/in
rm -r /usr/local/delta/was-folder; echo now > /usr/local/delta/was-folder; mv f8 renamed; chmod 711 folder; sync; sleep 2
`
let lab: Lab
let found: {
  check: string
  first: string
  second: string
  carried: string[]
  golden: string
  clone: string
  held: { golden: string; clone: string }
  secureBoot: string
  boots: string
  layers: { bytes: number; superseded?: object }[]
}

beforeAll(async () => {
  lab = await openLab({ ...demoSettings(), say, signal: abort.signal })
  const ssh = (machine: { name: string; ip: string }, script: string) =>
    until(`${machine.name} answers ssh`, wait, () => lab.ssh(machine.name, machine.ip, script))
  await buildLoaders(lab, ['x86_64'])
  await lab.startServer()
  const machine = await lab.goldenMachine(golden.mac)
  await lab.sysclone(
    'mkdef',
    '-t',
    'node',
    '-o',
    golden.name,
    `mac=${golden.mac}`,
    `ip=${golden.ip}`,
    `sshhostkey=${lab.golden.hostKey}`,
  )
  await machine.powerOn('disk')
  await ssh(golden, prepare)
  const capture = async (...more: string[]) =>
    (await lab.ask(['imgcapture', golden.name, '-o', 'img', ...more])).stdout
  const check = await capture('--check')
  const first = await capture()
  await ssh(golden, change)
  const second = await capture(...['--freeze', 'touch /srv/frozen', '--thaw', 'mv /srv/frozen /srv/thawed'])
  const held = await ssh(golden, 'ls /srv')
  const told = await ssh(golden, tell)
  await machine.powerOff()

  await lab.sysclone(
    'mkdef',
    '-t',
    'node',
    '-o',
    clone.name,
    `mac=${clone.mac}`,
    `ip=${clone.ip}`,
    'serialport=0',
    'serialspeed=115200',
    'netboot=shim',
  )
  const { stdout } = await lab.ask(['lsimage', 'img:2', '-l', '--json'])
  const carried = await carry('img:2', 'moved')
  await lab.sysclone('nodeset', clone.name, 'osimage=moved')
  const blank = await lab.machine({ ...clone, diskBytes: 4 * 1024 ** 3 })
  await blank.powerOn('network')
  await until('the clone has booted', wait, async () => {
    lab.check()
    const { stdout } = await lab.ask(['lsdef', clone.name, '-i', 'status'])
    if (/failed|held|expired/.test(stdout)) throw new Error(lab.lastSaidOf(clone.name))
    return /status=booted/.test(stdout) ? true : undefined
  })
  found = {
    ...{ check, first, second, carried, golden: told, clone: await ssh(clone, tell) },
    held: { golden: held, clone: await ssh(clone, 'ls /srv') },
    secureBoot: await ssh(clone, 'od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*; efibootmgr -v'),
    boots: await bootsOf(clone.name),
    layers: JSON.parse(stdout)[0].layers,
  }
})
/** What it got in each of its boots, the first one first. */
async function bootsOf(node: string): Promise<string> {
  const boots = []
  for (const number of ['-1', '-2', '-3']) boots.push(await lab.ask(['explain', node, '--boot', number]))
  return boots
    .filter(({ code }) => code === 0)
    .map(({ stdout }) => stdout)
    .reverse()
    .join('')
}
/** As an archive into another place; then it is gone from where it was. */
async function carry(version: string, name: string): Promise<string[]> {
  const archive = join(lab.work, 'carried.tar')
  await lab.sysclone('imgexport', version, archive)
  await lab.sysclone('imgimport', archive, name, '-l', join(lab.work, 'place'))
  const digest = async (image: string) =>
    JSON.parse((await lab.ask(['lsimage', image, '--json'])).stdout)[0].digest
  const digests = [await digest(version), await digest(name)]
  await lab.sysclone('rmimage', version.split(':')[0]!)
  return digests
}
afterAll(async () => {
  await lab?.close(found === undefined)
  abort.abort(new Error('the test run ended'))
})

test('the look at it names what would be left out, made anew and kept, and captures nothing', () => {
  expect(found.check).toMatch(/machine-id.*regenerate/)
  expect(found.check).toMatch(/ssh-host-keys.*regenerate/)
  expect(found.first).toContain('captured as img:1')
})

test('it was held still for the copy alone', () => {
  expect(found.held.golden.split('\n')).toEqual(expect.arrayContaining(['delta', 'thawed']))
  expect(found.held.clone).toBe(found.held.golden.replace('thawed', 'frozen'))
})

test('as an archive in another place it is the very same version', () => {
  expect(found.carried[0]).toMatch(/^sha256:/)
  expect(found.carried[1]).toBe(found.carried[0])
})

test('the clone was installed with Secure Boot on, by the shim and the GRUB of the image, and runs with it', () => {
  const at = ['shimx64.efi', 'grubx64.efi'].map((name) => found.boots.indexOf(`boot/signed/moved/1/${name}`))
  expect(at[0]).toBeGreaterThan(0)
  expect(at[1]).toBeGreaterThan(at[0]!)
  expect(found.secureBoot).toMatch(/^ +1\n/)
  expect(found.secureBoot).toMatch(/\\EFI\\debian\\shimx64\.efi/i)
})

test('the second version is the layers of the first and a small one', () => {
  expect(found.first).toContain('captured as img:1')
  expect(found.second).toContain('captured as img:2')
  const [added, ...older] = found.layers.toReversed()
  expect(older.length).toBeGreaterThanOrEqual(2)
  expect(added!.bytes).toBeLessThan(0.3 * Math.max(...older.map(({ bytes }) => bytes)))
  expect(older.some(({ superseded }) => superseded !== undefined)).toBe(true)
})

test('the clone of it is what the golden client is now', () => {
  expect(found.clone).toBe(found.golden)
  expect(found.clone).toContain('srv/delta/renamed|f|')
})

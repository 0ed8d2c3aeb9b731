import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { parseProbe } from '../../src/image/probe.ts'
import { probeAnswer, release } from '../capture/golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-probe-'))
mkdirSync(join(dir, 'etc'))
writeFileSync(
  join(dir, 'etc/os-release'),
  'ID="rocky"\nVERSION_ID="9.4"\nPRETTY_NAME="Rocky \\"Blue\\" 9.4"\n',
)
writeFileSync(
  join(dir, 'etc/fstab'),
  '# comment\nUUID=0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a / ext4 defaults 0 1\nUUID=7a4c-11d2 /boot/efi vfat noauto 0 2\n',
)
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const answer = (change: (value: any) => void = () => {}): string => {
  const value = JSON.parse(probeAnswer(dir))
  change(value)
  return JSON.stringify(value)
}

test('a hybrid disk: layout, what is mounted, what fstab alone knows', () => {
  const probe = parseProbe(answer())
  expect(probe).toMatchObject({
    mountpoints: ['/'],
    usedBytes: 812345344,
    swapFiles: ['var/swap file'],
    os: { id: 'rocky', version: '9.4', name: 'Rocky "Blue" 9.4' },
    kernelPath: `boot/vmlinuz-${release}`,
    loadedModules: ['snd', 'lpfc'],
    compress: true,
  })
  const [disk] = probe.layout.disks
  expect(disk).toMatchObject({ path: '/dev/vda', bytes: 3221225472, sectorBytes: 512, label: 'gpt' })
  expect(disk!.partitions.map((p) => [p.number, p.start, p.size, p.filesystem?.mountpoint])).toEqual([
    [1, 2048, 2048, undefined],
    [2, 4096, 131072, '/boot/efi'],
    [3, 135168, 6154240, '/'],
  ])
})

test('NVMe names have a p before the number', () => {
  const probe = parseProbe(
    answer()
      .replaceAll('/dev/vda', '/dev/nvme0n1')
      .replace(/nvme0n1(\d["[])/g, 'nvme0n1p$1'),
  )
  expect(probe.layout.disks[0]!.partitions.map((p) => p.number)).toEqual([1, 2, 3])
})

const mount = (target: string, source: string, fstype: string, fsroot = '/') => ({
  target,
  source,
  fstype,
  fsroot,
  used: 1,
})
const refused: [string, (value: any) => void, RegExp][] = [
  [
    'a root on a device that lsblk does not show',
    (v) => (v.findmnt.filesystems[1].source = '/dev/mapper/vg-root'),
    /ext4 from \/dev\/mapper\/vg-root at \/: this device is not to be seen/,
  ],
  [
    'a home on such a device',
    (v) => v.findmnt.filesystems.push(mount('/home', '/dev/mapper/vg-home', 'xfs')),
    /vg-home at \/home/,
  ],
  ['a login that is not root', (v) => (v.user = 1000), /uid 1000/],
  ['an old tar', (v) => (v.tar = Buffer.from('tar (GNU tar) 1.26\n').toString('base64')), /1\.29 or later/],
  ['busybox tar', (v) => (v.tar = ''), /1\.29 or later/],
  ['no kernel file', (v) => (v.kernel = ''), /vmlinuz-6\.1\.0-fixture/],
  ['another architecture', (v) => (v.arch = 'riscv64'), /riscv64/],
  ['a sun label', (v) => (v.sfdisk[0].partitiontable.label = 'sun'), /\/dev\/vda has a sun partition table/],
]
test.each(refused)('%s is refused by name', (_, change, message) => {
  expect(() => parseProbe(answer(change))).toThrow(message)
})

test('loop mounts and file systems of other kinds are left alone', () => {
  const more = [
    mount('/snap/x', '/dev/loop3', 'ext4'),
    mount('/net', 'host:/x', 'nfs4'),
    mount('/t', 'tmpfs', 'tmpfs'),
  ]
  expect(parseProbe(answer((v) => v.findmnt.filesystems.push(...more))).mountpoints).toEqual(['/'])
})

test('anything else than an answer throws WireError', () => {
  for (const text of [
    '',
    '{',
    '[]',
    '{}',
    'null',
    answer((v) => (v.release = '../../x')),
    answer((v) => (v.firmware = 'x')),
  ])
    expect(() => parseProbe(text)).toThrow(WireError)
})

test('probe.sh on this machine answers in that form', () => {
  const script = join(import.meta.dirname, '../../bootfiles/capture/probe.sh')
  const { stdout, stderr, status } = spawnSync('sh', [script], { input: '/\n', encoding: 'utf8' })
  expect([status, stderr]).toEqual([0, ''])
  const value = JSON.parse(stdout)
  expect(Object.keys(value).sort()).toEqual(Object.keys(JSON.parse(probeAnswer(dir))).sort())
  expect(Buffer.from(value.osRelease, 'base64').toString()).toBe(readFileSync('/etc/os-release', 'utf8'))
})

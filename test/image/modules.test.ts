import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { renderCpio } from '../../src/image/cpio.ts'
import { chooseModules } from '../../src/image/modules.ts'
import { parseReport } from '../../src/image/tar-report.ts'

const modulesDep = [
  'kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz',
  'kernel/net/core/failover.ko.xz:',
  'kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko',
  'kernel/lib/libcrc32c.ko:',
  'kernel/drivers/scsi/qla2xxx/qla2xxx.ko: kernel/drivers/scsi/scsi_transport_fc.ko',
  'kernel/drivers/scsi/scsi_transport_fc.ko:',
  'kernel/sound/soundcore.ko:',
  'updates/dkms/special-nic.ko:',
  '',
].join('\n')
const choose = (loaded: string[] = [], filesystems: string[] = []) =>
  chooseModules({ modulesDep, loaded, filesystems })

test('drivers with what they depend on; own ones of the golden client always', () => {
  expect(choose()).toEqual([
    'kernel/drivers/net/virtio_net.ko.xz',
    'kernel/drivers/scsi/scsi_transport_fc.ko',
    'kernel/net/core/failover.ko.xz',
    'updates/dkms/special-nic.ko',
  ])
})
test('a path that leads out of the folder of modules is refused: the server writes files of these names', () => {
  const rows = ['x/../../../../../etc/cron.d/evil: ', '/etc/evil.ko:', 'a.ko: ../evil.ko', 'a//b.ko:']
  for (const line of rows)
    expect(() => chooseModules({ modulesDep: `${line}\n`, loaded: [], filesystems: [] })).toThrow(WireError)
})
test('a file system that the layout has', () => {
  expect(choose([], ['xfs'])).toEqual(
    expect.arrayContaining(['kernel/fs/xfs/xfs.ko', 'kernel/lib/libcrc32c.ko']),
  )
})
test('a rare driver when it runs on the golden client, sound never', () => {
  const chosen = choose(['qla2xxx', 'soundcore'])
  expect(chosen).toContain('kernel/drivers/scsi/qla2xxx/qla2xxx.ko')
  expect(chosen).not.toContain('kernel/sound/soundcore.ko')
})

test('cpio unpacks an initramfs to the same files, and equal content gives equal bytes', () => {
  const files = [
    { path: 'lib/modules/x/b.ko', content: Buffer.from('bbb') },
    { path: 'lib/modules/x/a.ko', content: Buffer.alloc(1000, 'a') },
  ]
  const bytes = renderCpio(files)
  expect(renderCpio([...files].reverse()).equals(bytes)).toBe(true)
  const out = mkdtempSync(join(tmpdir(), 'sysclone-cpio-'))
  try {
    execFileSync('cpio', ['-id', '--quiet'], { cwd: out, input: bytes })
    for (const { path, content } of files) expect(readFileSync(join(out, path)).equals(content)).toBe(true)
    const listing = execFileSync('cpio', ['-itv', '--quiet'], { input: bytes }).toString()
    expect(
      listing
        .split('\n')
        .slice(0, 4)
        .map((line) => line.slice(0, 10)),
    ).toEqual(['drwxr-xr-x', 'drwxr-xr-x', 'drwxr-xr-x', '-rw-r--r--'])
  } finally {
    rmSync(out, { recursive: true })
  }
})

test.each([
  ['tar: ./a: Cannot stat: No such file or directory', { vanished: ['./a'] }],
  ['tar: a: File removed before we read it', { vanished: ['a'] }],
  ['tar: var/log/x: file changed as we read it', { changed: ['var/log/x'] }],
  ['tar: x: File shrank by 10 bytes; padding with zeros', { changed: ['x'] }],
  ['tar: Exiting with failure status due to previous errors', {}],
  ['sysclone: tar exit 2', { exit: 2 }],
  ["find: './x': No such file or directory", {}],
  ['tar: x: Read error at byte 0, while reading 512 bytes: Input/output error', 'fatal'],
  ['tar: x: Cannot open: Permission denied', 'fatal'],
  ["find: './x': Input/output error", 'fatal'],
  ['zstd: not found', 'fatal'],
])('%s', (line, expected) => {
  const fatal = expected === 'fatal' ? [line] : []
  const more = typeof expected === 'string' ? {} : expected
  expect(parseReport(`${line}\n`)).toEqual({ vanished: [], changed: [], fatal, ...more })
})

// What SystemImager leaves out of an image by default, and which part of ours leaves it out too. A mount point whose file
// system it does not know it leaves out as well: ours never walks into one, and says so (probe-disks.ts).
import { expect, test } from 'vitest'
import { makeExclude } from '../../src/image/excludes.ts'
import { contentOf, defaultRules, makeClassify, staysThere } from '../../src/image/scrub.ts'

const nfs = 'what a running NFS server knows of its clients'
type Case = [theirs: string, reason: string, left: string[], kept?: string[]]
// Their pattern; why ours leaves it out: the words of excludes.ts, or the name of a row of scrub.ts; paths of that kind;
// paths beside it that an image needs. A directory has a slash at its end.
const cases: Case[] = [
  ['/proc/*', 'made by the kernel', ['proc/1/status'], ['proc/']],
  ['/sys/*', 'made by the kernel', ['sys/fs'], ['sys/']],
  [
    '/selinux/*',
    'made by the kernel',
    ['selinux/enforce', 'selinux/booleans/'],
    ['selinux/', 'etc/selinux/config'],
  ],
  ['/dev/*', 'made by the kernel and udev', ['dev/null'], ['dev/']],
  ['/run/*', 'lives until the next boot', ['run/lock/x'], ['run/']],
  ['/tmp/*', 'temporary', ['tmp/a'], ['tmp/']],
  ['lost+found', 'made by mkfs', ['lost+found/', 'home/lost+found/'], ['srv/a/lost+found/']], // of file systems alone
  ['/media/*', 'media that were put in there', ['media/cdrom/', 'media/usb/a'], ['media/', 'srv/media/x']],
  [
    '/var/lib/nfs/*tab',
    nfs,
    ['etab', 'rmtab', 'xtab', '.etab.lock', 'export-lock'].map((name) => `var/lib/nfs/${name}`),
  ],
  [
    '/var/lib/nfs/state',
    nfs,
    ['var/lib/nfs/state', 'var/lib/nfs/statd/state'],
    ['var/lib/nfs/', 'var/lib/nfs/statd/'],
  ],
  [
    '/var/lib/nfs/sm/*',
    nfs,
    [
      'var/lib/nfs/sm/host',
      'var/lib/nfs/sm.bak/host',
      'var/lib/nfs/statd/sm/host',
      'var/lib/nfs/statd/sm.bak/host',
    ],
    ['var/lib/nfs/sm/', 'var/lib/nfs/sm.bak/', 'var/lib/nfs/statd/sm/', 'var/lib/nfs/statd/sm.bak/'],
  ],
  ['/var/lib/nfs/rpc_pipefs/*', nfs, ['var/lib/nfs/rpc_pipefs/nfs/'], ['var/lib/nfs/rpc_pipefs/']],
  [
    '(of newer NFS servers)',
    nfs,
    ['var/lib/nfs/v4recovery/x/', 'var/lib/nfs/nfsdcltrack/main.sqlite', 'var/lib/nfs/nfsdcld/main.sqlite'],
    ['var/lib/nfs/v4recovery/', 'var/lib/nfs/nfsdcltrack/', 'var/lib/nfs/nfsdcld/', 'etc/exports'],
  ],
  ['/etc/lvm/.cache', 'lvm-devices', ['etc/lvm/.cache', 'etc/lvm/cache/.cache'], ['etc/lvm/lvm.conf']],
  ['/etc/lvm/backup/*', 'lvm-devices', ['etc/lvm/backup/vg0'], ['etc/lvm/backup/', 'etc/lvm/profile/x']],
  ['/etc/lvm/archive/*', 'lvm-devices', ['etc/lvm/archive/vg0_1.vg'], ['etc/lvm/archive/']],
  [
    '/etc/udev/rules.d/70-persistent-net.rules',
    'persistent-net',
    [
      ...['70-persistent-net', 'z25_persistent-net', '30-net_persistent_names'],
      ...['70-persistent-cd', 'z25_persistent-cd', '70-persistent-ipoib'],
    ].map((name) => `etc/udev/rules.d/${name}.rules`),
    ['etc/udev/rules.d/60-persistent-storage.rules', 'usr/lib/udev/rules.d/70-persistent-net.rules'],
  ],
  ['/etc/iftab', 'persistent-net', ['etc/iftab'], ['srv/etc/iftab']],
  [
    '/etc/blkid.tab',
    'disk-caches',
    ['etc/blkid.tab', 'etc/blkid.tab.old', 'etc/blkid/blkid.tab'],
    ['etc/blkid/'],
  ],
]

test.each(cases)('%s: %s', (_theirs, reason, left, kept = []) => {
  const [isExcluded, classify] = [makeExclude(), makeClassify()]
  const isScrubbed = (file: { path: string; type: string }) =>
    classify(file).find((row) => contentOf(row) === undefined && staysThere(row, defaultRules[row]))
  const why = (name: string) => {
    const [path, type] = [name.replace(/\/$/, ''), name.endsWith('/') ? 'd' : 'f']
    return isScrubbed({ path, type }) ?? isExcluded(path, type)
  }
  expect(left.map((path) => [path, why(path)])).toEqual(left.map((path) => [path, reason]))
  expect(kept.map((path) => [path, why(path)])).toEqual(kept.map((path) => [path, undefined]))
})

test('a disk of its own below /media is taken back by a word of exclude=', () => {
  const why = makeExclude({ patterns: ['+ /media/data'] })
  expect([why('media/data', 'd'), why('media/data/x', 'f')]).toEqual([undefined, undefined])
  expect(why('media/usb', 'd')).toBeDefined()
})

test('what lies below /media stays out, but for a disk that is mounted there', () => {
  const why = makeExclude({ mounted: ['/', '/media/fast disk'] })
  const asked = [
    'media/usb',
    'media/usb/x',
    'media/fast disk',
    'media/fast disk/x',
    'media/fast disk 2',
    'media',
  ]
  expect(asked.filter((path) => why(path, 'd') === undefined)).toEqual([
    ...['media/fast disk', 'media/fast disk/x', 'media'],
  ])
})

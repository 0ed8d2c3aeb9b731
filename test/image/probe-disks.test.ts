// The disks of whole machines: their layouts, what is captured of them, what stays out and what is refused.
import { describe, expect, test } from 'vitest'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { notDeployable } from '../../src/image/disks.ts'
import { parseProbe } from '../../src/image/probe.ts'
import { base64, changedProbe, probeOf, textOf } from './probes.ts'

for (const name of ['lvm', 'md', 'luks', 'btrfs', 'refused'])
  test(`${name}: its layout is read as it was written`, () => {
    const { layout } = probeOf(name)
    expect(parseLayout(renderLayout(layout))).toEqual(layout)
  })

describe('a machine with LVM', () => {
  const { layout, mountpoints, staysOut, refusals, swapFiles, facts } = probeOf('lvm')

  test('what is captured, and what is not', () => {
    expect(mountpoints).toEqual(['/', '/boot', '/boot/efi', '/home', '/srv/with blank', '/var/lib/data'])
    expect(swapFiles).toEqual(['swapfile'])
    expect(layout.swapFiles).toEqual([{ path: '/swapfile', bytes: 16777216 }])
    expect(layout.fstab).toContain('# made by test/vm/storage\n')
    expect(refusals).toEqual([])
    expect(staysOut.map(({ what, why }) => `${what}: ${why}`)).toEqual(
      expect.arrayContaining([
        'ext2 on /dev/mapper/vg0-mirrored: it is not mounted: the clone gets an empty one',
        'vg0/later: a snapshot',
        'vg0/cached: it holds nothing that is known',
        '/dev/vdd: nothing of this system is on it',
      ]),
    )
    expect(notDeployable(layout)).toEqual(
      expect.arrayContaining([
        'LVM group vg0 (cache, linear, mirror, raid1, raid5, striped, thin, thin-pool)',
      ]),
    )
  })

  test('how it starts, and with which tools', () => {
    expect(facts).toMatchObject({
      hostname: 'storage',
      bootLoader: { kind: 'grub', files: ['EFI/debian/shimx64.efi'] },
      kernels: [{ kernel: expect.stringMatching(/^vmlinuz-6\.1\./) }],
      initramfs: { tools: ['/usr/sbin/update-initramfs'] },
      versions: { mdadm: expect.stringContaining('v4.2'), lvs: expect.stringContaining('2.03') },
    })
  })
})

test('what no clone can have is refused by name, before anything is copied', () => {
  expect(probeOf('refused').refusals).toEqual([expect.stringMatching(/^jfs on \/dev\/vda2 at \/jfs: /)])
  expect(() => parseProbe(textOf('refused'))).toThrow(/cannot be reproduced on a clone.*jfs on \/dev\/vda2/)
})

describe('changed answers', () => {
  const edited = (answer: any, key: string, from: string | RegExp, to: string) => {
    const text = Buffer.from(answer.said[key], 'base64').toString()
    expect(text).toMatch(from)
    answer.said[key] = base64(text.replace(from, to))
  }
  const rows: [string, string, (answer: any) => void, RegExp][] = [
    [
      'a group without one of its disks',
      'lvm',
      (a) => edited(a, 'vgs', '"vg_missing_pv_count":"0"', '"vg_missing_pv_count":"1"'),
      /vg0 lacks a physical volume/,
    ],
    ['a clustered group', 'lvm', (a) => edited(a, 'vgs', '"wz--n-"', '"wz--ns"'), /vg0 is shared/],
    [
      'LVM without its tools',
      'lvm',
      (a) => Object.assign(a.said, { lvs: '', vgs: '', pvs: '' }),
      /tools do not tell of \(install lvm2\)/,
    ],
    [
      'btrfs without its tools',
      'btrfs',
      (a) => delete a.said['btrfs default /dev/vda2'],
      /cannot be seen \(install btrfs-progs\)/,
    ],
    [
      'a RAID of the firmware',
      'md',
      (a) => {
        a.files['/sys/block/md0/md/metadata_version'] = base64('external:imsm')
      },
      /md0 is a RAID of the firmware/,
    ],
    [
      'multipath',
      'md',
      (a) => {
        a.lsblk = JSON.parse(JSON.stringify(a.lsblk).replaceAll('"type":"disk"', '"type":"mpath"'))
      },
      /is a multipath device/,
    ],
    [
      'ZFS',
      'md',
      (a) =>
        a.findmnt.filesystems.push({ target: '/tank', source: 'tank', fstype: 'zfs', fsroot: '/', used: 1 }),
      /zfs from tank at \/tank/,
    ],
    [
      'encryption without a header',
      'luks',
      (a) => {
        a.lsblk = JSON.parse(JSON.stringify(a.lsblk).replaceAll('crypto_LUKS', ''))
      },
      /encrypted without a LUKS header/,
    ],
  ]
  test.each(rows)('%s', (_, name, edit, expected) => {
    expect(changedProbe(name, edit).refusals.join('; ')).toMatch(expected)
  })
})

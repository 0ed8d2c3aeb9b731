// btrfs over two disks, with subvolumes.
import { expect, test } from 'vitest'
import { probeOf } from './probes.ts'

const { layout, mountpoints, staysOut, usedBytes } = probeOf('btrfs')
const { filesystem } = layout.disks[0]!.partitions[1]!

test('all that is to be seen is captured, also what no walk over one file system enters', () => {
  expect(mountpoints).toEqual(['/', '/boot/efi', '/home', '/srv/www', '/srv/www/deep', '/var/lib/machines'])
  expect(usedBytes).toBe(filesystem!.usedBytes)
  expect(staysOut.map(({ what, why }) => `${what}: ${why}`)).toEqual(
    expect.arrayContaining([
      'btrfs subvolume @old of /dev/vda2: it is mounted nowhere',
      'btrfs subvolume @/.snapshots/1 at /.snapshots/1: a read-only snapshot',
    ]),
  )
  expect(staysOut.filter(({ what }) => what.includes('/dev/vdb'))).toEqual([])
})

test('subvolumes, profiles, features and devices are known', () => {
  expect(filesystem).toMatchObject({
    ...{ type: 'btrfs', label: 'pool', devices: ['/dev/vda2', '/dev/vdb'] },
    settings: { data: 'RAID1', metadata: 'RAID1', nodesize: '16384', csum_type: '0 (crc32c)' },
    features: expect.stringContaining('SKINNY_METADATA'),
    mountOptions: expect.stringContaining('compress=zstd:1'),
  })
  expect(filesystem!.subvolumes!.map(({ path, mountpoint = '-' }) => `${path} ${mountpoint}`)).toEqual([
    '@ /',
    '@home /home',
    '@old -',
    '@/var/lib/machines -',
    '@/srv/www -',
    '@/srv/www/deep -',
    '@/.snapshots/1 -',
  ])
})

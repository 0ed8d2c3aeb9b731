// Disks of real machines: fixtures/capture/probes holds what probe.sh said on Debian 12 in QEMU, on machines that
// test/vm/storage/probes.sh built (LVM, md, LUKS, btrfs, xfs, swap); `npm run test:vm` builds them again.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import type { DiskLayout } from '../../src/image/disk-layout.ts'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { devicesOf, notDeployable } from '../../src/image/disks.ts'
import { parseProbe, readProbe } from '../../src/image/probe.ts'

const folder = join(import.meta.dirname, '../fixtures/capture/probes')
const textOf = (name: string) => readFileSync(join(folder, `${name}.json`), 'utf8')
const saidOf = (name: string) => JSON.parse(textOf(name))
const probeOf = (name: string) => readProbe(textOf(name))

/** What is on each device that holds something, in a few words. */
function shown(layout: DiskLayout): Record<string, string> {
  return Object.fromEntries(
    devicesOf(layout).flatMap(({ path, holds }) => {
      const { filesystem, member, physical, crypt } = holds
      const words = [
        filesystem && [filesystem.type, filesystem.label, filesystem.mountpoint].filter(Boolean).join(' '),
        member && `${member.array} ${member.spare ? 'spare' : member.slot}`,
        physical && `pv of ${physical.group}`,
        crypt && `${crypt.format} as ${crypt.path}`,
      ].filter(Boolean)
      return words.length > 0 ? [[path, words.join(', ')]] : []
    }),
  )
}

for (const name of ['lvm', 'md', 'luks', 'btrfs', 'refused'])
  test(`${name}: its layout is read as it was written`, () => {
    const { layout } = probeOf(name)
    expect(parseLayout(renderLayout(layout))).toEqual(layout)
  })

describe('LVM over a partition and two whole disks', () => {
  const { layout, mountpoints, staysOut, refusals, swapFiles, facts } = probeOf('lvm')
  const [group] = layout.groups!
  const volume = (name: string) => group!.volumes.find((each) => each.name === name)!

  test('what holds what', () => {
    expect(shown(layout)).toEqual({
      '/dev/vda2': 'vfat ESP /boot/efi',
      '/dev/vda3': 'ext4 boot /boot',
      '/dev/vda4': 'pv of vg0',
      '/dev/vdb': 'pv of vg0',
      '/dev/vdc': 'pv of vg0',
      '/dev/mapper/vg0-root--1': 'ext4 root /',
      '/dev/mapper/vg0-striped': 'ext4 /home',
      '/dev/mapper/vg0-parity': 'ext3 /srv/with blank',
      '/dev/mapper/vg0-mirrored': 'ext2 /mnt',
      '/dev/mapper/vg0-thin': 'xfs data /var/lib/data',
      '/dev/mapper/vg0-swap': 'swap swap',
    })
    expect(layout.disks.map(({ path, label }) => [path, label])).toEqual([
      ['/dev/vda', 'gpt'],
      ['/dev/vdb', 'none'],
      ['/dev/vdc', 'none'],
    ])
    expect(group).toMatchObject({ name: 'vg0', extentBytes: 8388608, tags: ['ssd'] })
  })

  test('every kind of volume, with what a new one is made of', () => {
    const kinds = group!.volumes
      .filter(({ part }) => !part)
      .map(({ name, segments }) => [name, segments[0]!.type])
    expect(Object.fromEntries(kinds)).toEqual({
      ...{
        'root-1': 'linear',
        striped: 'striped',
        mirrored: 'raid1',
        'old-mirror': 'mirror',
        parity: 'raid5',
      },
      ...{ pool: 'thin-pool', thin: 'thin', cached: 'cache', swap: 'linear' },
    })
    expect(volume('striped').segments).toEqual([
      {
        type: 'striped',
        bytes: 134217728,
        stripes: 2,
        stripeBytes: 65536,
        on: ['/dev/vda4(32)', '/dev/vdb(0)'],
      },
    ])
    expect(volume('parity').segments[0]).toMatchObject({ stripes: 3, stripeBytes: 65536 })
    expect(volume('thin')).toMatchObject({ pool: 'pool', bytes: 2 ** 30 })
    expect(volume('pool')).toMatchObject({
      metadataBytes: 8388608,
      settings: { discards: 'passdown', zero: 'zero' },
    })
    expect(volume('pool').segments[0]).toMatchObject({ chunkBytes: 131072 })
    expect(volume('cached')).toMatchObject({ pool: 'fast_cpool', settings: { cache_mode: 'writethrough' } })
    expect(volume('fast_cpool')).toMatchObject({ part: true, segments: [{ type: 'cache-pool' }] })
  })

  test('GPT: type ids, names, attributes, disk id, gaps', () => {
    expect(layout.disks[0]).toMatchObject({
      id: expect.stringMatching(/^[0-9A-F-]{36}$/),
      firstSector: 2048,
      partitions: [
        { number: 1, name: 'bios', type: '21686148-6449-6E6F-744E-656564454649' },
        { number: 2, name: 'esp', type: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B' },
        { number: 3, attrs: 'LegacyBIOSBootable' },
        { number: 4, start: 397312 },
      ],
    })
  })

  test('a table of another length than usual, as sfdisk says it: a text, and not at all of 128', () => {
    expect(layout.disks[0]).not.toHaveProperty('tableLength')
    for (const length of ['256', 64]) {
      const said = saidOf('lvm')
      said.sfdisk[0].partitiontable['table-length'] = length
      const longer = readProbe(JSON.stringify(said)).layout
      expect(longer.disks[0]).toEqual({ ...layout.disks[0], tableLength: Number(length) })
      expect(parseLayout(renderLayout(longer))).toEqual(longer)
    }
    const wrong = saidOf('lvm')
    wrong.sfdisk[0].partitiontable['table-length'] = 'many'
    expect(() => readProbe(JSON.stringify(wrong))).toThrow(WireError)
  })

  test('where LVM may lay extents: of the group what is not normal, of a volume what is its own', () => {
    expect(group).not.toHaveProperty('allocation')
    for (const { name } of group!.volumes) expect(volume(name)).not.toHaveProperty('allocation')
    // [letter of the group, of root-1, of striped, of thin], and the words of these.
    const cases: [string, (string | undefined)[]][] = [
      ['clan', ['contiguous', 'cling', 'anywhere', 'normal']],
      ['lCLi', ['cling', 'contiguous', 'cling', undefined]], // capitals while extents are moved
      ['aiNA', ['anywhere', undefined, 'normal', 'anywhere']],
      ['n-?c', [undefined, undefined, undefined, 'contiguous']],
    ]
    for (const [letters, words] of cases) {
      const said = saidOf('lvm')
      const change = (tool: 'lvs' | 'vgs', name: string, key: string, at: number, letter: string) => {
        const report = JSON.parse(Buffer.from(said.said[tool], 'base64').toString())
        for (const row of report.report[0][tool === 'lvs' ? 'seg' : 'vg'])
          if (row[tool === 'lvs' ? 'lv_name' : 'vg_name'] === name)
            row[key] = row[key].slice(0, at) + letter + row[key].slice(at + 1)
        said.said[tool] = Buffer.from(JSON.stringify(report)).toString('base64')
      }
      change('vgs', 'vg0', 'vg_attr', 4, letters[0]!)
      const names = ['root-1', 'striped', 'thin']
      for (const [i, name] of names.entries()) change('lvs', name, 'lv_attr', 2, letters[i + 1]!)
      const read = readProbe(JSON.stringify(said)).layout
      const [changed] = read.groups!
      const found = names.map((name) => changed!.volumes.find((each) => each.name === name)!)
      expect([changed!, ...found].map(({ allocation }) => allocation)).toEqual(words)
      expect(parseLayout(renderLayout(read))).toEqual(read)
    }
  })

  test('file systems with features, sizes and settings', () => {
    expect(volume('thin').filesystem).toMatchObject({
      features: 'crc finobt sparse reflink bigtime inobtcount ftype',
      settings: { 'meta-data isize': '512', 'data bsize': '4096', 'log lazy-count': '1' },
    })
    expect(volume('striped').filesystem!.features).toContain('metadata_csum')
    expect(volume('root-1').filesystem!.features).not.toContain('orphan_file')
    expect(volume('striped').filesystem!.settings).toMatchObject({ 'Inode size': '256' })
    expect(layout.disks[0]!.partitions[1]!.filesystem).toMatchObject({
      uuid: 'A1B2-C3D4',
      version: 'FAT32',
      settings: { 'sectors per cluster': '1', FATs: '2' },
    })
    expect(volume('swap').filesystem).toMatchObject({ active: true, label: 'swap' })
  })

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

describe('md: metadata 1.0 and 1.2, raid1, raid5 with a spare and a partition table, raid10', () => {
  const { layout, mountpoints, refusals } = probeOf('md')

  test('what holds what', () => {
    expect(shown(layout)).toEqual({
      '/dev/vda1': '/dev/md0 0',
      '/dev/vdb1': '/dev/md0 1',
      '/dev/vda2': '/dev/md1 0',
      '/dev/vdb2': '/dev/md1 1',
      '/dev/vdc2': '/dev/md1 2',
      '/dev/vdd2': '/dev/md1 spare',
      '/dev/vdc1': '/dev/md2 0',
      '/dev/vdd1': '/dev/md2 1',
      '/dev/vda3': 'swap',
      '/dev/md0': 'ext4 root /',
      '/dev/md1p1': 'xfs /data',
      '/dev/md2': 'ext4 /scratch',
    })
    expect(mountpoints).toEqual(['/', '/data', '/scratch'])
    expect(refusals).toEqual([])
  })

  test('the arrays with all that mdadm --create would be told', () => {
    expect(layout.arrays).toMatchObject([
      {
        ...{
          path: '/dev/md0',
          level: 'raid1',
          metadata: '1.0',
          devices: 2,
          name: 'storage:root',
          label: 'none',
        },
        ...{
          bitmap: 'internal',
          bitmapChunkBytes: 67108864,
          uuid: expect.stringMatching(/^[0-9a-f]{8}(:[0-9a-f]{8}){3}$/),
        },
      },
      {
        ...{
          path: '/dev/md1',
          level: 'raid5',
          metadata: '1.2',
          devices: 3,
          chunkBytes: 65536,
          layout: 2,
          label: 'gpt',
        },
        partitions: [
          { number: 1, name: 'first' },
          { number: 2, name: 'second' },
        ],
      },
      { path: '/dev/md2', level: 'raid10', metadata: '1.2', layout: 513, chunkBytes: 524288 },
    ])
    expect(layout.arrays![1]).not.toHaveProperty('bitmap')
    expect(layout.mdadmConf).toContain('ARRAY /dev/md0 metadata=1.0')
    expect(layout.disks[0]).toMatchObject({
      label: 'dos',
      partitions: [{ type: 'fd', bootable: true }, {}, { type: '82' }],
    })
  })
})

describe('LUKS: LVM on LUKS 2 on md, LUKS 1, swap with a key of each boot', () => {
  const { layout, refusals } = probeOf('luks')

  test('what holds what', () => {
    expect(shown(layout)).toEqual({
      '/dev/vda1': 'ext4 /boot',
      '/dev/vda2': '/dev/md127 0',
      '/dev/vdb2': '/dev/md127 1',
      '/dev/md127': 'luks2 as /dev/mapper/crypt-root',
      '/dev/mapper/crypt-root': 'pv of system',
      '/dev/mapper/system-root': 'ext4 /',
      '/dev/vdc1': 'luks1 as /dev/mapper/crypt_data',
      '/dev/mapper/crypt_data': 'ext4 /data',
      '/dev/vdc2': 'plain as /dev/mapper/cryptswap',
      '/dev/mapper/cryptswap': 'swap',
    })
    expect(refusals).toEqual([])
  })

  test('with what a new header is made of, and nothing that opens the old one', () => {
    expect(layout.arrays![0]!.crypt).toMatchObject({
      ...{ format: 'luks2', label: 'encrypted', uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      settings: { cipher: 'aes-xts-plain64', PBKDF: 'pbkdf2', keysize: '512 bits', 'sector size': '512' },
    })
    const answer = readFileSync(join(folder, 'luks.json'), 'utf8')
    const said = Object.values<string>(JSON.parse(answer).said).map((text) =>
      Buffer.from(text, 'base64').toString(),
    )
    expect(said.join('\n')).not.toMatch(/salt|digest|Iterations/i)
    expect(layout.crypttab).toContain('cryptswap /dev/vdc2 /dev/urandom swap')
  })
})

describe('btrfs over two disks, with subvolumes', () => {
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
})

test('what no clone can have is refused by name, before anything is copied', () => {
  expect(probeOf('refused').refusals).toEqual([expect.stringMatching(/^jfs on \/dev\/vda2 at \/jfs: /)])
  expect(() => parseProbe(readFileSync(join(folder, 'refused.json'), 'utf8'))).toThrow(
    /cannot be reproduced on a clone.*jfs on \/dev\/vda2/,
  )
})

describe('changed answers', () => {
  const change = (name: string, edit: (answer: any) => void) => {
    const answer = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'))
    edit(answer)
    return readProbe(JSON.stringify(answer)).refusals
  }
  const base64 = (text: string) => Buffer.from(text).toString('base64')
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
    expect(change(name, edit).join('; ')).toMatch(expected)
  })
})

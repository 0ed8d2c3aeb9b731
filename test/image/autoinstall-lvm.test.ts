// Volume groups of SystemImager's files, as a probe would have found them.
import { expect, test } from 'vitest'
import { devicesOf, notDeployable } from '../../src/image/disks.ts'
import { disk, fsinfo, layoutOf, MIB, part, refused, room } from './autoinstall.ts'

/** As si_prepareclient writes it. */
const lvm = (name: string, ...volumes: string[]) => [
  '<lvm version="2">',
  `  <lvm_group name="${name}" max_log_vols="0" max_phys_vols="0" phys_extent_size="4096K">`,
  ...volumes,
  '  </lvm_group>',
  '</lvm>',
]
const lv = (name: string, size: string, more = '') => `<lv name="${name}" size="${size}" ${more}/>`
const pv = (num: number, size: number | '*', group = 'vg0') =>
  part(num, size, `flags="lvm" lvm_group="${group}"`)
const root = fsinfo(10, '/dev/vg0/root', '/')
const uuid = expect.stringMatching(/^\w{6}(-\w{4}){5}-\w{6}$/)

test('a group on partitions of two disks: extents, volumes over both, file systems by either name', () => {
  const layout = layoutOf([
    ...disk('sda', part(1, 200), pv(2, 1000)),
    ...disk('sdb', pv(1, 1500)),
    ...lvm('vg0', lv('root', '819200K'), lv('my-data', '1G'), lv('swap', '101')),
    root,
    fsinfo(20, '/dev/mapper/vg0-my--data', '/data', 'xfs'),
    fsinfo(30, '/dev/vg0/swap', 'swap', 'swap'),
  ])
  expect(layout.disks[0]!.partitions[1]).toMatchObject({
    type: 'E6D6D379-F507-44C2-A23C-238F2A3DF928',
    physical: { uuid, group: 'vg0', startBytes: MIB },
  })
  const extents = Math.floor(999 / 4) + Math.floor(1499 / 4)
  expect(layout.groups).toMatchObject([
    {
      ...{ name: 'vg0', uuid, extentBytes: 4 * MIB, freeBytes: (extents - 200 - 256 - 26) * 4 * MIB },
      volumes: [
        {
          ...{ name: 'root', uuid, bytes: 800 * MIB, filesystem: { type: 'ext4', mountpoint: '/' } },
          segments: [{ type: 'linear', bytes: 800 * MIB, stripes: 1, on: ['/dev/sda2(0)'] }],
        },
        {
          ...{ name: 'my-data', bytes: 1024 * MIB, filesystem: { type: 'xfs', mountpoint: '/data' } },
          segments: [
            { bytes: 49 * 4 * MIB, on: ['/dev/sda2(200)'] },
            { bytes: 207 * 4 * MIB, on: ['/dev/sdb1(0)'] },
          ],
        },
        { name: 'swap', bytes: 104 * MIB, segments: [{ on: ['/dev/sdb1(207)'] }] }, // whole extents
      ],
    },
  ])
  expect(devicesOf(layout).map(({ path }) => path)).toEqual(
    expect.arrayContaining(['/dev/mapper/vg0-root', '/dev/mapper/vg0-my--data']),
  )
  expect(layout.fstab.split('\n').map((line) => line.replace(/=\S+/, '='))).toEqual([
    ...['UUID= / ext4 defaults 0 0', 'UUID= /data xfs defaults 0 0', 'UUID= swap swap defaults 0 0', ''],
  ])
  expect(notDeployable(layout)).toContain('LVM group vg0 (linear)')
})

test('on an array: the array is the physical volume', () => {
  const layout = layoutOf([
    ...disk('sda', part(1, 2000, 'flags="raid"')),
    ...disk('sdb', part(1, 2000, 'flags="raid"')),
    '<raid name="/dev/md0" raid_level="1" lvm_group="vg0" devices="/dev/sda1 /dev/sdb1"/>',
    ...lvm('vg0', lv('root', '1G')),
    root,
  ])
  expect(layout.arrays![0]).toMatchObject({ physical: { uuid, group: 'vg0' } })
  expect(layout.arrays![0]).not.toHaveProperty('filesystem')
  expect(layout.groups![0]!.volumes[0]!.segments).toMatchObject([{ on: ['/dev/md0(0)'] }])
})

test('sizes that are open, of a partition, a share of a disk and a volume, hold what they must', () => {
  const bytesOf = (lines: string[], name: string) =>
    layoutOf(lines).groups![0]!.volumes.find((each) => each.name === name)!.bytes
  const volumes = lvm('vg0', lv('root', '*'), lv('big', '20g'))
  const share = (unit: string) => [
    `<disk dev="/dev/sda" label_type="gpt" unit_of_measurement="${unit}">`,
    ...[part(1, 10), pv(2, 50), '</disk>'],
  ]
  for (const disks of [disk('sda', part(1, 10), pv(2, '*')), share('%'), share('percentage')]) {
    expect(bytesOf([...disks, ...volumes, root], 'big')).toBe(20 * 1024 * MIB)
    expect(bytesOf([...disks, ...volumes, root], 'root')).toBeGreaterThanOrEqual(room - 8 * MIB)
  }
  // What takes the rest takes it last.
  const rest = [
    ...disk('sda', pv(1, 4001)),
    ...volumes.slice(0, 2),
    lv('root', '*'),
    lv('b', '1000'),
    ...volumes.slice(-2),
  ]
  expect([bytesOf([...rest, root], 'b'), bytesOf([...rest, root], 'root')]).toEqual([1000 * MIB, 3000 * MIB])
})

const one = disk('sda', pv(1, 2000))
const group = (words: string) => ['<lvm>', `<lvm_group ${words}>`, lv('root', '1G'), '</lvm_group>', '</lvm>']
test.each<[what: string, lines: string[], RegExp]>([
  [
    'LVM 1',
    [...one, '<lvm version="1">', '<lvm_group name="vg0">', lv('root', '1G'), '</lvm_group>', '</lvm>'],
    /:5: no tool of today makes LVM of this kind \(version="1"/,
  ],
  [
    'a limit',
    [...one, ...group('name="vg0" max_log_vols="255"')],
    /:6: a limit of volumes cannot be taken over \(max_log_vols="255"/,
  ],
  [
    'extents of no power of two',
    [...one, ...group('name="vg0" phys_extent_size="3M"')],
    /:6: not a size of extents \(phys_extent_size="3M"/,
  ],
  [
    'extents that are too small',
    [...one, ...group('name="vg0" phys_extent_size="4K"')],
    /not a size of extents/,
  ],
  [
    'a name that leads elsewhere',
    [...one, ...group('name="../etc"')],
    /:6: not a name of LVM \(name="..\/etc"/,
  ],
  ['a name that is an option', [...one, ...group('name="-y"')], /not a name of LVM/],
  [
    'options',
    [...one, ...lvm('vg0', lv('root', '1G', 'lv_options="-i 2"'))],
    /:7: options of lvcreate cannot be taken over \(lv_options="-i 2"/,
  ],
  ['no size', [...one, ...lvm('vg0', lv('root', '50%'))], /:7: not a size \(size="50%"/],
  ['a size of nothing', [...one, ...lvm('vg0', lv('root', '0'))], /:7: not a size/],
  [
    'two that take the rest',
    [...one, ...lvm('vg0', lv('root', '*'), lv('b', '*'))],
    /:8: two volumes take the rest/,
  ],
  [
    'a volume twice',
    [...one, ...lvm('vg0', lv('root', '1G'), lv('root', '1G'))],
    /:8: a volume stands twice \(root/,
  ],
  ['a group twice', [...one, ...lvm('vg0', lv('root', '1G')), ...lvm('vg0')], /a group stands twice \(vg0/],
  [
    'more than there is',
    [...one, ...lvm('vg0', lv('root', '1G'), lv('b', '1G'))],
    /:8: no room is left in the group \(vg0\/b: 1024 MiB of 972 MiB/,
  ],
  [
    'nothing for what takes the rest',
    [...disk('sda', pv(1, 1029)), ...lvm('vg0', lv('b', '1028M'), lv('root', '*'))],
    /:8: no room is left in the group \(vg0\/root/,
  ],
  [
    'a group without a physical volume',
    [...disk('sda', part(1, 10)), ...lvm('vg0', lv('root', '1G'))],
    /:6: a group without a physical volume \(vg0/,
  ],
  [
    'a partition of an array and of a group',
    [
      ...disk('sda', part(1, 2000, 'flags="lvm" lvm_group="vg0" raid_dev="/dev/md0"')),
      '<raid name="/dev/md0" raid_level="1"/>',
      ...lvm('vg0', lv('root', '1G')),
    ],
    /:5: is a member of an array and of a group \(\/dev\/sda1/,
  ],
  [
    'a file system on a physical volume',
    [...one, ...lvm('vg0', lv('root', '1G')), fsinfo(20, '/dev/sda1', '/srv')],
    /:3: holds a file system, and is a part of something else \(\/dev\/sda1/,
  ],
  [
    'a file system on a volume that is not there',
    [...one, ...lvm('vg0', lv('root', '1G')), fsinfo(20, '/dev/vg0/other', '/srv')],
    /no partition is said to be there \(\/dev\/vg0\/other/,
  ],
])('refused with its line: %s', (_, lines, expected) => {
  expect(refused([...lines, root])).toMatch(expected)
})

test('more volumes than any machine has are refused at once', () => {
  const many = Array.from({ length: 20_000 }, (_, i) => lv(`v${i}`, '4'))
  const begun = performance.now()
  expect(refused([...one, ...lvm('vg0', ...many), root])).toMatch(
    /more than any machine has \(10000 elements/,
  )
  expect(performance.now() - begun).toBeLessThan(2000)
})

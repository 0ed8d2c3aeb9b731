// Arrays of SystemImager's files, as a probe would have found them: in the form that si_prepareclient writes and in the one
// that people write. What the words mean is in autoinstallscript.conf(5) and mdadm(8).
import { expect, test } from 'vitest'
import { notDeployable } from '../../src/image/disks.ts'
import { disk, fsinfo, layoutOf, MIB, part, refused, room } from './autoinstall.ts'

const root = fsinfo(10, '/dev/md0', '/')
const two = [...disk('sda', part(1, 4000, 'flags="raid"')), ...disk('sdb', part(1, 4000, 'flags="raid"'))]
const six = 'abcdef'.split('').flatMap((letter) => disk(`sd${letter}`, part(1, 4000, 'flags="raid"')))
const devices = (count: number) => Array.from({ length: count }, (_, i) => `/dev/sd${'abcdef'[i]}1`).join(' ')
/** As si_prepareclient writes it, over several lines. */
const raid = (words: string) => [`<raid name="/dev/md0"`, `   ${words}`, `  />`]

test('a mirror: members with their places, the array with its file system', () => {
  const layout = layoutOf([
    ...two,
    ...raid(
      `raid_level="raid1" raid_devices="2" spare_devices="0" persistence="yes" devices="${devices(2)}"`,
    ),
    root,
  ])
  expect(layout.disks.map(({ partitions }) => partitions[0])).toMatchObject([
    { type: 'A19D880F-05FC-4D3B-A006-743F0F84911E', member: { array: '/dev/md0', slot: 0 } },
    { member: { array: '/dev/md0', slot: 1 } },
  ])
  const [array] = layout.arrays!
  expect(array).toMatchObject({
    ...{ path: '/dev/md0', level: 'raid1', devices: 2, metadata: '1.2', label: 'none', sectorBytes: 512 },
    uuid: expect.stringMatching(/^[0-9a-f]{8}(:[0-9a-f]{8}){3}$/),
    filesystem: { type: 'ext4', mountpoint: '/' },
  })
  for (const key of ['missing', 'chunkBytes', 'layout', 'name']) expect(array).not.toHaveProperty(key)
  // Less than its members, as superblocks take room.
  expect(array!.bytes).toBeLessThan(4000 * MIB)
  expect(array!.bytes).toBeGreaterThan(3980 * MIB)
  expect(layout.fstab).toMatch(/^UUID=\S+ \/ ext4 defaults 0 0\n$/)
  expect(notDeployable(layout)).toContain('/dev/md0 (md raid1)')
})

// [words, level, devices, chunk in KiB, the kernel's layout, members whose size counts]
const rows: [string, string, number, number | undefined, number | undefined, number][] = [
  ['raid_level="0" chunk_size="64K"', 'raid0', 4, 64, undefined, 4],
  ['raid_level="stripe"', 'raid0', 4, 512, undefined, 4],
  ['raid_level="linear"', 'linear', 4, undefined, undefined, 4],
  ['raid_level="mirror"', 'raid1', 4, undefined, undefined, 1],
  ['raid_level="4" chunk_size="1M"', 'raid4', 4, 1024, undefined, 3],
  ['raid_level="raid5" chunk_size="32"', 'raid5', 4, 32, 2, 3],
  ['raid_level="5" layout="left-asymmetric"', 'raid5', 4, 512, 0, 3],
  ['raid_level="6" layout="right-symmetric"', 'raid6', 4, 512, 3, 2],
  ['raid_level="raid10" layout="near=2,"', 'raid10', 4, 512, 0x102, 2],
  ['raid_level="raid10" layout="far=2,"', 'raid10', 4, 512, 513, 2], // as the kernel says of f2: fixtures/capture/probes/md.json
  ['raid_level="10"', 'raid10', 4, 512, 0x102, 2],
]
test.each(rows)('%s', (words, level, count, chunkKib, number, counting) => {
  const layout = layoutOf([...six, ...raid(`${words} devices="${devices(count)}"`), root])
  const [array] = layout.arrays!
  expect([array!.level, array!.devices, array!.chunkBytes, array!.layout]).toEqual([
    level,
    count,
    chunkKib && chunkKib * 1024,
    number,
  ])
  expect(array!.bytes / MIB / counting).toBeGreaterThan(3980)
  expect(array!.bytes / MIB / counting).toBeLessThan(4000)
})

test('spares come last; members that were missing are wanted all the same', () => {
  const spare = layoutOf([
    ...six,
    ...raid(`raid_level="5" raid_devices="3" spare_devices="1" devices="${devices(4)}"`),
    root,
  ])
  expect(spare.disks.map(({ partitions }) => partitions[0]!.member)).toEqual([
    ...[0, 1, 2].map((slot) => ({ array: '/dev/md0', slot })),
    { array: '/dev/md0', spare: true },
    ...[undefined, undefined],
  ])
  expect(spare.arrays![0]).toMatchObject({ devices: 3 })
  const degraded = layoutOf([...two, ...raid(`raid_level="1" raid_devices="2" devices="/dev/sda1"`), root])
  expect(degraded.arrays![0]).toMatchObject({ devices: 2, missing: 1 })
})

test('as people write it: partitions say of which array they are, and how many there are is counted', () => {
  const members = (dev: string) =>
    disk(dev, part(1, 300, 'flags="raid" raid_dev="/dev/md1"'), part(2, '*', 'raid_dev="/dev/md0"'))
  const layout = layoutOf([
    ...members('sda'),
    ...members('nvme0n1'),
    '<raid>',
    '<raid_disk name="/dev/md0" raid_level="1"/>',
    '<raid_disk name="/dev/md1" raid_level="raid1"/>',
    '</raid>',
    root,
    fsinfo(20, '/dev/md1', 'swap', 'swap'),
  ])
  expect(layout.arrays).toMatchObject([
    { path: '/dev/md0', devices: 2, filesystem: { mountpoint: '/' } },
    { path: '/dev/md1', devices: 2, filesystem: { type: 'swap' } },
  ])
  expect(layout.disks[1]!.partitions.map(({ member, type }) => [member!.array, type.slice(0, 8)])).toEqual([
    ['/dev/md1', 'A19D880F'],
    ['/dev/md0', 'A19D880F'], // no flag says it
  ])
  // What takes the rest holds the content, and the superblock.
  expect(layout.arrays![0]!.bytes).toBeGreaterThanOrEqual(room)
})

test('mdadm.conf of the image says which superblock it is, and is kept', () => {
  const lines = [...two, ...raid(`raid_level="1" devices="${devices(2)}"`), root]
  const uuid = '4d24c32c:60a45b42:183ce373:e212c411'
  const conf = (...more: string[]) => ['MAILADDR root', ...more, ''].join('\n')
  const said = (text: string) => {
    const layout = layoutOf(lines, text)
    expect(layout.mdadmConf).toBe(text)
    const { uuid, name, metadata } = layout.arrays![0]!
    return { uuid, name, metadata }
  }
  // As `mdadm --detail --scan` wrote it on a machine: fixtures/capture/probes/md.json
  expect(said(conf(`ARRAY /dev/md0 metadata=1.0 name=storage:root UUID=${uuid}`))).toEqual({
    ...{ uuid, name: 'storage:root', metadata: '1.0' },
  })
  expect(said(conf('array /dev/md/0 level=raid1 num-devices=2', `   uuid=${uuid}`))).toMatchObject({
    ...{ uuid, metadata: '1.2' },
  })
  expect(said(conf(`ARRAY /dev/md0 metadata=00.90 UUID=${uuid.toUpperCase()}`))).toMatchObject({
    ...{ uuid, metadata: '0.90' },
  })
  expect(said(conf(`ARRAY /dev/md1 metadata=1.0 UUID=${uuid}`))).toMatchObject({ metadata: '1.2' })
  expect(layoutOf(lines)).not.toHaveProperty('mdadmConf')
  expect(() => layoutOf(lines, conf('ARRAY /dev/md0 metadata=imsm'))).toThrow(
    /conf:8: the superblock of the array cannot be taken over \(\/dev\/md0: metadata=imsm/,
  )
})

test.each<[what: string, lines: string[], RegExp]>([
  [
    'an unknown level',
    raid(`raid_level="7" devices="${devices(2)}"`),
    /:8: not a level of arrays \(raid_level="7"/,
  ],
  [
    'no superblock',
    raid(`raid_level="1" persistence="no" devices="${devices(2)}"`),
    /:8: an array without a superblock cannot be taken over \(persistence="no"/,
  ],
  [
    'rounding',
    raid(`raid_level="linear" rounding="64K" devices="${devices(2)}"`),
    /:8: cannot be taken over \(rounding="64K"/,
  ],
  [
    'a layout of another level',
    raid(`raid_level="1" layout="left-symmetric" devices="${devices(2)}"`),
    /:8: not a layout of raid1 \(layout="left-symmetric"/,
  ],
  [
    'an unknown layout',
    raid(`raid_level="5" layout="parity-first" devices="${devices(2)}"`),
    /not a layout of raid5/,
  ],
  [
    'a chunk of no power of two',
    raid(`raid_level="0" chunk_size="48K" devices="${devices(2)}"`),
    /not a size of chunks/,
  ],
  ['no members', raid('raid_level="1"'), /:8: an array without members \(\/dev\/md0/],
  [
    'more members than it has',
    raid(`raid_level="1" raid_devices="1" devices="${devices(2)}"`),
    /the number of members is another one \(\/dev\/md0: \/dev\/sda1 \/dev\/sdb1/,
  ],
  [
    'fewer than the level needs',
    raid('raid_level="6" devices="/dev/sda1"'),
    /the number of members is another one/,
  ],
  [
    'a member that is no partition',
    raid('raid_level="1" devices="/dev/sda1 /dev/sdz"'),
    /:8: no partition is said to be there \(\/dev\/sdz/,
  ],
  [
    'two arrays of one name',
    [...raid(`raid_level="1" devices="/dev/sda1"`), ...raid('raid_level="1" devices="/dev/sdb1"')],
    /:11: an array stands twice \(\/dev\/md0/,
  ],
  [
    'a member of two',
    [
      ...raid(`raid_level="1" devices="${devices(2)}"`),
      '<raid name="/dev/md1" raid_level="1" devices="/dev/sdb1"/>',
    ],
    /:11: is a member of two arrays \(\/dev\/sdb1/,
  ],
  [
    'a file system on a member',
    [...raid(`raid_level="1" devices="${devices(2)}"`), fsinfo(20, '/dev/sdb1', '/srv')],
    /:6: holds a file system, and is a part of something else \(\/dev\/sdb1/,
  ],
  [
    'arrays in an array',
    ['<raid name="/dev/md0" raid_level="1">', '<raid_disk name="/dev/md1" raid_level="1"/>', '</raid>'],
    /:8: cannot be taken over \(<raid name> with arrays in it/,
  ],
  [
    'a name of something else',
    ['<raid name="/dev/sdc" raid_level="1"/>'],
    /:8: not an array \(name="\/dev\/sdc"/,
  ],
  [
    'a word',
    ['<raid name="/dev/md0" raid_level="1" bitmap="x"/>'],
    /:8: cannot be taken over \(<raid bitmap="x">/,
  ],
  [
    'a group that is not there',
    raid(`raid_level="1" lvm_group="vg0" devices="${devices(2)}"`),
    /:8: the group is not said \(lvm_group="vg0"/,
  ],
])('refused with its line: %s', (_, lines, expected) => {
  expect(refused([...two, ...lines, root])).toMatch(expected)
})

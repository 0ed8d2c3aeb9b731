// Laws of the disk model: what is written is read again, whatever it is; what is no layout is refused.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import type { Held, LogicalVolume, Partition } from '../../src/image/disk-layout.ts'
import { type DiskLayout, parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { devicesOf, filesystemsOf, notDeployable, volumePath } from '../../src/image/disks.ts'

const word = fc.string({ maxLength: 30 })
const count = fc.nat()
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: 3 })
const partly = <T extends Record<string, fc.Arbitrary<unknown>>, K extends keyof T & string>(
  model: T,
  requiredKeys: K[],
) => fc.record(model, { requiredKeys })
const settings = fc.dictionary(
  word.filter((key) => key !== '__proto__'),
  word,
)

const subvolume = partly(
  {
    ...{ id: count, path: word, parent: count, mountpoint: word },
    ...{ readOnly: fc.boolean(), snapshot: fc.boolean(), default: fc.boolean() },
  },
  ['id', 'path', 'parent'],
)
const filesystem = partly(
  {
    ...{
      type: word,
      uuid: word,
      label: word,
      mountpoint: word,
      usedBytes: count,
      features: word,
      version: word,
    },
    ...{
      settings,
      active: fc.boolean(),
      mountOptions: word,
      subvolumes: some(subvolume),
      devices: some(word),
    },
  },
  ['type'],
)
const plain = {
  filesystem,
  member: partly({ array: word, slot: count, spare: fc.boolean(), failed: fc.boolean() }, ['array']),
  physical: partly({ uuid: word, group: word, startBytes: count, tags: some(word) }, ['uuid']),
}
const crypt = partly(
  {
    format: fc.constantFrom('luks1', 'luks2', 'plain'),
    uuid: word,
    label: word,
    path: word,
    settings,
    ...plain,
  },
  ['format'],
)
const held = { ...plain, crypt }
const partition = partly(
  {
    ...{ number: count, start: count, size: count, type: word, name: word, uuid: word, attrs: word },
    ...{ bootable: fc.boolean(), ...held },
  },
  ['number', 'start', 'size', 'type'],
)
const table = {
  label: fc.constantFrom('gpt', 'dos', 'none'),
  id: word,
  firstSector: count,
  lastSector: count,
  tableLength: count,
  partitions: some(partition),
  ...held,
}
const disk = partly(
  {
    path: word,
    bytes: count,
    sectorBytes: count,
    model: word,
    serial: word,
    wwn: word,
    transport: word,
    ...table,
  },
  ['path', 'bytes', 'sectorBytes', 'label', 'partitions'],
)
const array = partly(
  {
    ...{
      path: word,
      bytes: count,
      sectorBytes: count,
      level: word,
      metadata: word,
      devices: count,
      missing: count,
      uuid: word,
    },
    ...{ name: word, chunkBytes: count, layout: count, bitmap: word, bitmapChunkBytes: count, ...table },
  },
  ['path', 'bytes', 'sectorBytes', 'level', 'metadata', 'devices', 'label', 'partitions'],
)
const segment = partly(
  {
    type: word,
    bytes: count,
    stripes: count,
    stripeBytes: count,
    regionBytes: count,
    chunkBytes: count,
    on: some(word),
  },
  ['type', 'bytes', 'on'],
)
const allocation = fc.constantFrom('contiguous', 'cling', 'normal', 'anywhere')
const volume = partly(
  {
    ...{
      name: word,
      part: fc.boolean(),
      uuid: word,
      bytes: count,
      segments: some(segment),
      pool: word,
      origin: word,
    },
    ...{
      metadataBytes: count,
      settings,
      tags: some(word),
      allocation,
      readOnly: fc.boolean(),
      inactive: fc.boolean(),
      ...held,
    },
  },
  ['name', 'uuid', 'bytes', 'segments'],
)
const group = partly(
  {
    name: word,
    uuid: word,
    extentBytes: count,
    freeBytes: count,
    tags: some(word),
    volumes: some(volume),
    allocation,
  },
  ['name', 'uuid', 'extentBytes', 'freeBytes', 'volumes'],
)
const layout = partly(
  {
    ...{
      disks: some(disk),
      arrays: some(array),
      groups: some(group),
      fstab: word,
      crypttab: word,
      mdadmConf: word,
    },
    swapFiles: some(partly({ path: word, bytes: count, priority: fc.integer() }, ['path', 'bytes'])),
  },
  ['disks', 'fstab'],
) as fc.Arbitrary<DiskLayout>

test('what is written is read again, and all devices of it can be named', () => {
  fc.assert(
    fc.property(layout, (written) => {
      expect(parseLayout(renderLayout(written))).toEqual(written)
      for (const { of, path } of devicesOf(written))
        expect([typeof of, typeof path]).toEqual(['string', 'string'])
      notDeployable(written)
    }),
    { numRuns: 300 },
  )
})

test('a layout of an image of before is read as it was', () => {
  const old = {
    disks: [
      {
        ...{ path: '/dev/vda', bytes: 3221225472, sectorBytes: 512, label: 'gpt', id: 'X' },
        partitions: [
          {
            number: 1,
            start: 2048,
            size: 2048,
            type: 'A',
            uuid: 'B',
            filesystem: { type: 'ext4', uuid: 'C', mountpoint: '/', usedBytes: 1, features: 'extent' },
          },
        ],
      },
    ],
    fstab: 'UUID=C / ext4\n',
  }
  const read = parseLayout(JSON.stringify(old))
  expect(read).toEqual(old)
  expect(notDeployable(read)).toEqual([])
  expect(filesystemsOf(read).map(({ type }) => type)).toEqual(['ext4'])
})

test('what a later version adds is left out, what is no layout is refused', () => {
  expect(parseLayout('{"disks":[],"fstab":"","more":[1]}')).toEqual({ disks: [], fstab: '' })
  for (const text of ['', '[]', '{"disks":[]}', '{"disks":[{}],"fstab":""}', '{"disks":null,"fstab":""}'])
    expect(() => parseLayout(text)).toThrow(WireError)
})

test('names of the device mapper double their dashes', () => {
  expect(volumePath('vg-0', 'root-1')).toBe('/dev/mapper/vg--0-root--1')
})

describe('not yet deployable, by name', () => {
  const root: Held = { filesystem: { type: 'ext4', mountpoint: '/' } }
  const part = (more: Partial<Partition> = {}): Partition => ({
    number: 1,
    start: 1,
    size: 2,
    type: 'T',
    ...root,
    ...more,
  })
  const one = (partitions: Partition[], more: object = {}): DiskLayout['disks'][number] => ({
    ...{ path: '/dev/sda', bytes: 1, sectorBytes: 512, label: 'gpt' as const, partitions },
    ...more,
  })
  const lv: LogicalVolume = {
    ...{ name: 'root', uuid: 'u', bytes: 1, ...root },
    segments: [{ type: 'thin', bytes: 1, on: [] }],
  }
  const rows: [string, Partial<DiskLayout>, string[]][] = [
    ['plain partitions: nothing', { disks: [one([part()])] }, []],
    ['a dos table', { disks: [one([part()], { label: 'dos' })] }, ['/dev/sda with a dos partition table']],
    [
      'two disks',
      { disks: [one([part()]), one([], { path: '/dev/sdb' })] },
      ['several disks (/dev/sda, /dev/sdb)'],
    ],
    ['xfs', { disks: [one([part({ filesystem: { type: 'xfs', mountpoint: '/' } })])] }, ['xfs file systems']],
    [
      'LVM',
      {
        disks: [one([part({ filesystem: undefined as never, physical: { uuid: 'u', group: 'vg' } })])],
        groups: [{ name: 'vg', uuid: 'u', extentBytes: 1, freeBytes: 0, volumes: [lv] }],
      },
      ['LVM group vg (thin)'],
    ],
    [
      'encryption',
      {
        disks: [
          one([
            {
              number: 1,
              start: 1,
              size: 2,
              type: 'T',
              crypt: { format: 'luks2', path: '/dev/mapper/c', ...root },
            },
          ]),
        ],
      },
      ['encryption of partition 1 of /dev/sda'],
    ],
    ['nothing on /', { disks: [one([part({ filesystem: { type: 'ext4' } })])] }, ['no root file system']],
  ]
  test.each(rows)('%s', (_, layout, expected) => {
    expect(notDeployable({ disks: [], fstab: '', ...layout })).toEqual(expected)
  })
})

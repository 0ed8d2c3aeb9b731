// LVM over a partition and two whole disks.
import { expect, test } from 'vitest'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { readProbe } from '../../src/image/probe.ts'
import { probeOf, saidOf, shown } from './probes.ts'

const { layout } = probeOf('lvm')
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

// What file systems were made with, as their tools say it.
import { expect, test } from 'vitest'
import { probeOf } from './probes.ts'

const { layout } = probeOf('lvm')
const [group] = layout.groups!
const volume = (name: string) => group!.volumes.find((each) => each.name === name)!

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

// md: metadata 1.0 and 1.2, raid1, raid5 with a spare and a partition table, raid10.
import { expect, test } from 'vitest'
import { probeOf, shown } from './probes.ts'

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

// md: metadata 1.0 and 1.2, raid1, raid5 with a spare and a partition table, raid10.
import { describe, expect, test } from 'vitest'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { makePreflight, parsePreflight, renderPreflight } from '../../src/image/preflight.ts'
import { showPreflight } from '../../src/image/preflight-text.ts'
import { defaultRules } from '../../src/image/scrub.ts'
import { base64, changedProbe, probeOf, shown } from './probes.ts'

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

describe('an array without all of its members', () => {
  test('one that was made so: the wanted number is kept, a person is told, and nothing is refused for it', () => {
    const { layout, warnings, refusals } = probeOf('refused')
    expect(layout.arrays).toMatchObject([{ path: '/dev/md0', level: 'raid1', devices: 2, missing: 1 }])
    expect(shown(layout)).toMatchObject({ '/dev/vda3': '/dev/md0 0' })
    expect(warnings).toEqual(['/dev/md0 (md raid1) has 1 of its 2 members'])
    expect(refusals.join()).not.toContain('md0')
    expect(parseLayout(renderLayout(layout))).toEqual(layout)
    const preflight = makePreflight(probeOf('refused'), defaultRules, {
      counts: new Map(),
      unread: { count: 0, names: [] },
    })
    expect(parsePreflight(renderPreflight(preflight))).toEqual(preflight)
    expect(showPreflight(preflight).join('\n')).toContain(
      'degraded there, captured as if it were whole:\n  /dev/md0 (md raid1) has 1 of its 2 members\n',
    )
  })

  test('whole ones say nothing of it', () => {
    expect(layout.arrays!.map((array) => 'missing' in array)).toEqual([false, false, false])
    expect(probeOf('md').warnings).toEqual([])
  })

  // The words are those of Documentation/admin-guide/md.rst.
  const sysfs = (said: any, facts: Record<string, string>) => {
    for (const [file, text] of Object.entries(facts)) {
      expect(said.files).toHaveProperty([`/sys/block/${file}`])
      said.files[`/sys/block/${file}`] = base64(`${text}\n`)
    }
  }

  test('one of which a disk has failed and is still there: it is neither a member nor a spare', () => {
    const { layout, warnings } = changedProbe('md', (said) =>
      sysfs(said, {
        'md0/md/degraded': '1',
        'md0/md/dev-vdb1/state': 'faulty',
        'md0/md/dev-vdb1/slot': 'none',
      }),
    )
    expect(layout.arrays![0]).toMatchObject({ devices: 2, missing: 1 })
    expect(layout.disks[1]!.partitions[0]!.member).toEqual({ array: '/dev/md0', failed: true })
    expect(warnings).toEqual(['/dev/md0 (md raid1) has 1 of its 2 members, /dev/vdb1 has failed'])
    expect(parseLayout(renderLayout(layout))).toEqual(layout)
  })

  test('one that a spare is being made a member of: it has its place already', () => {
    const { layout, warnings } = changedProbe('md', (said) => {
      sysfs(said, { 'md1/md/degraded': '1', 'md1/md/dev-vdd2/slot': '0' })
      sysfs(said, { 'md1/md/dev-vda2/state': 'faulty,write_error', 'md1/md/dev-vda2/slot': 'none' })
      said.files['/sys/block/md1/md/sync_action'] = base64('recover\n')
    })
    expect(layout.arrays![1]).toMatchObject({ devices: 3, missing: 1 })
    expect(shown(layout)).toMatchObject({ '/dev/vdd2': '/dev/md1 0', '/dev/vdb2': '/dev/md1 1' })
    expect(warnings).toEqual([
      '/dev/md1 (md raid5) has 2 of its 3 members, /dev/vda2 has failed, it is being rebuilt',
    ])
  })

  test('without sysfs /proc/mdstat says it, and of no other array', () => {
    const { layout, warnings } = changedProbe('md', (said) => {
      for (const name of Object.keys(said.files))
        if (name.startsWith('/sys/block/md')) delete said.files[name]
      const mdstat = Buffer.from(said.files['/proc/mdstat'], 'base64').toString()
      expect(mdstat).toContain('[3/3] [UUU]')
      said.files['/proc/mdstat'] = base64(mdstat.replace('[3/3] [UUU]', '[3/2] [UU_]'))
    })
    expect(layout.arrays!.map(({ devices, missing }) => [devices, missing])).toEqual([
      [2, undefined],
      [3, 1],
      [2, undefined],
    ])
    expect(warnings).toEqual(['/dev/md1 (md raid5) has 2 of its 3 members'])
  })

  test.each([
    ['-1', undefined],
    ['99', 2],
    ['x', undefined],
    ['', undefined],
  ])('degraded %j', (said, missing) => {
    const { layout } = changedProbe('md', (answer) => sysfs(answer, { 'md0/md/degraded': said }))
    expect(layout.arrays![0]!.missing).toBe(missing)
  })
})

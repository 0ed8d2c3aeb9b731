import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Disk, DiskLayout, Partition } from '../../src/image/disk-layout.ts'
import { partitionPath } from '../../src/image/disks.ts'
import { chooseDisk, planLayout } from '../../src/install/layout.ts'
import {
  BIOS_BOOT,
  disk,
  ESP,
  factsWith,
  GIB,
  goldenDisk,
  goldenDiskWithSwap,
  MIB,
  rootFilesystem,
} from './sample-image.ts'

const plan = (golden: Disk, bytes: number, firmware: 'bios' | 'uefi' = 'bios', sectorBytes = 512) =>
  planLayout({
    layout: { disks: [golden], fstab: '' },
    facts: factsWith([disk('/dev/sda', bytes, { sectorBytes })], firmware),
  })
const sizes = (p: ReturnType<typeof plan>) =>
  p.partitions.map((q) => [q.number, q.startBytes / MIB, q.sizeBytes / MIB])

describe('where partitions lie', () => {
  const table: [string, Disk, number, number[][]][] = [
    [
      'the same disk: the same sizes',
      goldenDisk,
      3 * GIB,
      [
        [1, 1, 1],
        [2, 2, 64],
        [3, 66, 3005],
      ],
    ],
    [
      'a larger disk: the last one grows to its end',
      goldenDisk,
      8 * GIB,
      [
        [1, 1, 1],
        [2, 2, 64],
        [3, 66, 8125],
      ],
    ],
    [
      'a smaller disk: it shrinks',
      goldenDisk,
      GIB,
      [
        [1, 1, 1],
        [2, 2, 64],
        [3, 66, 957],
      ],
    ],
    [
      'swap behind it keeps its size',
      goldenDiskWithSwap,
      6 * GIB,
      [
        [1, 1, 1],
        [2, 2, 64],
        [3, 66, 5821],
        [4, 5887, 256],
      ],
    ],
  ]
  test.each(table)('%s', (_, golden, bytes, expected) => {
    expect(sizes(plan(golden, bytes))).toEqual(expected)
  })

  test('sector numbers are the target disk’s own', () => {
    const { sfdisk } = plan(goldenDisk, 3 * GIB, 'bios', 4096)
    expect(sfdisk).toContain('sector-size: 4096')
    expect(sfdisk).toContain('1 : start=256, size=256')
  })

  test('types, names and GUIDs stay', () => {
    const { sfdisk } = plan(goldenDisk, 3 * GIB)
    expect(sfdisk).toContain(`label-id: ${goldenDisk.id}`)
    expect(sfdisk).toContain(`1 : start=2048, size=2048, type=${BIOS_BOOT}, name="bios"`)
    expect(sfdisk).toContain(
      `2 : start=4096, size=131072, type=${ESP}, uuid=FC9D4267-1204-614E-99FC-9E9B244A19B7\n`,
    )
  })

  test('a table that is longer or shorter than usual stays so: sfdisk makes it of what we write', () => {
    const dir = mkdtempSync(join(tmpdir(), 'sysclone-layout-'))
    try {
      for (const [tableLength, number, bytes, sectorBytes] of [
        ...([
          [undefined, 3, 3 * GIB, 512],
          [256, 200, 3 * GIB, 512],
          [64, 3, 3 * GIB, 512],
        ] as const),
        ...([
          [8128, 1024, 2 * GIB, 512],
          [undefined, 130, 2 * GIB, 512],
        ] as const), // the last: of an old image
      ] as const) {
        const partitions = goldenDisk.partitions.map((p) => (p.number === 3 ? { ...p, number } : p))
        const golden = { ...goldenDisk, partitions, ...(tableLength && { tableLength }) }
        const planned = plan(golden, bytes, 'bios', sectorBytes)
        const file = join(dir, `${tableLength}-${number}.img`)
        execFileSync('truncate', ['-s', `${bytes}`, file])
        execFileSync('sfdisk', ['--quiet', '--wipe', 'always', '--label', 'gpt', file], {
          input: planned.sfdisk,
        })
        const { partitiontable } = JSON.parse(execFileSync('sfdisk', ['--json', file]).toString())
        const usual = tableLength === undefined && number <= 128
        expect(partitiontable['table-length']).toBe(usual ? undefined : `${tableLength ?? number}`)
        expect(
          partitiontable.partitions.map(({ node, start }: { node: string; start: number }) => [node, start]),
        ).toEqual(planned.partitions.map((p) => [`${file}${p.number}`, p.startBytes / sectorBytes]))
        const last = planned.partitions.at(-1)!
        expect((last.startBytes + last.sizeBytes) / sectorBytes - 1).toBeLessThanOrEqual(
          partitiontable.lastlba,
        )
      }
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  test('room that is kept free before the first partition stays free; at the end of the disk none does', () => {
    const dir = mkdtempSync(join(tmpdir(), 'sysclone-layout-'))
    try {
      const starts = { 1: 16384, 2: 18432, 3: 149504 } as Record<number, number>
      const golden: Disk = {
        ...goldenDisk,
        ...{ firstSector: 16384, lastSector: 6303743 },
        partitions: goldenDisk.partitions.map((p) => ({ ...p, start: starts[p.number]! })),
      }
      for (const [bytes, sectorBytes] of [
        [3 * GIB, 512],
        [8 * GIB, 4096],
      ] as const) {
        const planned = plan(golden, bytes, 'bios', sectorBytes)
        expect(planned.partitions.map(({ startBytes }) => startBytes / MIB)).toEqual([8, 9, 73])
        const { startBytes, sizeBytes } = planned.partitions[2]!
        expect((startBytes + sizeBytes) / MIB).toBe(bytes / MIB - 1)
        expect(planned.sfdisk).toContain(`first-lba: ${(8 * MIB) / sectorBytes}\n`)
        expect(planned.sfdisk).not.toContain('last-lba')
        if (sectorBytes !== 512) continue // a file has no other sectors
        const file = join(dir, 'front.img')
        execFileSync('truncate', ['-s', `${bytes}`, file])
        execFileSync('sfdisk', ['--quiet', '--label', 'gpt', file], { input: planned.sfdisk })
        const { partitiontable } = JSON.parse(execFileSync('sfdisk', ['--json', file]).toString())
        expect(partitiontable.firstlba).toBe(16384)
        expect(partitiontable.lastlba).toBe(bytes / 512 - 34)
      }
      const needs = (disk: Disk) => {
        try {
          plan(disk, 300 * MIB)
        } catch (error) {
          return Number(/needs ([\d.]+) GB/.exec(String(error))?.[1])
        }
        throw new Error('it fits')
      }
      const crowded = {
        ...goldenDisk,
        firstSector: 2 ** 22,
        partitions: golden.partitions.map((p) => ({ ...p, start: p.start + 2 ** 22 })),
      }
      expect(needs(crowded) - needs(goldenDisk)).toBeCloseTo(2 ** 31 / 1e9, 0)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  test('tables that begin earlier or are silent begin at the first MiB', () => {
    for (const firstSector of [undefined, 0, 34, 2048]) {
      const planned = plan({ ...goldenDisk, ...(firstSector !== undefined && { firstSector }) }, 3 * GIB)
      expect(planned.partitions[0]!.startBytes).toBe(MIB)
      expect(planned.sfdisk).not.toContain('first-lba')
    }
  })

  test('a table that does not fit before the first partition is refused', () => {
    expect(() => plan({ ...goldenDisk, tableLength: 8129 }, 3 * GIB)).toThrow(
      /room for 8129 partitions.*at most 8128/,
    )
  })

  test('numbers out of the order on disk stay, as cloud images have them', () => {
    const [bios, esp, root] = goldenDisk.partitions as [Partition, Partition, Partition]
    const cloud = {
      ...goldenDisk,
      partitions: [
        { ...root, number: 1 },
        { ...bios, number: 14 },
        { ...esp, number: 15 },
      ],
    }
    expect(sizes(plan(cloud, 3 * GIB)).map(([number]) => number)).toEqual([14, 15, 1])
  })
})

describe('refused before any write', () => {
  const withRoot = (filesystem: object): Disk => ({
    ...goldenDisk,
    partitions: goldenDisk.partitions.map((p) =>
      p.number === 3 ? { ...p, filesystem: { ...rootFilesystem, ...filesystem } } : p,
    ),
  })
  const without = (type: string): Disk => ({
    ...goldenDisk,
    partitions: goldenDisk.partitions.filter((p) => p.type !== type),
  })
  const layout = (...disks: Disk[]): DiskLayout => ({ disks, fstab: '' })
  const big = [disk('/dev/vda', 8 * GIB)]
  const table: [string, DiskLayout, ReturnType<typeof factsWith>, RegExp][] = [
    [
      'too small',
      layout(goldenDisk),
      factsWith([disk('/dev/vda', 10 ** 9)]),
      /needs 1\.1 GB on one disk, \/dev\/vda has 1\.0 GB/,
    ],
    [
      'far too small',
      layout(withRoot({ usedBytes: 1.7e9 })),
      factsWith([disk('/dev/vda', 10 ** 9)]),
      /needs 2\.1 GB on one disk, \/dev\/vda has 1\.0 GB/,
    ],
    ['no disk', layout(goldenDisk), factsWith([]), /shows no disk at all/],
    [
      'a stick only',
      layout(goldenDisk),
      factsWith([disk('/dev/sda', 8 * GIB, { transport: 'usb' })]),
      /only \/dev\/sda \(8\.5 GB, usb\)/,
    ],
    [
      'xfs',
      layout(withRoot({ type: 'xfs' })),
      factsWith(big),
      /\/dev\/vda3 of the golden client holds xfs; allowed: ext4, swap, vfat/,
    ],
    ['LVM', layout(withRoot({ type: 'LVM2_member' })), factsWith(big), /holds LVM2_member/],
    ['RAID', layout(withRoot({ type: 'linux_raid_member' })), factsWith(big), /holds linux_raid_member/],
    ['no UUID', layout(withRoot({ uuid: undefined })), factsWith(big), /ext4 with the UUID unknown/],
    [
      'two disks',
      layout(goldenDisk, { ...goldenDisk, path: '/dev/vdb' }),
      factsWith(big),
      /\/dev\/vda, \/dev\/vdb; allowed: a system on one disk/,
    ],
    [
      'a dos table',
      layout({ ...goldenDisk, label: 'dos' }),
      factsWith(big),
      /dos partition table; allowed: gpt/,
    ],
    ['no root', layout(withRoot({ mountpoint: '/srv' })), factsWith(big), /no root file system/],
    [
      'BIOS machine, no BIOS boot partition',
      layout(without(BIOS_BOOT)),
      factsWith(big),
      /cannot start on a BIOS machine/,
    ],
    ['UEFI machine, no ESP', layout(without(ESP)), factsWith(big, 'uefi'), /cannot start on a UEFI machine/],
  ]
  test.each(table)('%s', (_, golden, facts, expected) => {
    expect(() => planLayout({ layout: golden, facts })).toThrow(expected)
  })

  test('a quote in a partition name is refused, not written', () => {
    const named = {
      ...goldenDisk,
      partitions: goldenDisk.partitions.map((p) => ({ ...p, name: 'a", type=x' })),
    }
    expect(() => plan(named, 3 * GIB)).toThrow(/sfdisk: cannot be written/)
  })
})

describe('which disk', () => {
  const disks = [
    disk('/dev/sdaa', 8 * GIB),
    disk('/dev/sdb', 8 * GIB, { links: ['/dev/disk/by-id/wwn-0x5000'] }),
    disk('/dev/sda', 4 * GIB),
    disk('/dev/sdc', 8 * GIB, { readOnly: true }),
    disk('/dev/sdd', 8 * GIB, { removable: true }),
  ]
  const table: [string, number, string | undefined, string | RegExp][] = [
    ['the first by path', GIB, undefined, '/dev/sda'],
    [
      'the first is too small: no other is guessed, it may hold data',
      5 * GIB,
      undefined,
      /needs 5\.4 GB on one disk, \/dev\/sda has 4\.2 GB, .*allowed: the disk named by installdisk=/,
    ],
    ['the one that is named', GIB, '/dev/sdaa', '/dev/sdaa'],
    ['by a link', GIB, '/dev/disk/by-id/wwn-0x5000', '/dev/sdb'],
    ['removable when named', GIB, '/dev/sdd', '/dev/sdd'],
    ['never a read-only one', GIB, '/dev/sdc', /read-only/],
    [
      'named and absent',
      GIB,
      '/dev/nvme0n1',
      /installdisk is not there \(\/dev\/nvme0n1; allowed: \/dev\/sdaa/,
    ],
    [
      'named and too small: no other instead',
      5 * GIB,
      '/dev/sda',
      /needs 5\.4 GB on one disk, \/dev\/sda has 4\.2 GB/,
    ],
  ]
  test('sdb comes before sdaa', () => {
    expect(chooseDisk([disk('/dev/sdaa', GIB), disk('/dev/sdb', GIB)], GIB).path).toBe('/dev/sdb')
  })
  test.each(table)('%s', (_, bytes, installdisk, expected) => {
    const choose = () => chooseDisk(disks, bytes, installdisk).path
    if (typeof expected === 'string') expect(choose()).toBe(expected)
    else expect(choose).toThrow(expected)
  })

  test.each([
    ['/dev/sda', 3, '/dev/sda3'],
    ['/dev/nvme0n1', 3, '/dev/nvme0n1p3'],
    ['/dev/mmcblk0', 1, '/dev/mmcblk0p1'],
  ] as const)('%s %d', (path, number, expected) => expect(partitionPath(path, number)).toBe(expected))
})

describe('laws', () => {
  // Any golden disk: partitions in any number order, of any size, with gaps, one of them the root.
  const goldenDisks = fc
    .record({
      sizesMib: fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 8 }),
      oddSectors: fc.array(fc.integer({ min: 0, max: 2047 }), { minLength: 8, maxLength: 8 }),
      rootIndex: fc.nat(),
      used: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
    })
    .map(({ sizesMib, oddSectors, rootIndex, used }) => {
      let next = 34
      const partitions = sizesMib.map((mib, i): Partition => {
        const start = next + oddSectors[i]!
        const size = mib * 2048 + oddSectors[i]!
        next = start + size
        const at = { number: sizesMib.length - i, start, size, type: BIOS_BOOT }
        if (i !== rootIndex % sizesMib.length) return at
        const usedBytes = used === undefined ? {} : { usedBytes: Math.floor(size * 512 * used) }
        return {
          ...at,
          filesystem: { type: 'ext4', uuid: rootFilesystem.uuid, mountpoint: '/', ...usedBytes },
        }
      })
      return { ...goldenDisk, bytes: (next + 34) * 512, partitions }
    })

  test('partitions never overlap, never pass the end, are aligned and keep what is theirs', () => {
    fc.assert(
      fc.property(
        goldenDisks,
        fc.integer({ min: 256 * 2048, max: 2 ** 27 }),
        fc.constantFrom(512, 4096),
        (golden, units, sector) => {
          const bytes = units * 512 - ((units * 512) % sector)
          let planned: ReturnType<typeof plan>
          try {
            planned = plan(golden, bytes, 'bios', sector)
          } catch (error) {
            expect(String(error)).toMatch(/disk too small/)
            return
          }
          let end = MIB
          for (const p of planned.partitions) {
            expect(p.startBytes).toBeGreaterThanOrEqual(end)
            expect(p.startBytes % MIB).toBe(0)
            expect(p.sizeBytes % MIB).toBe(0)
            expect(p.sizeBytes).toBeGreaterThan(0)
            end = p.startBytes + p.sizeBytes
            const was = golden.partitions.find((q) => q.number === p.number)!
            if (!p.filesystem) expect(p.sizeBytes).toBeGreaterThanOrEqual(was.size * 512)
            else expect(p.sizeBytes).toBeGreaterThan((p.filesystem.usedBytes ?? 0) - MIB)
          }
          expect(end).toBeLessThanOrEqual(bytes - 34 * sector)
          expect(planned.partitions).toHaveLength(golden.partitions.length)
        },
      ),
    )
  })

  test('a disk like the golden one, with its usual alignment, is always large enough', () => {
    fc.assert(
      fc.property(fc.integer({ min: 300, max: 100_000 }), fc.boolean(), (mib, known) => {
        const rootSectors = mib * 2048 - 135168 - 34
        const { usedBytes, ...rest } = rootFilesystem
        const filesystem = known ? { ...rest, usedBytes } : rest
        const partitions = goldenDisk.partitions.map((p) =>
          p.number === 3 ? { ...p, size: rootSectors, filesystem } : p,
        )
        plan({ ...goldenDisk, bytes: mib * MIB, partitions }, mib * MIB)
      }),
    )
  })
})

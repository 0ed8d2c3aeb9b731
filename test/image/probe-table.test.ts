// Partition tables, as sfdisk says them.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { readProbe } from '../../src/image/probe.ts'
import { changedProbe, probeOf, saidOf } from './probes.ts'

const { layout } = probeOf('lvm')

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
    const table = said.sfdisk[0].partitiontable
    table['table-length'] = length
    table.lastlba = 2097152 - 2 - (Number(length) * 128) / 512
    const longer = readProbe(JSON.stringify(said)).layout
    expect(longer.disks[0]).toEqual({ ...layout.disks[0], tableLength: Number(length) })
    expect(parseLayout(renderLayout(longer))).toEqual(longer)
  }
  const wrong = saidOf('lvm')
  wrong.sfdisk[0].partitiontable['table-length'] = 'many'
  expect(() => readProbe(JSON.stringify(wrong))).toThrow(WireError)
})

const dir = mkdtempSync(join(tmpdir(), 'sysclone-table-'))
afterAll(() => rmSync(dir, { recursive: true }))

/** What is read of a table that sfdisk made on a disk of so many MiB, and says, when the disk has these many. */
function tableOf(header: string, mib: { made: number; now: number }) {
  const file = join(dir, 'disk.img')
  rmSync(file, { force: true })
  execFileSync('truncate', ['-s', `${mib.made}M`, file])
  execFileSync('sfdisk', ['--quiet', file], { input: `label: gpt\n${header}\n\nsize=16M\n` })
  execFileSync('truncate', ['-s', `${mib.now}M`, file])
  const said = execFileSync('sfdisk', ['--json', file], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
  const { layout } = changedProbe('lvm', (answer) => {
    const vdb = answer.lsblk.blockdevices.find(({ name }: { name: string }) => name === '/dev/vdb')
    vdb.size = mib.now * 2 ** 20
    answer.sfdisk.push(JSON.parse(said.replaceAll(file, '/dev/vdb')))
  })
  expect(parseLayout(renderLayout(layout))).toEqual(layout)
  const { label, firstSector, lastSector, tableLength } = layout.disks.find(
    ({ path }) => path === '/dev/vdb',
  )!
  return { label, firstSector, lastSector, tableLength }
}

test('where the room of a GPT ends is kept when it is not where the table would have it', () => {
  expect(tableOf('', { made: 64, now: 64 })).toEqual({ label: 'gpt', firstSector: 2048 })
  expect(tableOf('last-lba: 100000', { made: 64, now: 64 })).toMatchObject({ lastSector: 100000 })
  expect(tableOf('first-lba: 8192', { made: 64, now: 64 })).toEqual({ label: 'gpt', firstSector: 8192 })
  // A longer table takes more of the end, and that is its usual place.
  const longer = tableOf('table-length: 1024', { made: 64, now: 64 })
  expect(longer).toEqual({ label: 'gpt', firstSector: 2048, tableLength: 1024 })
  // A virtual disk that was made larger.
  expect(tableOf('', { made: 64, now: 128 })).toMatchObject({ lastSector: 131072 - 34 })
})

// Partition tables, as sfdisk says them.
import { expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'
import { readProbe } from '../../src/image/probe.ts'
import { probeOf, saidOf } from './probes.ts'

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
    said.sfdisk[0].partitiontable['table-length'] = length
    const longer = readProbe(JSON.stringify(said)).layout
    expect(longer.disks[0]).toEqual({ ...layout.disks[0], tableLength: Number(length) })
    expect(parseLayout(renderLayout(longer))).toEqual(longer)
  }
  const wrong = saidOf('lvm')
  wrong.sfdisk[0].partitiontable['table-length'] = 'many'
  expect(() => readProbe(JSON.stringify(wrong))).toThrow(WireError)
})

// The probe of machines with LVM, md, LUKS, btrfs, xfs and swap, on a real kernel that has all of these; what it says is
// what the fixtures of the other tests hold. UPDATE_GOLDEN=1 writes them anew.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { notDeployable } from '../../src/image/disks.ts'
import { type Probe, readProbe } from '../../src/image/probe.ts'
import { ensureStorageSystem, runStorage } from './storage/system.ts'

const folder = mkdtempSync(join(process.env.SYSCLONE_WORK ?? tmpdir(), 'sysclone-storage-'))
const fixtures = join(import.meta.dirname, '../fixtures/capture/probes')
const machines = ['lvm', 'md', 'luks', 'btrfs', 'refused']
const text = (path: string) => readFileSync(join(import.meta.dirname, path), 'utf8')
let console_ = ''

beforeAll(async () => {
  const cache = process.env.SYSCLONE_CACHE || '/var/cache/sysclone'
  const system = await ensureStorageSystem(cache, (line) => process.stderr.write(`${line}\n`))
  mkdirSync(folder, { recursive: true })
  const said = await runStorage({
    ...{ system, folder, disks: 4, timeoutMs: 1_500_000 }, // five machines and four snapshots, on a busy host
    files: {
      init: text('storage/init'),
      'machines.sh': text('storage/machines.sh'),
      'probes.sh': text('storage/probes.sh'),
      'probe.sh': text('../../bootfiles/capture/probe.sh'),
      'holds.sh': text('storage/holds.sh'),
      'hold.sh': text('../../bootfiles/capture/hold.sh'),
      'main.sh': `for name in ${machines.join(' ')}; do sh -eu ./probes.sh "$name"; done\nsh -eu ./holds.sh\n`,
    },
  })
  console_ = said.console
  if (process.env.UPDATE_GOLDEN === '1')
    for (const name of machines) writeFileSync(join(fixtures, `${name}.json`), answer(name))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const answer = (name: string) => readFileSync(join(folder, 'out', `${name}.json`), 'utf8')

test('every machine was built and probed, without a word on stderr', () => {
  expect(console_).toContain('MARK ended with 0')
  for (const name of machines) expect(readFileSync(join(folder, 'out', `${name}.err`), 'utf8')).toBe('')
})

/** What does not change from one time to the next: no UUIDs, sizes and times. */
function lasting({ layout, mountpoints, devices, refusals, staysOut, facts }: Probe) {
  const names = (layout.groups ?? []).map(({ name, volumes }) => [
    name,
    volumes.map((v) => `${v.name} ${v.segments[0]!.type}`),
  ])
  const arrays = (layout.arrays ?? []).map(({ path, level, metadata, devices, label }) => ({
    path,
    level,
    metadata,
    devices,
    label,
  }))
  const disks = layout.disks.map(({ path, label, partitions }) => [
    path,
    label,
    partitions.map(({ number, size, type }) => [number, size, type]),
  ])
  return {
    disks,
    names,
    arrays,
    mountpoints,
    devices,
    refusals,
    staysOut,
    kind: facts.bootLoader.kind,
    not: notDeployable(layout),
  }
}

test.each(machines)('%s: the same as in the fixture', (name) => {
  const fixture = readProbe(readFileSync(join(fixtures, `${name}.json`), 'utf8'))
  expect(lasting(readProbe(answer(name)))).toEqual(lasting(fixture))
})

test('LVM snapshots: what is read is what was, and nothing is left, however it ends', () => {
  expect(readFileSync(join(folder, 'out/holds'), 'utf8').split('\n')).toEqual([
    'read before before here thawed 1', // thawed as soon as the snapshots stood
    ...['released', 'lost', 'killed', 'silent'].map((end) => `${end} 0 0 0 frozen thawed `),
    'tight before there 3', // its own volume, and that of the thin one
    'tight 0 0 0 frozen thawed ',
    '',
  ])
})

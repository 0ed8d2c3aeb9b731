// Boot records and events in a real database: bounded in every direction, and a batch that comes twice is stored once.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kysely, sql } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { openBoots } from '../../services/store/boots.ts'
import { openEventRows } from '../../services/store/events.ts'
import { sqliteDialect } from '../../services/store/sqlite.ts'
import { openStore } from '../../services/store/store.ts'
import type { Tables } from '../../services/store/tables.ts'
import type { Mac, NodeName } from '../../src/address.ts'
import type { Step, StepBody } from '../../src/boot/record.ts'

async function database(): Promise<Kysely<Tables>> {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-records-'))
  await (await openStore(join(folder, 'db'))).close() // makes the tables
  const db = new Kysely<Tables>({ dialect: sqliteDialect(join(folder, 'db')) })
  onTestFinished(async () => {
    await db.destroy()
    rmSync(folder, { recursive: true })
  })
  return db
}
const mac = '52:54:00:77:00:11' as Mac
const n1 = 'n1' as NodeName
const minute = 60_000

function discover(time: number, more: Partial<Step> = {}): Step {
  const body: StepBody = {
    kind: 'dhcp',
    ...({ server: '10.0.0.1', port: 67, type: 'discover', client: 'firmware' } as const),
    ...({ request: 'AAAA', answer: 'offer' } as const),
  } as StepBody
  return { time, mac, node: n1, ...body, ...more } as Step
}
const file = (time: number, id: number, text = ''): Step => ({
  ...{ time, mac, node: n1, kind: 'file', id, by: 'http', name: `f${id}`, peer: '10.0.0.11' as never },
  sent: { what: 'text', kind: 'install', text },
})
const end = (time: number, id: number): Step => ({ time, mac, node: n1, kind: 'end', id, bytes: 5 })

test('steps become boots: the newest last, each whole and in order', async () => {
  const boots = await openBoots(await database())
  await boots.add({ of: 'a', number: 1, steps: [discover(1000), file(2000, 1, 'first'), end(2500, 1)] })
  await boots.add({ of: 'a', number: 2, steps: [discover(3000), file(4000, 2, 'second')] })
  const rows = await boots.list({ node: n1, macs: [] })
  expect(rows).toMatchObject([
    { mac, node: n1, began: 1000, last: 2500, steps: 3 },
    { mac, node: n1, began: 3000, last: 4000, steps: 2 },
  ])
  expect(await boots.list({ macs: [mac] })).toEqual(rows)
  expect(await boots.stepsOf(rows[0]!)).toMatchObject([
    { kind: 'dhcp', time: 1000, mac },
    { kind: 'file', sent: { text: 'first' } },
    { kind: 'end', id: 1, bytes: 5 },
  ])
})

test('a batch that comes again, as after a crash of main, is stored once; another life of the boot process counts anew', async () => {
  const db = await database()
  const boots = await openBoots(db)
  const batch = { of: 'a', number: 7, steps: [discover(1000), file(2000, 1)] }
  expect([await boots.add(batch), await boots.add(batch)]).toEqual([true, false])
  expect(await (await openBoots(db)).add(batch)).toBe(false) // main was restarted
  expect((await boots.list({ macs: [mac] })).map(({ steps }) => steps)).toEqual([2])
  expect(await boots.add({ ...batch, of: 'b', number: 1 })).toBe(true)
})

test('a batch is stored whole or not at all', async () => {
  const boots = await openBoots(await database())
  const broken = { ...file(2000, 1), sent: { what: 'text', kind: '', text: 1n } } as unknown as Step
  await expect(boots.add({ of: 'a', number: 1, steps: [discover(1000), broken] })).rejects.toThrow()
  expect([await boots.list({ macs: [mac] }), boots.bytes()]).toEqual([[], 0])
  expect(await boots.add({ of: 'a', number: 1, steps: [discover(1000)] })).toBe(true)
})

test('loose steps that could not be stored do not count as bytes either', async () => {
  const db = await database()
  const boots = await openBoots(db)
  await boots.add({ of: 'a', number: 1, steps: [discover(1000)] })
  const before = boots.bytes()
  // As when the disk is full: the new boot is written, then the oldest ones can not be taken away.
  await sql`create trigger full before delete on boot_record begin select raise(abort, 'full'); end`.execute(
    db,
  )
  const small = await openBoots(db, { perMachine: 1, steps: 30, bytes: 1e6, unknown: 5 })
  await expect(small.addLoose([discover(10 * minute)])).rejects.toThrow('full')
  expect([small.bytes(), (await small.list({ macs: [mac] })).length]).toEqual([before, 1])
  await sql`drop trigger full`.execute(db)
  await small.addLoose([discover(10 * minute)])
  expect((await small.list({ macs: [mac] })).map(({ began }) => began)).toEqual([10 * minute])
  expect(small.bytes()).toBe((await openBoots(db)).bytes())
})

test('bounded: boots of a machine, steps of a boot (its first ones stay), strangers, bytes in all', async () => {
  const limits = { perMachine: 3, steps: 30, bytes: 1e6, unknown: 5 }
  const db = await database()
  const boots = await openBoots(db, limits)
  let number = 0
  const add = (...steps: Step[]) => boots.add({ of: 'a', number: ++number, steps })
  for (let i = 0; i < 6; i++) await add(discover(i * 10 * minute))
  expect((await boots.list({ macs: [mac] })).map(({ began }) => began / minute)).toEqual([30, 40, 50])
  for (let i = 0; i < 50; i++) await add(file(51 * minute + i, i))
  const [newest] = (await boots.list({ macs: [mac] })).slice(-1)
  const ids = (await boots.stepsOf(newest!)).map((step) => (step.kind === 'file' ? step.id : -1))
  expect(newest!.steps).toBe(30)
  expect(ids.slice(0, 20)).toEqual([-1, ...Array.from({ length: 19 }, (_, i) => i)])
  expect(ids.slice(20)).toEqual(Array.from({ length: 10 }, (_, i) => 40 + i))

  for (let i = 0; i < 20; i++) {
    const { node: _, ...stranger } = discover(60 * minute + i, { mac: `52:54:00:00:00:${10 + i}` as Mac })
    await add(stranger)
  }
  const strangers = await db.selectFrom('boot_record').select('mac').where('node', 'is', null).execute()
  expect(strangers.map((row) => row.mac.slice(-2))).toEqual(['25', '26', '27', '28', '29'])
  expect(await boots.list({ macs: [mac] })).toHaveLength(3) // made-up machines push out no node's

  const small = await openBoots(db, { ...limits, bytes: 20_000 })
  await small.add({ of: 'b', number: 1, steps: [file(80 * minute, 1, 'x'.repeat(15_000))] })
  expect(small.bytes()).toBeLessThanOrEqual(20_000)
  const left = await db.selectFrom('boot_record').selectAll().execute()
  expect(left.reduce((sum, row) => sum + row.bytes, 0)).toBe(small.bytes())
  const orphans = await db
    .selectFrom('boot_step')
    .select('boot')
    .where(
      'boot',
      'not in',
      left.map(({ id }) => id),
    )
    .execute()
  expect(orphans).toEqual([])
})

test('events: read on from an id, the oldest forgotten by number and by age', async () => {
  const db = await database()
  const rows = openEventRows(db, { count: 3000, days: 2 })
  const at = (time: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      id: time * 1000 + i,
      event: { time, type: 'job.done', job: `j${i}`, node: i % 2 ? 'n1' : 'n2' } as const,
    }))
  const day = 86_400_000
  await rows.add(at(10 * day, 10))
  await rows.add(at(11 * day, 1000))
  expect((await rows.after(11 * day * 1000 + 997, 10)).map(({ event }) => event.job)).toEqual([
    'j998',
    'j999',
  ])
  expect((await rows.lastOf('n1', 2)).map(({ event }) => event.job)).toEqual(['j997', 'j999'])
  await rows.add(at(12 * day + 1000, 2500))
  // Two days before the last event is after the first ten; 3000 in all leave the newest.
  expect(await rows.ends()).toEqual({ first: 11 * day * 1000 + 500, last: (12 * day + 1000) * 1000 + 2499 })
})

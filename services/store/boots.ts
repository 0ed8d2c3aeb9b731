// The record of boots: each machine's last ones, step by step, bounded for each machine and in all.
import { type Kysely, type Selectable, sql } from 'kysely'
import type { Mac, NodeName } from '../../src/address.ts'
import { type BootState, placeStep, type Stage, type Step } from '../../src/boot/record.ts'
import type { Tables } from './tables.ts'

export type BootRow = {
  id: number
  mac: Mac
  node?: NodeName
  began: number // ms since 1970
  last: number
  steps: number
}
/** `of` says which boot process sent it, `number` which of its batches it is. */
export type StepBatch = { of: string; number: number; steps: Step[] }

/** What is kept: boots of a machine, steps of a boot, bytes in all, boots of machines that are no nodes. */
const usual = { perMachine: 10, steps: 200, bytes: 256 << 20, unknown: 200 }
/** The first steps of a boot stay however long its machine asks on: they say how it began. */
const FIRST_STEPS = 20
const MARK = 'boot-steps-stored'

type Open = BootState & { id: number; began: number; bytes: number; next: number; steps: number }

export async function openBoots(db: Kysely<Tables>, limits = usual) {
  const sum = await db
    .selectFrom('boot_record')
    .select(sql<number>`sum(bytes)`.as('bytes'))
    .executeTakeFirst()
  let total = Number(sum?.bytes ?? 0)
  const newest = await db
    .selectFrom('boot_record')
    .select('id')
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
  let lastId = Number(newest?.id ?? 0)

  /** One batch as one step; one that was stored before is not stored again. False: it was. */
  async function add({ of, number, steps }: StepBatch): Promise<boolean> {
    const before = { total, lastId }
    try {
      return await db.transaction().execute(async (t) => {
        if (!(await isNew(t, of, number))) return false
        await write(t, steps)
        await markStored(t, of, number)
        return true
      })
    } catch (error) {
      ;({ total, lastId } = before)
      throw error
    }
  }

  /** Steps that came another way than by batches. */
  async function addLoose(steps: Step[]): Promise<void> {
    await db.transaction().execute((t) => write(t, steps))
  }

  async function write(t: Kysely<Tables>, steps: Step[]) {
    const began: { mac: Mac; known: boolean }[] = []
    const byMac = Map.groupBy(steps, ({ mac }) => mac)
    for (const [mac, its] of byMac) {
      let open = await newestOf(t, mac)
      for (const step of its.sort((a, b) => a.time - b.time)) {
        const place = placeStep(open, step)
        if (!place) continue
        if (place.begins) {
          if (open) await putState(t, open)
          open = await begin(t, step)
          began.push({ mac, known: step.node !== undefined })
        }
        Object.assign(open!, place.boot)
        await append(t, open!, step)
      }
      if (open) await putState(t, open)
    }
    for (const { mac } of began) await forgetOldest(t, mac)
    if (began.some(({ known }) => !known)) await forgetUnknown(t)
    await forgetToFit(t)
  }

  async function begin(t: Kysely<Tables>, { mac, node, time }: Step): Promise<Open> {
    const id = ++lastId
    await t
      .insertInto('boot_record')
      .values({
        id,
        mac,
        node: node ?? null,
        began: time,
        last: time,
        stage: '',
        steps: 0,
        bytes: 0,
        next: 0,
      })
      .execute()
    return { id, began: time, last: time, stage: 'firmware asks', bytes: 0, next: 0, steps: 0 }
  }

  async function append(t: Kysely<Tables>, open: Open, { mac: _, node: __, ...step }: Step) {
    const data = JSON.stringify(step)
    await t
      .insertInto('boot_step')
      .values({ boot: open.id, number: open.next++, data })
      .execute()
    open.bytes += data.length
    open.steps++
    if (open.steps <= limits.steps) return
    const middle = await t
      .selectFrom('boot_step')
      .selectAll()
      .where('boot', '=', open.id)
      .where('number', '>=', FIRST_STEPS)
      .orderBy('number')
      .limit(1)
      .executeTakeFirstOrThrow()
    await t.deleteFrom('boot_step').where('boot', '=', open.id).where('number', '=', middle.number).execute()
    open.bytes -= middle.data.length
    open.steps--
  }

  async function putState(t: Kysely<Tables>, { id, last, stage, bytes, next, steps }: Open) {
    const row = await t.selectFrom('boot_record').select('bytes').where('id', '=', id).executeTakeFirst()
    if (!row) return
    total += bytes - Number(row.bytes)
    await t.updateTable('boot_record').set({ last, stage, bytes, next, steps }).where('id', '=', id).execute()
  }

  async function newestOf(t: Kysely<Tables>, mac: Mac): Promise<Open | undefined> {
    const row = await t
      .selectFrom('boot_record')
      .selectAll()
      .where('mac', '=', mac)
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst()
    return row && openOf(row)
  }

  // ---- what is forgotten ----

  async function forgetOldest(t: Kysely<Tables>, mac: Mac) {
    const rows = t.selectFrom('boot_record').select(['id', 'bytes']).where('mac', '=', mac)
    await forget(t, (await rows.orderBy('id', 'desc').execute()).slice(limits.perMachine))
  }

  async function forgetUnknown(t: Kysely<Tables>) {
    const rows = t.selectFrom('boot_record').select(['id', 'bytes']).where('node', 'is', null)
    await forget(t, (await rows.orderBy('id', 'desc').execute()).slice(limits.unknown))
  }

  async function forgetToFit(t: Kysely<Tables>) {
    while (total > limits.bytes) {
      const oldest = await t
        .selectFrom('boot_record')
        .select(['id', 'bytes'])
        .orderBy('id')
        .limit(20)
        .execute()
      if (oldest.length === 0) return
      await forget(t, oldest)
    }
  }

  async function forget(t: Kysely<Tables>, rows: { id: number; bytes: number }[]) {
    for (const { id, bytes } of rows) {
      await t.deleteFrom('boot_step').where('boot', '=', id).execute()
      await t.deleteFrom('boot_record').where('id', '=', id).execute()
      total -= Number(bytes)
    }
  }

  // ---- what is read ----

  /** Of a node by its name or by any of its cards; the newest last. */
  async function list({ node, macs }: { node?: NodeName | undefined; macs: Mac[] }): Promise<BootRow[]> {
    const rows = await db
      .selectFrom('boot_record')
      .selectAll()
      .where((e) =>
        e.or([
          ...(node === undefined ? [] : [e('node', '=', node)]),
          ...(macs.length > 0 ? [e('mac', 'in', macs)] : []),
        ]),
      )
      .orderBy('id')
      .execute()
    return rows.map(({ id, mac, node: name, began, last, steps }) => ({
      ...{ id: Number(id), mac: mac as Mac, began: Number(began), last: Number(last), steps: Number(steps) },
      ...(name !== null && { node: name as NodeName }),
    }))
  }

  /** In the order in which they happened. */
  async function stepsOf({ id, mac }: Pick<BootRow, 'id' | 'mac'>): Promise<Step[]> {
    const rows = await db
      .selectFrom('boot_step')
      .select('data')
      .where('boot', '=', id)
      .orderBy('number')
      .execute()
    return rows.map(({ data }) => ({ mac, ...JSON.parse(data) }) as Step).sort((a, b) => a.time - b.time)
  }

  return { add, addLoose, list, stepsOf, bytes: () => total }
}
export type Boots = Awaited<ReturnType<typeof openBoots>>

async function isNew(t: Kysely<Tables>, of: string, number: number): Promise<boolean> {
  const mark = await t.selectFrom('local').select('value').where('setting', '=', MARK).executeTakeFirst()
  const [lastOf, lastNumber] = mark?.value.split(' ') ?? []
  return lastOf !== of || Number(lastNumber) < number
}

async function markStored(t: Kysely<Tables>, of: string, number: number) {
  const value = `${of} ${number}`
  await t
    .insertInto('local')
    .values({ setting: MARK, value })
    .onConflict((c) => c.column('setting').doUpdateSet({ value }))
    .execute()
}

const openOf = (row: Selectable<Tables['boot_record']>): Open => ({
  id: Number(row.id),
  began: Number(row.began),
  last: Number(row.last),
  stage: row.stage as Stage,
  bytes: Number(row.bytes),
  next: Number(row.next),
  steps: Number(row.steps),
})

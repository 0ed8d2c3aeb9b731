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

/** A boot that is written to: as it is stored, and what is new in it. */
type Open = BootState & {
  row: {
    id: number
    mac: Mac
    node: NodeName | null
    began: number
    next: number
    steps: number
    bytes: number
  }
  /** Its bytes in the database. */
  stored: number
  fresh: boolean
  added: { number: number; data: string }[]
}
const CHUNK = 500 // rows in one statement

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
  const add = ({ of, number, steps }: StepBatch): Promise<boolean> =>
    wholly(async (t) => {
      if (!(await isNew(t, of, number))) return false
      await write(t, steps)
      await markStored(t, of, number)
      return true
    })

  /** Steps that came another way than by batches. */
  const addLoose = (steps: Step[]): Promise<void> => wholly((t) => write(t, steps))

  /** All of it or nothing, in the database and in what is known of it here. */
  async function wholly<T>(work: (t: Kysely<Tables>) => Promise<T>): Promise<T> {
    let before = { total, lastId }
    try {
      return await db.transaction().execute((t) => {
        before = { total, lastId } // others may have been at work until now
        return work(t)
      })
    } catch (error) {
      ;({ total, lastId } = before)
      throw error
    }
  }

  /** In few statements: a rack that boots makes thousands of steps in a second. */
  async function write(t: Kysely<Tables>, steps: Step[]) {
    const byMac = Map.groupBy(steps, ({ mac }) => mac)
    const newest = await newestOf(t, [...byMac.keys()])
    const touched: Open[] = []
    for (const [mac, its] of byMac) {
      let open = newest.get(mac)
      let isTouched = false
      for (const step of its.sort((a, b) => a.time - b.time)) {
        const place = placeStep(open, step)
        if (!place) continue
        if (place.begins) open = begin(step)
        if (place.begins || !isTouched) touched.push(open!)
        isTouched = true
        Object.assign(open!, place.boot)
        append(open!, step)
      }
    }
    await put(t, touched)
    const began = touched.filter(({ fresh }) => fresh)
    await forgetOldest(t, [...new Set(began.map(({ row }) => row.mac))])
    if (began.some(({ row }) => row.node === null)) await forgetUnknown(t)
    await forgetToFit(t)
  }

  function begin({ mac, node, time }: Step): Open {
    const row = { id: ++lastId, mac, node: node ?? null, began: time, next: 0, steps: 0, bytes: 0 }
    return { last: time, stage: 'firmware asks', row, stored: 0, fresh: true, added: [] }
  }

  function append({ row, added }: Open, { mac: _, node: __, ...step }: Step) {
    const data = JSON.stringify(step)
    added.push({ number: row.next++, data })
    row.bytes += data.length
    row.steps++
  }

  async function put(t: Kysely<Tables>, touched: Open[]) {
    const rows = touched.flatMap(({ row, added }) => added.map((step) => ({ boot: row.id, ...step })))
    for (const some of chunks(rows)) await t.insertInto('boot_step').values(some).execute()
    for (const open of touched) if (open.row.steps > limits.steps) await dropMiddle(t, open)
    for (const some of chunks(touched.map(({ row, last, stage }) => ({ ...row, last, stage }))))
      await t
        .insertInto('boot_record')
        .values(some)
        .onConflict((c) =>
          c.column('id').doUpdateSet((e) => ({
            last: e.ref('excluded.last'),
            stage: e.ref('excluded.stage'),
            next: e.ref('excluded.next'),
            steps: e.ref('excluded.steps'),
            bytes: e.ref('excluded.bytes'),
          })),
        )
        .execute()
    for (const { row, stored } of touched) total += row.bytes - stored
  }

  /** The oldest steps but the first ones. */
  async function dropMiddle(t: Kysely<Tables>, { row }: Open) {
    const steps = t.selectFrom('boot_step').selectAll().where('boot', '=', row.id)
    const middle = await steps
      .where('number', '>=', FIRST_STEPS)
      .orderBy('number')
      .limit(row.steps - limits.steps)
      .execute()
    const last = Number(middle.at(-1)!.number)
    await t
      .deleteFrom('boot_step')
      .where('boot', '=', row.id)
      .where('number', '>=', FIRST_STEPS)
      .where('number', '<=', last)
      .execute()
    row.steps -= middle.length
    for (const { data } of middle) row.bytes -= data.length
  }

  async function newestOf(t: Kysely<Tables>, macs: Mac[]): Promise<Map<Mac, Open>> {
    const found = new Map<Mac, Open>()
    for (const some of chunks(macs)) {
      const newest = t
        .selectFrom('boot_record')
        .select((e) => e.fn.max('id').as('id'))
        .where('mac', 'in', some)
        .groupBy('mac')
      const rows = await t.selectFrom('boot_record').selectAll().where('id', 'in', newest).execute()
      for (const row of rows) found.set(row.mac as Mac, openOf(row))
    }
    return found
  }

  // ---- what is forgotten ----

  async function forgetOldest(t: Kysely<Tables>, macs: Mac[]) {
    for (const some of chunks(macs)) {
      const rows = t.selectFrom('boot_record').select(['id', 'mac', 'bytes']).where('mac', 'in', some)
      const byMac = Map.groupBy(await rows.orderBy('id', 'desc').execute(), ({ mac }) => mac)
      await forget(
        t,
        [...byMac.values()].flatMap((its) => its.slice(limits.perMachine)),
      )
    }
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
    for (const some of chunks(rows)) {
      const ids = some.map(({ id }) => id)
      await t.deleteFrom('boot_step').where('boot', 'in', ids).execute()
      await t.deleteFrom('boot_record').where('id', 'in', ids).execute()
      for (const { bytes } of some) total -= Number(bytes)
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
  last: Number(row.last),
  stage: row.stage as Stage,
  row: {
    ...{
      id: Number(row.id),
      mac: row.mac as Mac,
      node: row.node as NodeName | null,
      began: Number(row.began),
    },
    ...{ next: Number(row.next), steps: Number(row.steps), bytes: Number(row.bytes) },
  },
  stored: Number(row.bytes),
  fresh: false,
  added: [],
})

const chunks = <T>(list: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(list.length / CHUNK) }, (_, i) => list.slice(i * CHUNK, (i + 1) * CHUNK))

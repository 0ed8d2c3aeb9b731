// The recent part of the event stream. Ids count up with the clock, so that they stay in order over every restart.
import type { Kysely } from 'kysely'
import type { Event } from '../../src/events.ts'
import type { Tables } from './tables.ts'

/** `id` is greater than that of every event before it: milliseconds since 1970, times 1000, and a count. */
export type KeptEvent = { id: number; event: Event }

const usual = { count: 100_000, days: 30 }
const CHUNK = 500
const FORGET_EVERY = 2000 // events

export function openEventRows(db: Kysely<Tables>, limits = usual) {
  let sinceForgotten = 0

  /** All of them as one step, in this order. */
  async function add(kept: KeptEvent[]): Promise<void> {
    const rows = kept.map(({ id, event }) => ({
      id,
      time: event.time,
      type: event.type,
      node: event.node ?? null,
      data: JSON.stringify(event),
    }))
    await db.transaction().execute(async (t) => {
      for (let i = 0; i < rows.length; i += CHUNK)
        await t
          .insertInto('event')
          .values(rows.slice(i, i + CHUNK))
          .execute()
      if (sinceForgotten + rows.length >= FORGET_EVERY) await forget(t, rows.at(-1)!.time)
    })
    sinceForgotten = sinceForgotten + rows.length >= FORGET_EVERY ? 0 : sinceForgotten + rows.length
  }

  async function forget(t: Kysely<Tables>, now: number) {
    const tooMany = await t
      .selectFrom('event')
      .select('id')
      .orderBy('id', 'desc')
      .offset(limits.count)
      .limit(1)
      .executeTakeFirst()
    const tooOld = (now - limits.days * 86_400_000) * 1000
    await t
      .deleteFrom('event')
      .where('id', '<=', Math.max(tooOld, Number(tooMany?.id ?? 0)))
      .execute()
  }

  /** At most `most` of those that came after `id`, oldest first. */
  async function after(id: number, most: number): Promise<KeptEvent[]> {
    const rows = await db
      .selectFrom('event')
      .select(['id', 'data'])
      .where('id', '>', id)
      .orderBy('id')
      .limit(most)
      .execute()
    return rows.map((row) => ({ id: Number(row.id), event: JSON.parse(row.data) }))
  }

  /** The last ones of a node or a machine, oldest first. */
  async function lastOf(node: string, most: number): Promise<KeptEvent[]> {
    const rows = await db
      .selectFrom('event')
      .select(['id', 'data'])
      .where('node', '=', node)
      .orderBy('id', 'desc')
      .limit(most)
      .execute()
    return rows.reverse().map((row) => ({ id: Number(row.id), event: JSON.parse(row.data) }))
  }

  /** The ids of the first and the last event that is kept. */
  async function ends(): Promise<{ first: number; last: number } | undefined> {
    const end = (direction: 'asc' | 'desc') =>
      db.selectFrom('event').select('id').orderBy('id', direction).limit(1).executeTakeFirst()
    const [first, last] = [await end('asc'), await end('desc')]
    return first && last && { first: Number(first.id), last: Number(last.id) }
  }

  return { add, after, lastOf, ends }
}
export type EventRows = ReturnType<typeof openEventRows>

// Who changed what: one row an object, the oldest forgotten so that the file does not grow without end.
import type { Kysely } from 'kysely'
import { type Columns, fromRow, json, number, text, toRow } from './columns.ts'
import type { Tables } from './tables.ts'

export type AuditEntry = {
  id: number // counts up
  time: number // ms since 1970
  who: string
  what: string // 'chdef node'
  object: string
  before?: Record<string, string> // attributes as they are shown; absent: it was not there
  after?: Record<string, string>
}
export type NewEntry = Omit<AuditEntry, 'id'>

const columns: Columns<AuditEntry> = {
  id: number,
  time: number,
  who: text,
  what: text,
  object: text,
  before: json,
  after: json,
}
const MOST = 100_000 // entries kept
const CHUNK = 500

export function openAudit(db: Kysely<Tables>, most = MOST) {
  /** All of them as one step, in this order. */
  async function add(entries: NewEntry[]): Promise<void> {
    await db.transaction().execute(async (t) => {
      const newest = await t
        .selectFrom('audit')
        .select('id')
        .orderBy('id', 'desc')
        .limit(1)
        .executeTakeFirst()
      const start = Number(newest?.id ?? 0) + 1
      const rows = entries.map((entry, i) => toRow(columns, { ...entry, id: start + i }))
      for (let i = 0; i < rows.length; i += CHUNK)
        await t
          .insertInto('audit')
          .values(rows.slice(i, i + CHUNK))
          .execute()
      await t
        .deleteFrom('audit')
        .where('id', '<', start + entries.length - most)
        .execute()
    })
  }

  /** The last ones, oldest first. */
  async function list({
    object,
    last,
  }: {
    object?: string | undefined
    last: number
  }): Promise<AuditEntry[]> {
    const all = db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(last)
    const rows = await (object === undefined ? all : all.where('object', '=', object)).execute()
    return rows.reverse().map((row) => fromRow(columns, row))
  }

  return { add, list }
}
export type Audit = ReturnType<typeof openAudit>

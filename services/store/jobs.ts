// Jobs in the database: those that run, and the last ones that ended.
import type { Kysely } from 'kysely'
import type { Job } from '../../src/job.ts'
import { type Columns, fromRow, json, number, text, toRow } from './columns.ts'
import type { Tables } from './tables.ts'

const columns: Columns<Job> = {
  id: text,
  kind: text,
  node: text,
  image: text,
  uses: json,
  hostKey: text,
  jumpHostKey: text,
  state: text,
  startedAt: number,
  endedAt: number,
  result: text,
  fault: json,
}
const MOST = 1000 // ended ones kept

export function openJobRows(db: Kysely<Tables>, most = MOST) {
  const newestFirst = () => db.selectFrom('job').selectAll().orderBy('startedAt', 'desc').orderBy('id')
  const records = (rows: Tables['job'][]) => rows.map((row) => fromRow(columns, row))

  async function get(id: string): Promise<Job | undefined> {
    return records(await newestFirst().where('id', '=', id).execute())[0]
  }

  /** The last ones that were started, oldest first. */
  const list = async (last: number): Promise<Job[]> =>
    records(await newestFirst().limit(last).execute()).reverse()
  const listRunning = async (): Promise<Job[]> =>
    records(await newestFirst().where('state', '=', 'running').execute()).reverse()

  /** Writes one, and forgets the oldest of those that ended. */
  async function put(job: Job): Promise<void> {
    const row = toRow(columns, job)
    await db
      .insertInto('job')
      .values(row)
      .onConflict((c) => c.column('id').doUpdateSet(row))
      .execute()
    const kept = newestFirst().clearSelect().select('id').where('state', '<>', 'running').limit(most)
    await db.deleteFrom('job').where('state', '<>', 'running').where('id', 'not in', kept).execute()
  }

  return { get, list, listRunning, put }
}
export type JobRows = ReturnType<typeof openJobRows>

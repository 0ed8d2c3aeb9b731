// One step in the database: everything in it is done or nothing.
import type { Kysely, Transaction } from 'kysely'
import type { Tables } from './tables.ts'

/** Begins a transaction, or goes on in the one that `db` already is. */
export function atomically<T>(db: Kysely<Tables>, work: (t: Transaction<Tables>) => Promise<T>): Promise<T> {
  return db.isTransaction ? work(db as Transaction<Tables>) : db.transaction().execute(work)
}

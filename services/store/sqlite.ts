// kysely over node:sqlite. kysely's own SQLite dialect wants a driver with better-sqlite3's four calls; these are they.
import type { SQLInputValue } from 'node:sqlite'
import { DatabaseSync } from 'node:sqlite'
import { SqliteDialect } from 'kysely'

/** Opens the file; throws when it is not a database. */
export function sqliteDialect(path: string): SqliteDialect {
  const database = new DatabaseSync(path)
  // An answer that an admin has seen survives a power cut: FULL, not WAL's usual NORMAL.
  for (const pragma of [
    'busy_timeout = 5000',
    'journal_mode = WAL',
    'synchronous = FULL',
    'foreign_keys = ON',
  ])
    database.exec(`PRAGMA ${pragma}`)
  return new SqliteDialect({
    database: { close: () => database.close(), prepare: (sql) => prepared(database, sql) },
  })
}

function prepared(database: DatabaseSync, sql: string) {
  const statement = database.prepare(sql)
  const values = (parameters: readonly unknown[]) => parameters as SQLInputValue[]
  return {
    // `run` would lose the rows of a `returning`: whatever has columns is read.
    reader: statement.columns().length > 0,
    all: (parameters: readonly unknown[]) => statement.all(...values(parameters)),
    run: (parameters: readonly unknown[]) => statement.run(...values(parameters)),
    iterate: (parameters: readonly unknown[]) => statement.iterate(...values(parameters)),
  }
}

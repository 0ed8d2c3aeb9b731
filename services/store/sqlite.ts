// kysely over node:sqlite. kysely's own SQLite dialect wants a driver with better-sqlite3's four calls; these are they.
import type { SQLInputValue } from 'node:sqlite'
import { DatabaseSync } from 'node:sqlite'
import { SqliteDialect } from 'kysely'
import { UserError } from '../../src/fault.ts'

/** Opens the file; throws UserError when it is not a whole database. */
export function sqliteDialect(path: string): SqliteDialect {
  const database = named(path, () => new DatabaseSync(path))
  try {
    named(path, () => prepareFile(database, path))
  } catch (error) {
    database.close()
    throw error
  }
  return new SqliteDialect({
    database: { close: () => database.close(), prepare: (sql) => prepared(database, sql, path) },
  })
}

function prepareFile(database: DatabaseSync, path: string) {
  // An answer that an admin has seen survives a power cut: FULL, not WAL's usual NORMAL.
  for (const pragma of [
    'busy_timeout = 2000', // every request waits meanwhile
    'journal_mode = WAL',
    'synchronous = FULL',
    'foreign_keys = ON',
  ])
    database.exec(`PRAGMA ${pragma}`)
  // A server that runs on half a database does more harm than one that does not start.
  const [found] = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})
  if (found !== 'ok') throw faultOf(path, { errcode: 11, message: String(found) })
}

function prepared(database: DatabaseSync, sql: string, path: string) {
  // SQLite has undone a transaction itself when the disk is full; kysely's rollback would hide why.
  if (sql === 'rollback' && !database.isTransaction) return nothing
  // A transaction that begins by reading is not made to wait for a lock when it comes to write: it fails at once.
  const wanted = sql === 'begin' ? 'begin immediate' : sql
  const statement = named(path, () => database.prepare(wanted))
  const values = (parameters: readonly unknown[]) => parameters as SQLInputValue[]
  return {
    // `run` would lose the rows of a `returning`: whatever has columns is read.
    reader: statement.columns().length > 0,
    all: (parameters: readonly unknown[]) => named(path, () => statement.all(...values(parameters))),
    run: (parameters: readonly unknown[]) => named(path, () => statement.run(...values(parameters))),
    iterate: (parameters: readonly unknown[]) => statement.iterate(...values(parameters)),
  }
}

const nothing = {
  reader: false,
  all: () => [],
  run: () => ({ changes: 0, lastInsertRowid: 0 }),
  iterate: () => [][Symbol.iterator](),
}

type SqliteError = { errcode: number; message: string }
const busy = ['the database is locked', 503, 'try again; no other program may hold the file'] as const
const damaged = [
  'the database is damaged',
  500,
  'a copy of the file, or what `sqlite3 FILE .recover` saves',
] as const

// By SQLite's primary result code (sqlite.org/rescode.html): the fault, the HTTP status, the cure.
const codes: Record<number, readonly [error: string, status: number, allowed: string]> = {
  5: busy,
  6: busy,
  8: ['the database can not be written', 500, 'a file and a folder that the server may write'],
  10: ['the disk of the database fails', 500, 'a sound disk with free space and no limit on file sizes'],
  11: damaged,
  13: ['the disk of the database is full', 507, 'free space; nothing of this change was kept'],
  14: ['the database can not be opened', 500, 'a file and a folder that the server may write'],
  26: ['the database can not be opened', 500, 'a database of this server, or a copy of it'],
}

/** What the file or its disk is to blame for is said as such; anything else is a bug. */
function named<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof UserError || !isSqliteError(error)) throw error
    throw faultOf(path, error)
  }
}

/** Extended codes carry the primary one in their low byte. */
const isSqliteError = (error: unknown): error is SqliteError =>
  typeof (error as SqliteError).errcode === 'number' && ((error as SqliteError).errcode & 255) in codes

function faultOf(path: string, { errcode, message }: SqliteError): UserError {
  const [error, status, allowed] = codes[errcode & 255]!
  return new UserError(error, { what: message.slice(0, 300), allowed, object: path, status })
}

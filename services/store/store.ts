// The image database. The server is its only writer; the file is readable by its owner alone, for it holds the server's key.
import { chmod, mkdir, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'
import { atomically } from './atomic.ts'
import { openAudit } from './audit.ts'
import { openBoots } from './boots.ts'
import { openDeploymentRows } from './deployments.ts'
import { openEventRows } from './events.ts'
import { openGroups } from './groups.ts'
import { openJobRows } from './jobs.ts'
import { migrations } from './migrations.ts'
import { openNodes, placeOf, sealedIn } from './nodes.ts'
import { openOsimages } from './osimages.ts'
import { openSecrets, type Secrets } from './secrets.ts'
import { openSettings } from './settings.ts'
import { sqliteDialect } from './sqlite.ts'
import type { Tables } from './tables.ts'

/** Opens, or makes, the database and brings its tables up to date. */
export async function openStore(path: string) {
  await makePrivate(path)
  const db = await openDatabase(path)
  const secrets = await openKey(db, path)
  return {
    ...openDefinitions(db, secrets),
    /** The BMC's password, for whoever logs in to it. */
    passwordOf: ({ name, bmcpassword }: Node): string | undefined =>
      bmcpassword &&
      ('clear' in bmcpassword ? bmcpassword.clear : secrets.open(placeOf(name), bmcpassword.sealed)),
    deployments: openDeploymentRows(db),
    jobs: openJobRows(db),
    settings: openSettings(db),
    audit: openAudit(db),
    boots: await openBoots(db),
    events: openEventRows(db),
    /** What `work` does to definitions is done whole or not at all. */
    atomically: <T>(work: (definitions: Definitions) => Promise<T>): Promise<T> =>
      atomically(db, (t) => work(openDefinitions(t, secrets))),
    close: () => db.destroy(),
  }
}
export type Store = Awaited<ReturnType<typeof openStore>>

/** What people define. */
const openDefinitions = (db: Kysely<Tables>, secrets: Secrets) => ({
  nodes: openNodes(db, secrets),
  groups: openGroups(db),
  osimages: openOsimages(db),
})
export type Definitions = ReturnType<typeof openDefinitions>

async function openKey(db: Kysely<Tables>, path: string): Promise<Secrets> {
  try {
    return await openSecrets(join(dirname(path), 'secret.key'), await sealedIn(db))
  } catch (error) {
    await db.destroy()
    throw error
  }
}

/** SQLite gives its -wal and -shm files the mode of the database. */
async function makePrivate(path: string) {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await (await open(path, 'a', 0o600)).close()
    await chmod(path, 0o600)
  } catch (error) {
    throw refused('the database can not be opened', path, error)
  }
}

async function openDatabase(path: string): Promise<Kysely<Tables>> {
  let db: Kysely<Tables> | undefined
  try {
    db = new Kysely<Tables>({ dialect: sqliteDialect(path) })
    await migrate(db, path)
    return db
  } catch (error) {
    await db?.destroy()
    throw error instanceof UserError ? error : refused('the database can not be opened', path, error)
  }
}

async function migrate(db: Kysely<Tables>, path: string) {
  const unknown = (await doneMigrations(db)).filter((name) => !Object.hasOwn(migrations, name))
  if (unknown.length > 0)
    throw new UserError('the database was written by a newer version', {
      what: unknown.join(' '),
      allowed: 'that version of the server, or an older copy of the file',
      object: path,
    })
  const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } })
  const { error } = await migrator.migrateToLatest()
  if (error) throw error
}

async function doneMigrations(db: Kysely<any>): Promise<string[]> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some(({ name }) => name === 'kysely_migration')) return []
  const rows = await db.selectFrom('kysely_migration').select('name').execute()
  return rows.map(({ name }) => name)
}

const refused = (error: string, path: string, cause: unknown) =>
  new UserError(error, {
    what: cause instanceof Error ? cause.message : String(cause),
    object: path,
    status: 500,
  })

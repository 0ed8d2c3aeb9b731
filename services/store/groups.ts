// Groups in the database: what is known of them besides their members, which are kept with the nodes.
import type { Kysely } from 'kysely'
import type { Group } from '../../src/node/group.ts'
import { type Columns, fromRow, json, number, text, toRow } from './columns.ts'
import type { Tables } from './tables.ts'

const columns: Columns<Group> = {
  name: text,
  where: text,
  priority: number,
  osimage: text,
  overrides: json,
  exclude: json,
  usercomment: text,
}

export function openGroups(db: Kysely<Tables>) {
  /** Those that somebody defined; a group that nodes merely name is not among them. */
  async function list(): Promise<Group[]> {
    const rows = await db.selectFrom('node_group').selectAll().orderBy('name').execute()
    return rows.map((row) => fromRow(columns, row))
  }

  async function put(group: Group): Promise<void> {
    const row = toRow(columns, group)
    await db
      .insertInto('node_group')
      .values(row)
      .onConflict((c) => c.column('name').doUpdateSet(row))
      .execute()
  }

  async function remove(names: string[]): Promise<void> {
    for (const name of names) await db.deleteFrom('node_group').where('name', '=', name).execute()
  }

  return { list, put, remove }
}
export type Groups = ReturnType<typeof openGroups>

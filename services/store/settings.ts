// What the server keeps about itself: its key, and the like.
import type { Kysely } from 'kysely'
import type { Tables } from './tables.ts'

export function openSettings(db: Kysely<Tables>) {
  async function get(setting: string): Promise<string | undefined> {
    const query = db.selectFrom('local').select('value').where('setting', '=', setting)
    return (await query.executeTakeFirst())?.value
  }

  async function put(setting: string, value: string): Promise<void> {
    await db
      .insertInto('local')
      .values({ setting, value })
      .onConflict((c) => c.column('setting').doUpdateSet({ value }))
      .execute()
  }

  return { get, put }
}
export type Settings = ReturnType<typeof openSettings>

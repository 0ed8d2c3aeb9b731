import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Kysely } from 'kysely'
import { expect, onTestFinished, test } from 'vitest'
import { openAudit } from '../../services/store/audit.ts'
import { sqliteDialect } from '../../services/store/sqlite.ts'
import { openStore } from '../../services/store/store.ts'

async function newFile() {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-audit-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'db')
  await (await openStore(path)).close()
  return path
}
const entry = (object: string, more = {}) => ({ time: 1, who: 'local', what: 'chdef node', object, ...more })

test('entries come back as they were written, the newest ones, oldest first', async () => {
  const path = await newFile()
  const first = await openStore(path)
  await first.audit.add([entry('n1', { before: { ip: '' }, after: { ip: '10.0.0.7' } }), entry('n2')])
  await first.close()
  const store = await openStore(path)
  onTestFinished(() => store.close())
  await store.audit.add([entry('n1')])
  expect(await store.audit.list({ last: 2 })).toEqual([
    { id: 2, ...entry('n2') },
    { id: 3, ...entry('n1') },
  ])
  expect(await store.audit.list({ object: 'n1', last: 9 })).toEqual([
    { id: 1, ...entry('n1', { before: { ip: '' }, after: { ip: '10.0.0.7' } }) },
    { id: 3, ...entry('n1') },
  ])
})

test('the oldest are forgotten; thousands at once are one step', async () => {
  const path = await newFile()
  const db = new Kysely<any>({ dialect: sqliteDialect(path) })
  const audit = openAudit(db, 1000)
  await audit.add(Array.from({ length: 1700 }, (_, i) => entry(`n${i}`)))
  await audit.add([entry('last')])
  const all = await audit.list({ last: 100_000 })
  expect([all.length, all[0]?.id, all.at(-1)?.object]).toEqual([1000, 702, 'last'])
  await db.destroy()
  const file = new DatabaseSync(path)
  expect(file.prepare('select count(*) as n from audit').get()).toEqual({ n: 1000 })
  file.close()
})

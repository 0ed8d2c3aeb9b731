// What a database can suffer: a full disk, a lock, damage. Each is said as what it is, and nothing is half-written.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, onTestFinished, test } from 'vitest'
import { openStore } from '../../services/store/store.ts'
import type { NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'

function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-faults-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}
const nodes = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ name: `n${from + i}` as NodeName, groups: ['all'], mac: [] }))
const caught = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as UserError,
  )

/** Runs the writer where `setUp` has made its folder small. */
function writeUntilFull(setUp: string, folder: string) {
  const script = join(import.meta.dirname, 'write-until-full.ts')
  const argv = ['-m', 'sh', '-ec', `${setUp}; exec "$0" "$@"`, process.execPath, script, folder]
  const { stdout, stderr } = spawnSync('unshare', argv, { encoding: 'utf8', timeout: 60_000 })
  try {
    return JSON.parse(stdout)
  } catch {
    throw new Error(`no answer: ${stdout} ${stderr}`)
  }
}

test('disk full: said so, the step is not there at all, what was there stays, and with space it goes on', () => {
  const folder = newFolder()
  // The mount is in a namespace of the child and goes with it.
  const told = writeUntilFull(`mount -t tmpfs -o size=1500k none ${folder}`, folder)
  expect(told.written).toBeGreaterThan(2)
  expect(told).toMatchObject({
    kept: told.written * 100,
    status: 507,
    fault: {
      error: 'the disk of the database is full',
      what: expect.stringMatching(/full/),
      allowed: expect.stringContaining('nothing of this change was kept'),
      object: join(folder, 'sysclone.db'),
    },
    after: 'written',
    reopened: told.written * 100 + 100,
  })
}, 70_000)

test('a limit on file sizes: a fault of the disk, nothing half-written', () => {
  const folder = newFolder()
  const told = writeUntilFull('ulimit -f 2000', folder) // blocks of 512 bytes
  expect(told.written).toBeGreaterThan(2)
  expect(told).toMatchObject({
    kept: told.written * 100,
    fault: { error: expect.stringMatching(/^the disk of the database (fails|is full)$/) },
    reopened: told.after === 'written' ? told.kept + 100 : told.kept,
  })
}, 70_000)

test('locked by another program: said so after a while, nothing written; free again it goes on', async () => {
  const path = join(newFolder(), 'sysclone.db')
  const store = await openStore(path)
  onTestFinished(() => store.close())
  const other = new DatabaseSync(path)
  other.exec('BEGIN EXCLUSIVE')
  const error = await caught(store.nodes.create(nodes(0, 10)))
  expect(error).toBeInstanceOf(UserError)
  expect(error).toMatchObject({ status: 503, fault: { error: 'the database is locked', object: path } })
  const second = await caught(openStore(path))
  expect(second === undefined || second instanceof UserError).toBe(true)
  other.exec('ROLLBACK')
  other.close()
  expect(await store.nodes.list()).toEqual([])
  await store.nodes.create(nodes(0, 10))
  expect(await store.nodes.list()).toHaveLength(10)
}, 20_000)

test('damaged inside: refused at the start by name, the file left as it is', async () => {
  const path = join(newFolder(), 'sysclone.db')
  const store = await openStore(path)
  await store.nodes.create(nodes(0, 5000))
  await store.close()
  const file = openSync(path, 'r+')
  for (let at = 4096 * 20; at < statSync(path).size; at += 4096 * 3)
    writeSync(file, Buffer.alloc(2000, 0xa5), 0, 2000, at)
  closeSync(file)
  const before = readFileSync(path)
  const error = await caught(openStore(path))
  expect(error).toBeInstanceOf(UserError)
  expect(error!.fault).toMatchObject({
    error: 'the database is damaged',
    allowed: expect.stringContaining('a copy'),
    object: path,
  })
  expect(error!.message).not.toMatch(/\n\s+at /)
  expect(readFileSync(path).equals(before)).toBe(true)
})

test('damaged while it is open: the request fails by that name', async () => {
  const path = join(newFolder(), 'sysclone.db')
  const first = await openStore(path)
  // More than SQLite keeps of it in memory.
  await first.nodes.create(nodes(0, 4000).map((node) => ({ ...node, groups: ['x'.repeat(1500)] })))
  await first.close()
  const store = await openStore(path)
  onTestFinished(() => store.close().catch(() => {}))
  const size = statSync(path).size
  writeFileSync(path, Buffer.alloc(size, 0xa5))
  const error = await caught(store.nodes.list())
  expect(error).toBeInstanceOf(UserError)
  expect(error!.fault.error).toMatch(/^the database (is damaged|can not be opened)$/)
})

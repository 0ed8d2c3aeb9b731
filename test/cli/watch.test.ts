// `watch` as a process, against a server that goes away and comes back.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { openStore, type Store } from '../../services/store/store.ts'
import type { NodeName } from '../../src/address.ts'
import { testEvents } from '../http/test-events.ts'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'sysclone-watch-'))
const socket = join(folder, 'api.sock')
let store: Store
let log: Awaited<ReturnType<typeof testEvents>>
let admin: Awaited<ReturnType<typeof startAdmin>>

beforeAll(async () => {
  store = await openStore(join(folder, 'db'))
  await store.nodes.put({ name: 'n1' as NodeName, groups: ['compute'], mac: [] })
  log = await testEvents(store)
  admin = await serve()
})
afterAll(async () => {
  await admin.close()
  await log.events.close()
  await store.close()
  rmSync(folder, { recursive: true })
})
const serve = () =>
  startAdmin({ socket, store, networks: [], events: log.events, emit: log.emit } as unknown as AdminNeeds)

function watch(...words: string[]) {
  const child: ChildProcess = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, 'watch', ...words],
    {
      env: { PATH: process.env.PATH, SYSCLONE_SERVER: socket, TZ: 'UTC' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const said = { out: '', err: '' }
  child.stdout!.on('data', (text) => (said.out += text))
  child.stderr!.on('data', (text) => (said.err += text))
  const ended = once(child, 'exit')
  return {
    said,
    ended: () => ended.then(([code]) => code),
    async stop() {
      child.kill('SIGINT')
      return (await ended)[0]
    },
  }
}
async function until(holds: () => boolean) {
  for (let tries = 0; tries < 800 && !holds(); tries++) await sleep(10)
  expect(holds()).toBe(true)
}
const n1 = { node: 'n1', mac: '52:54:00:77:00:11' }

test('a line an event, over a restart of the server, and none of them twice', async () => {
  log.emit('node.log', { ...n1, text: 'before' })
  const watcher = watch('compute')
  await until(() => log.watchers.size === 1)
  log.emit('dhcp.discover', { ...n1, client: 'firmware', arch: 'bios x86_64' })
  log.emit('node.log', { node: 'n2', text: 'of another' })
  log.emit('node.log', { ...n1, text: 'one' })
  await until(() => watcher.said.out.includes('one'))
  await admin.close()
  await until(() => watcher.said.err.includes('away'))
  log.emit('node.log', { ...n1, text: 'two' })
  await sleep(1200)
  admin = await serve()
  await until(() => watcher.said.out.includes('two'))
  log.emit('node.log', { ...n1, text: 'bad \x1b[2Jtext' })
  await until(() => watcher.said.out.includes('text'))
  expect(await watcher.stop()).toBe(0)
  const lines = watcher.said.out.trimEnd().split('\n')
  expect(lines.map((line) => line.replace(/^\d\d:\d\d:\d\d +\+\d+\.\ds {2}/, 'T '))).toEqual([
    'T n1       dhcp    asks for an address: firmware bios x86_64',
    'T n1       node    one',
    'T n1       node    two',
    'T n1       node    bad ?[2Jtext',
  ])
  expect(watcher.said.err).toBe('the server is away; waiting for it\nthe server is back\n')
})

test('--since and --no-follow: what has been; --json: the events themselves', async () => {
  log.emit('job.done', { job: 'j1', kind: 'capture', result: 'img:1' })
  const text = watch('--since', '1h', '--no-follow', '--things', 'job')
  expect(await text.ended()).toBe(0)
  expect(text.said.out).toMatch(/^\d\d:\d\d:\d\d .* job {5}capture done img:1\n$/)
  const json = watch('--since', '1h', '--no-follow', '--things', 'job', '--json')
  expect(await json.ended()).toBe(0)
  expect(
    json.said.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toMatchObject([{ type: 'job.done', job: 'j1', kind: 'capture', result: 'img:1' }])
})

test('what is wrong is said, and it ends', async () => {
  const nobody = watch('n99')
  expect(await nobody.ended()).toBe(1)
  expect(nobody.said.err).toContain('n99')
  const when = watch('--since', 'yesterday')
  expect(await when.ended()).toBe(2)
  expect(when.said.err).toContain('10m')
  const nowhere = watch('--server', join(folder, 'none.sock'))
  expect(await nowhere.ended()).toBe(1)
  expect(nowhere.said.err).toContain('does not answer')
})

// How an install that fails tells the server: run_phases for real, against a real HTTP server.
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Value } from 'typebox/value'
import { afterEach, expect, test } from 'vitest'
import { Finish, Log, Progress } from '../../src/install/protocol.ts'
import { ramdisk } from './run-phase.ts'

const schemas: Record<string, any> = { '/node/progress': Progress, '/node/log': Log, '/node/finish': Finish }
const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** Runs these phases; `code` answers the n-th request for that URL. */
async function install(
  phases: Record<string, string>,
  code: (url: string, nth: number) => number = () => 204,
) {
  const root = mkdtempSync(join(tmpdir(), 'sysclone-report-'))
  folders.push(root)
  const posts: { url: string; body: any }[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = JSON.parse(Buffer.concat(chunks).toString())
    posts.push({ url: request.url!, body })
    response.writeHead(code(request.url!, posts.filter((p) => p.url === request.url).length)).end()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const installer = join(root, 'installer')
  for (const folder of ['phases', 'tools']) mkdirSync(join(root, 'installer', folder), { recursive: true })
  cpSync(join(ramdisk, 'lib.sh'), join(installer, 'lib.sh'))
  symlinkSync('/usr/bin/curl', join(installer, 'tools/curl'))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  writeFileSync(join(installer, 'plan'), `session s3cret\nserver ${url}\nbytes 10\n`)
  for (const [name, text] of Object.entries(phases))
    writeFileSync(join(installer, 'phases', name), `. "$INSTALLER/lib.sh"\n${text}\n`)
  const env = {
    PATH: process.env.PATH,
    ROOT: root,
    INSTALLER: installer,
    TOOLS: join(installer, 'tools'),
    RETRY: '0.1',
  }
  const status = await new Promise((resolve) => {
    const child = spawn('busybox', ['sh', '-euc', '. "$INSTALLER/lib.sh"; run_phases'], {
      env: env as any,
      stdio: 'ignore',
      timeout: 15_000,
    })
    child.on('close', resolve)
  })
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  for (const { url, body } of posts) expect([...Value.Errors(schemas[url], body)]).toEqual([])
  return {
    status,
    posts,
    of: (name: string) => posts.filter((p) => p.url === `/node/${name}`).map((p) => p.body),
  }
}

test('phases run in order, each with its own name; numbers count up over all of them', async () => {
  const { status, of } = await install({
    '30-b.sh': 'report 50 5 "half \\"of\\" it\tand \\\\ more é"',
    '10-a.sh': 'report 60 1 first; x=leak',
    '40-c.sh': 'report 70 10 "${x-no leak}"',
  })
  expect(status).toBe(0)
  expect(of('progress')).toMatchObject([
    { session: 's3cret', seq: 1, phase: 'a', percent: 60, bytes: 1, text: 'first' },
    { seq: 2, phase: 'b', percent: 60, bytes: 5, text: 'half "of" it and \\ more ??' }, // percent never falls
    { seq: 3, phase: 'c', percent: 70, text: 'no leak' },
  ])
})

test('a phase that fails ends it: its reason, its name and the log are sent, later phases never run', async () => {
  const { status, of } = await install({
    '30-disks.sh': 'echo "looking \\"about\\""\nfail "/dev/sda: too \\"small\\""',
    '40-copy.sh': 'report 99 1 never',
  })
  expect(status).toBe(1)
  expect(of('finish')).toEqual([
    { session: 's3cret', result: 'failed', phase: 'disks', reason: '/dev/sda: too "small"' },
  ])
  expect(of('log')[0].text).toContain('looking "about"\nsysclone: /dev/sda: too "small"')
  expect(of('progress')).toEqual([])
})

test('a command that fails without a word of ours: the last lines of the log are the reason', async () => {
  const { of } = await install({ '30-disks.sh': 'echo one >&2; false | cat; echo never' })
  expect(of('finish')[0]).toMatchObject({ result: 'failed', phase: 'disks', reason: 'one' })
})

test('a very long log is cut to what the protocol takes', async () => {
  const { of } = await install({
    '30-x.sh':
      'i=0; while [ $i -lt 4000 ]; do echo "line $i \\\\\\\\ \\"quoted\\" words"; i=$((i + 1)); done; fail end',
  })
  expect(of('log')[0].text).toMatch(/line 3999/)
  expect(of('finish')).toHaveLength(1)
})

test('the result is told again until it is taken; 4xx is final', async () => {
  const busy = await install({ '30-x.sh': 'finish ok ""' }, (url, nth) =>
    url === '/node/finish' && nth < 3 ? 503 : 204,
  )
  expect(busy.status).toBe(0)
  expect(busy.of('finish')).toHaveLength(3)
  const refused = await install({ '30-x.sh': 'finish ok "" || fail "not taken"' }, (url) =>
    url === '/node/finish' ? 403 : 204,
  )
  expect(refused.status).toBe(1)
  expect(refused.of('finish').map((b) => b.result)).toEqual(['ok', 'failed'])
})

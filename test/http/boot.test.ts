// The boot process' HTTP as loaders use it: raw bytes, because header spelling and early closes are what matters.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { startBootHttp } from '../../services/http/boot.ts'
import { openJoined } from '../../services/http/joined.ts'
import { openPublished } from '../../services/http/published.ts'
import type { Ipv4 } from '../../src/address.ts'
import { renderIpxe } from '../../src/boot/ipxe.ts'
import { indexNodes } from '../../src/boot/names.ts'
import { planBoot } from '../../src/boot/policy.ts'
import { deployment, node, server as us } from '../boot/nodes.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-http-'))
const nodeSocketPath = join(folder, 'node.sock')
const blob = Buffer.from(Array.from({ length: 700_000 }, (_, i) => (i * 31 + (i >> 9)) & 255))
const one = node({ ip: '127.0.0.1' as Ipv4, deployment: deployment('armed') })
const kernel = `/blobs/sha256/${'1'.repeat(64)}`
let boot: Awaited<ReturnType<typeof startBootHttp>>
let events: Record<string, unknown>[] = []
let main: Server | undefined

beforeAll(async () => {
  mkdirSync(join(folder, 'blobs'))
  writeFileSync(join(folder, 'core.efi'), 'MZ')
  writeFileSync(join(folder, 'secret'), 'secret')
  writeFileSync(join(folder, 'blobs', '1'.repeat(64)), blob)
  writeFileSync(join(folder, 'blobs', '2'.repeat(64)), 'seven..')
  writeFileSync(join(folder, 'blobs', '3'.repeat(64)), 'second')
  const nodes = indexNodes([one])
  const blobFolders = [join(folder, 'empty'), join(folder, 'blobs')]
  boot = await startBootHttp({
    address: '127.0.0.1',
    port: 0,
    nodeSocketPath,
    emit: (type, fields) => void events.push({ type, ...fields }),
    open: openPublished({
      server: us,
      nodes: () => nodes,
      loaders: new Map([
        ['boot/grub/x86_64-efi/core.efi', join(folder, 'core.efi')],
        ['boot/grub/i386-pc/core.0', join(folder, 'not-there')],
      ]),
      blobFolders,
      joined: await openJoined({ folder: join(folder, 'joined'), blobFolders }),
    }),
  })
})
afterEach(async () => {
  events = []
  main?.closeAllConnections()
  await new Promise<void>((done) => (main ? main.close(() => done()) : done()))
  main = undefined
})
afterAll(async () => {
  await boot.close()
  rmSync(folder, { recursive: true })
})

/** Sends the words and reads until the server closes; latin1 keeps every byte. */
async function raw(words: string): Promise<string> {
  const socket = connect(boot.port, '127.0.0.1')
  const parts: Buffer[] = []
  socket.on('data', (part: Buffer) => parts.push(part))
  socket.on('error', () => {})
  socket.write(words, 'latin1')
  await once(socket, 'close')
  return Buffer.concat(parts).toString('latin1')
}
const request = (method: string, path: string, headers = '') =>
  raw(`${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`)
const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])
const body = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4)

test('a node gets its iPXE text, spelled as GRUB reads headers, and main hears of it', async () => {
  const answer = await request('GET', '/boot/ipxe/52-54-00-77-00-11')
  const text = renderIpxe(planBoot(one, us)!, us, { name: 'boot/ipxe/52-54-00-77-00-11' })
  expect(body(answer)).toBe(text)
  expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(answer).toContain(`\r\nContent-Length: ${text.length}\r\n`)
  expect(answer).toContain('\r\nContent-Type: text/plain')
  await expect
    .poll(() => events)
    .toMatchObject([
      { type: 'http.text', node: 'n1', deployment: '0123456789abcdef', kind: 'install', peer: '127.0.0.1' },
    ])
})

test('iPXE keeps its connection for all it fetches: text and kernel come over one, and it closes at last', async () => {
  const ask = (path: string, last = false) =>
    `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: ${last ? 'close' : 'keep-alive'}\r\n\r\n`
  const text = renderIpxe(planBoot(one, us)!, us, { name: 'boot/ipxe/52-54-00-77-00-11' })
  const socket = connect(boot.port, '127.0.0.1')
  let got = ''
  socket.setEncoding('latin1').on('data', (part: string) => (got += part))
  socket.write(ask('/boot/ipxe/52-54-00-77-00-11'))
  await expect.poll(() => got).toMatch(/Connection: keep-alive\r\n/i)
  await expect.poll(() => body(got)).toBe(text)
  got = ''
  socket.write(ask('/nobody/has/this')) // a miss does not end it either
  await expect.poll(() => status(got)).toBe(404)
  got = ''
  socket.write(ask(kernel, true))
  await once(socket, 'close')
  expect(status(got)).toBe(200)
  expect(body(got)).toBe(blob.toString('latin1'))
})

test('two ramdisks as one file, the second from a multiple of four on; nothing else can be joined', async () => {
  const joined = `/blobs/joined/${'2'.repeat(64)}.${'3'.repeat(64)}`
  const both = await Promise.all([request('GET', joined), request('GET', joined)])
  expect(both.map(body)).toEqual(Array(2).fill('seven..\0second\0\0'))
  expect(status(await request('GET', `/blobs/joined/${'3'.repeat(64)}.${'2'.repeat(64)}`))).toBe(404)
  expect(status(await request('GET', `/blobs/joined/${'1'.repeat(64)}`))).toBe(404)
})

test('GRUB waits for the body of a 404 for ever: there is one', async () => {
  const answer = await request('GET', '/boot/grub/nothing')
  expect(answer).toContain('\r\nContent-Length: 14\r\n')
  expect(body(answer)).toBe('404 Not Found\n')
  expect(body(await request('HEAD', '/boot/grub/nothing'))).toBe('')
})

test('HEAD says the size and sends nothing; nothing counts as booting yet', async () => {
  const answer = await request('HEAD', '/boot/grub/grub.cfg')
  expect(answer).toMatch(/\r\nContent-Length: [1-9]\d+\r\n/)
  expect(body(answer)).toBe('')
  expect(events).toEqual([])
})

test('loaders have the type that EDK2 goes by; one that is not built is not there', async () => {
  expect(await request('GET', '/boot/grub/x86_64-efi/core.efi')).toContain(
    '\r\nContent-Type: application/efi\r\n',
  )
  expect(status(await request('GET', '/boot/grub/i386-pc/core.0'))).toBe(404)
})

const ranges: [string, number, number, number][] = [
  ['bytes=65536-', 206, 65536, 700_000],
  ['bytes=0-0', 206, 0, 1],
  ['bytes=-5', 206, 699_995, 700_000],
  ['bytes=699999-9999999', 206, 699_999, 700_000],
  ['bytes=5-4', 200, 0, 700_000],
  ['bytes=0-1,4-5', 200, 0, 700_000],
  ['lines=1-2', 200, 0, 700_000],
]
for (const [range, code, start, end] of ranges)
  test(`Range: ${range}`, async () => {
    const answer = await request('GET', kernel, `Range: ${range}\r\n`)
    expect(status(answer)).toBe(code)
    expect(Buffer.from(body(answer), 'latin1').equals(blob.subarray(start, end))).toBe(true)
    if (code === 206) expect(answer).toContain(`\r\nContent-Range: bytes ${start}-${end - 1}/700000\r\n`)
  })
for (const range of ['bytes=700000-', 'bytes=-0'])
  test(`Range: ${range} can not be satisfied`, async () => {
    const answer = await request('GET', kernel, `Range: ${range}\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 416 /)
    expect(answer).toContain('\r\nContent-Range: bytes */700000\r\n')
  })

test("double slashes, backslashes and xCAT's /tftpboot are the same name: no redirect", async () => {
  for (const path of [
    '//boot//ipxe/52:54:00:77:00:11',
    '/tftpboot/boot/ipxe/52-54-00-77-00-11',
    '/boot\\ipxe\\52-54-00-77-00-11',
  ])
    expect(status(await request('GET', path))).toBe(200)
})

const climbs = [
  '/../secret',
  '/blobs/../secret',
  '/boot/grub/../../secret',
  '/%2e%2e/secret',
  '/%2E%2E%2Fsecret',
  '/..%2fsecret',
  '/..%5csecret',
  '/..\\secret',
  '/%252e%252e/secret',
  '/boot/grub/%00',
  '/%c0%ae%c0%ae/secret',
  '/%',
  '/%ff',
  '/secret',
  'secret',
  `${folder}/secret`,
  `/boot/grub/${'a'.repeat(5000)}`,
]
for (const path of climbs)
  test(`nothing behind ${path.slice(0, 40)}`, async () => {
    const answer = await request('GET', path)
    expect([400, 404, 431]).toContain(status(answer))
    expect(answer).not.toContain('secret\n')
    expect(body(answer)).not.toBe('secret')
  })

test('clients that go away in the middle leave no trace but are no fault', async () => {
  for (let i = 0; i < 20; i++) {
    const socket = connect(boot.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`GET ${kernel} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    socket.resetAndDestroy()
    await once(socket, 'close')
  }
  expect(status(await request('GET', kernel))).toBe(200)
  expect(events.filter((event) => event.type === 'http.fail')).toEqual([])
})

test('who closes its side after asking, as nc does, gets its answers all the same; so does a node', async () => {
  const seen = await startMain(() => [200, 'script'])
  const socket = connect({ port: boot.port, host: '127.0.0.1', allowHalfOpen: true })
  const ask = (words: string) => `${words}\r\nHost: x\r\n`
  socket.end(
    `${ask(`GET ${kernel} HTTP/1.1`)}\r\n${ask('GET /nothing HTTP/1.1')}\r\n${ask('POST /node/start HTTP/1.1')}Content-Length: 2\r\n\r\n{}`,
  )
  let got = ''
  for await (const part of socket.setEncoding('latin1')) got += part
  expect(got.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 404', 'HTTP/1.1 200'])
  expect(body(got).slice(0, blob.length)).toBe(blob.toString('latin1'))
  expect(got.endsWith('script')).toBe(true)
  expect(seen).toMatchObject([{ url: '/node/start', body: '{}' }])
})

test('garbage instead of HTTP ends the connection, nothing else', async () => {
  for (const words of ['\x16\x03\x01\0\0', 'GET\r\n\r\n', '\r\n\r\n\0'.repeat(50)]) {
    const answer = await raw(words)
    expect(answer === '' || status(answer) === 400).toBe(true)
  }
  expect(status(await request('GET', kernel))).toBe(200)
})

test('curl resumes what it has half of', async () => {
  const half = join(folder, 'half')
  writeFileSync(half, blob.subarray(0, 300_000))
  const child = spawn('curl', ['-s', '-C', '-', '-o', half, `http://127.0.0.1:${boot.port}${kernel}`])
  expect((await once(child, 'exit'))[0]).toBe(0)
  expect(readFileSync(half).equals(blob)).toBe(true)
})

// The way to main.
type Seen = { method: string; url: string; headers: Record<string, unknown>; body: string }
async function startMain(answer: (seen: Seen) => [number, string]) {
  const seen: Seen[] = []
  main = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const { method = '', url = '' } = request
    seen.push({ method, url, headers: request.headers, body: Buffer.concat(parts).toString() })
    const [code, text] = answer(seen.at(-1)!)
    const headers = { 'content-type': 'text/plain', 'content-length': text.length, 'x-internal': '1' }
    response.writeHead(code, code === 204 ? {} : headers).end(text)
  })
  main.listen(nodeSocketPath)
  await once(main, 'listening')
  return seen
}
const post = (path: string, text: string, headers = '') =>
  raw(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${text.length}\r\n${headers}\r\n${text}`,
  )

test("a node's request reaches main with the peer that we saw, not the one it claims", async () => {
  const seen = await startMain(() => [200, '#!/bin/sh\n'])
  const answer = await post(
    '/node/start',
    '{"a":1}',
    'Content-Type: application/json\r\nX-Sysclone-Peer: 10.0.0.9\r\n',
  )
  expect(status(answer)).toBe(200)
  expect(body(answer)).toBe('#!/bin/sh\n')
  expect(answer).toContain('\r\nContent-Type: text/plain\r\n')
  expect(answer).not.toContain('x-internal')
  expect(seen).toMatchObject([{ method: 'POST', url: '/node/start', body: '{"a":1}' }])
  expect(seen[0]!.headers).toMatchObject({
    'x-sysclone-peer': '127.0.0.1',
    'content-type': 'application/json',
  })
})

test("busybox wget, the ramdisk's client, posts and reads", async () => {
  const seen = await startMain(({ method }) => [200, method === 'GET' ? '1700000000' : 'ok'])
  const url = `http://127.0.0.1:${boot.port}/node`
  const get = async (args: string[]) => {
    const child = spawn('busybox', ['wget', '-q', '-O', '-', ...args])
    let out = ''
    child.stdout.on('data', (part) => {
      out += part
    })
    await once(child, 'close')
    return out
  }
  expect(await get([`${url}/time`])).toBe('1700000000')
  expect(await get(['--post-data', '{"x":2}', `${url}/progress`])).toBe('ok')
  expect(seen.at(-1)).toMatchObject({ method: 'POST', url: '/node/progress', body: '{"x":2}' })
})

test('main refuses: the node hears the same', async () => {
  await startMain(() => [403, '{"error":"no"}'])
  const answer = await post('/node/start', '{}')
  expect([status(answer), body(answer).includes('{"error":"no"}')]).toEqual([403, true])
})

test('main restarts: 503 and when to ask again, then it works', async () => {
  const answer = await post('/node/progress', '{}')
  expect(status(answer)).toBe(503)
  expect(answer).toContain('\r\nRetry-After: 2\r\n')
  await startMain(() => [204, ''])
  expect(status(await post('/node/progress', '{}'))).toBe(204)
})

test('main dies over a request: 503 as well', async () => {
  await startMain(() => {
    main!.closeAllConnections()
    return [200, '']
  })
  expect(status(await post('/node/log', '{}'))).toBe(503)
})

test('only node endpoints, only bodies of a sane size', async () => {
  const seen = await startMain(() => [200, ''])
  for (const path of [
    '/node/',
    '/node/../api',
    '/node/%2e%2e/api',
    '/node/a/b',
    '/node/START',
    '/node/start?x=1',
  ])
    expect([400, 404]).toContain(status(await post(path, '{}')))
  expect(status(await post('/node/log', 'x'.repeat((1 << 20) + 1)))).toBe(413)
  expect(status(await post('/node/log', 'x'.repeat(1 << 20)))).toBe(200)
  expect(status(await post('/boot/ipxe/52-54-00-77-00-11', 'x'))).toBe(404)
  expect(seen.map(({ url }) => url)).toEqual(['/node/log'])
})

test('a flood of requests on one connection ends it, without an open file for each', async () => {
  const files = () => readdirSync('/proc/self/fd').length
  const before = files()
  const socket = connect(boot.port, '127.0.0.1').pause()
  socket.on('error', () => {})
  socket.write(`GET ${kernel} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(1500))
  await new Promise((done) => setTimeout(done, 300))
  expect(files() - before).toBeLessThan(10)
  socket.destroy()
})

test('bodies that do not end fill no memory: one machine has room for four, and others are served', async () => {
  await startMain(() => [200, ''])
  const half = `POST /node/log HTTP/1.1\r\nHost: x\r\nContent-Length: ${1 << 20}\r\n\r\n${'x'.repeat(900_000)}`
  const socks = Array.from({ length: 8 }, () => connect(boot.port, '127.0.0.1').on('error', () => {}))
  let refused = ''
  for (const socket of socks) {
    socket.on('data', (part) => {
      refused += part
    })
    socket.write(half)
  }
  await expect.poll(() => refused.match(/HTTP\/1\.1 503/g)?.length ?? 0, { timeout: 10_000 }).toBe(4)
  expect(refused).toContain('\r\nRetry-After: 2\r\n')
  const fromElsewhere = connect({ port: boot.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  fromElsewhere.write('POST /node/log HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}')
  const [answer] = await once(fromElsewhere, 'data')
  expect(status(String(answer))).toBe(200)
  for (const socket of [...socks, fromElsewhere]) socket.destroy()
  await expect.poll(async () => status(await post('/node/log', 'x'.repeat(1 << 20)))).toBe(200)
})

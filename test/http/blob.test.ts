// The blob workers over loopback.
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startBlobServer } from '../../services/http/blob.ts'
import { spanOf } from '../../services/http/range.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-blob-'))
const folders = [join(folder, 'images'), join(folder, 'boot')]
const large = randomBytes(5_000_001)
const small = Buffer.from('small')
const hexOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const path = (bytes: Buffer) => `/blobs/sha256/${hexOf(bytes)}`
const emptyFile = Buffer.alloc(0)
let events: Record<string, unknown>[] = []
const emit = (type: string, fields: object) => void events.push({ type, ...fields })
const servers: Awaited<ReturnType<typeof startBlobServer>>[] = []
let port = 0

beforeAll(async () => {
  for (const name of folders) mkdirSync(name)
  writeFileSync(join(folders[0]!, hexOf(large)), large)
  writeFileSync(join(folders[0]!, hexOf(emptyFile)), emptyFile)
  writeFileSync(join(folders[1]!, hexOf(small)), small)
  mkdirSync(join(folders[0]!, 'd'.repeat(64)))
  servers.push(await startBlobServer({ address: '127.0.0.1', port: 0, folders, emit }))
  port = servers[0]!.port
  servers.push(await startBlobServer({ address: '127.0.0.1', port, folders, emit })) // a second one on the same port
})
afterAll(async () => {
  for (const server of servers) await server.close()
  rmSync(folder, { recursive: true })
})

type Answer = { status: number; headers: Record<string, unknown>; rawHeaders: string[]; body: Buffer }
function ask(
  url: string,
  options: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      { port, host: '127.0.0.1', path: url, agent: false, ...options },
      (response) => {
        const parts: Buffer[] = []
        response.on('data', (part) => parts.push(part))
        response.on('error', reject)
        response.on('end', () => {
          const { statusCode = 0, headers, rawHeaders } = response
          resolve({ status: statusCode, headers, rawHeaders, body: Buffer.concat(parts) })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end()
  })
}

test('a blob from either folder, whole, with its digest as ETag', async () => {
  for (const bytes of [large, small, emptyFile]) {
    const { status, headers, rawHeaders, body } = await ask(path(bytes))
    expect([status, body.equals(bytes)]).toEqual([200, true])
    expect(headers.etag).toBe(`"sha256:${hexOf(bytes)}"`)
    expect(headers['accept-ranges']).toBe('bytes')
    expect(rawHeaders).toContain('Content-Length')
  }
})

test('who got which blob is told once it is all sent', async () => {
  events = []
  await ask(path(small))
  await expect
    .poll(() => events)
    .toEqual([{ type: 'http.blob', digest: `sha256:${hexOf(small)}`, peer: '127.0.0.1', bytes: 5 }])
})

test('HEAD, a range, a range beyond the end, a range of another version', async () => {
  const head = await ask(path(large), { method: 'HEAD' })
  expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, '5000001', 0])
  const part = await ask(path(large), { headers: { Range: 'bytes=1048570-3000000' } })
  expect([part.status, part.headers['content-range']]).toEqual([206, 'bytes 1048570-3000000/5000001'])
  expect(part.body.equals(large.subarray(1048570, 3000001))).toBe(true)
  expect((await ask(path(large), { headers: { Range: 'bytes=5000001-' } })).status).toBe(416)
  const other = await ask(path(small), { headers: { Range: 'bytes=1-', 'If-Range': '"x"' } })
  expect([other.status, other.body.length]).toEqual([200, 5])
})

test('only digests: no folder, no other name, no other method', async () => {
  const hex = hexOf(small)
  const names = [
    '/',
    '/blobs/sha256/',
    `/blobs/sha256/${'d'.repeat(64)}`, // a folder
    `/blobs/sha256/${'e'.repeat(64)}`,
    `/blobs/sha256/${hex.toUpperCase()}`,
    `/blobs/sha256/../sha256/${hex}`,
    `/blobs/sha256/%2e%2e/${hex}`,
    `/blobs/sha256/..%2f${hex}`,
    '/etc/passwd',
  ]
  for (const name of names) expect([name, (await ask(name)).status]).toEqual([name, 404])
  expect((await ask(`/blobs/sha256/${hex}`, { method: 'POST' })).status).toBe(405)
})

test('a name is read in every spelling: no redirect, which EDK2 and GRUB do not follow', async () => {
  const hex = hexOf(small)
  const encoded = `%${hex.charCodeAt(0).toString(16)}${hex.slice(1)}`
  for (const name of [`//blobs//sha256/${hex}`, `/blobs/sha256/${encoded}`, `/tftpboot/blobs/sha256/${hex}`])
    expect([name, (await ask(name)).status]).toEqual([name, 200])
})

test('GRUB waits for the body of a 404 for ever: there is one', async () => {
  const { status, headers, body } = await ask('/nothing')
  expect([status, headers['content-length'], body.toString()]).toEqual([404, '14', '404 Not Found\n'])
})

test('too many bodies at once: 503 and when to ask again; curl does, and gets it', async () => {
  const one = await startBlobServer({
    ...{ address: '127.0.0.1', port: 0, folders, emit },
    limits: { most: 1, perClient: 1, line: 0 },
  })
  servers.push(one)
  const slow = connect(one.port, '127.0.0.1')
  slow.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  await once(slow, 'readable')
  const url = `http://127.0.0.1:${one.port}${path(large)}`
  const refused = await fetch(url)
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2'])
  expect((await fetch(url, { method: 'HEAD' })).status).toBe(200)
  expect((await fetch(`http://127.0.0.1:${one.port}${path(small)}`)).status).toBe(200) // nothing to wait for
  const file = join(folder, 'retried')
  const child = spawn('curl', ['-s', '--retry', '5', '-o', file, url])
  setTimeout(() => slow.resume(), 500)
  expect((await once(child, 'exit'))[0]).toBe(0)
  expect(readFileSync(file).equals(large)).toBe(true)
})

test('in line: a body starts when another one ends, and who went away is passed over', async () => {
  const one = await startBlobServer({
    ...{ address: '127.0.0.1', port: 0, folders, emit },
    limits: { most: 1, perClient: 5, line: 10 },
  })
  servers.push(one)
  const asking = (agent: string) => {
    const socket = connect(one.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(
      `GET ${path(large)} HTTP/1.1\r\nHost: x\r\nUser-Agent: ${agent}\r\nConnection: close\r\n\r\n`,
    )
    return socket
  }
  const first = asking('curl/8')
  await once(first, 'readable')
  asking('curl/8').destroy()
  const second = asking('GRUB 2.06')
  let early = true
  second.once('readable', () => expect(early).toBe(false))
  await new Promise((done) => setTimeout(done, 300))
  early = false
  first.resume()
  let bytes = 0
  for await (const part of second) bytes += (part as Buffer).length
  expect(bytes).toBeGreaterThan(large.length)
})

test('many at once, fast and slow: all bytes right', async () => {
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(path(large))))
  expect(answers.every(({ body }) => body.equals(large))).toBe(true)
})

test('a slow client gets its bytes while others come and go on reused buffers', async () => {
  const slow = connect(port, '127.0.0.1')
  const parts: Buffer[] = []
  slow.on('data', (part: Buffer) => {
    parts.push(part)
    slow.pause()
    setTimeout(() => slow.resume(), 5)
  })
  slow.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  const closed = once(slow, 'close')
  for (let i = 0; i < 10; i++) await ask(path(large))
  await closed
  const all = Buffer.concat(parts)
  expect(all.subarray(all.indexOf('\r\n\r\n') + 4).equals(large)).toBe(true)
})

test('clients that break off, one after another, harm nobody', async () => {
  events = []
  for (let i = 0; i < 30; i++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await once(socket, 'data')
    socket.resetAndDestroy()
    await once(socket, 'close')
  }
  expect((await ask(path(large))).body.equals(large)).toBe(true)
  expect(events.filter(({ type }) => type === 'http.fail')).toEqual([])
})

test('a blob that is cut short on disk while it is sent never looks whole', async () => {
  const hex = 'a'.repeat(64)
  const file = join(folders[0]!, hex)
  writeFileSync(file, Buffer.alloc(40_000_000))
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET /blobs/sha256/${hex} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await once(socket, 'readable')
  truncateSync(file, 100)
  let bytes = 0
  socket.on('data', (part: Buffer) => {
    bytes += part.length
  })
  await once(socket, 'close')
  expect(bytes).toBeLessThan(40_000_000)
  await expect
    .poll(() => events.at(-1))
    .toMatchObject({ type: 'http.fail', why: expect.stringContaining('shorter') })
})

const curl = async (...words: string[]) => {
  const child = spawn('curl', ['-s', ...words, `http://127.0.0.1:${port}${path(large)}`])
  const parts: Buffer[] = []
  child.stdout.on('data', (part) => parts.push(part))
  const [code] = await once(child, 'close')
  return { code, out: Buffer.concat(parts) }
}

test('curl: HEAD, parts from both ends, several parts are the whole', async () => {
  const head = (await curl('-I')).out.toString()
  expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(head).toContain('\r\nContent-Length: 5000001\r\n')
  expect((await curl('-r', '1000-1999')).out.equals(large.subarray(1000, 2000))).toBe(true)
  expect((await curl('-r', '4000000-')).out.equals(large.subarray(4_000_000))).toBe(true)
  expect((await curl('-r', '-100')).out.equals(large.subarray(-100))).toBe(true)
  expect((await curl('-r', '0-1,5-6')).out.equals(large)).toBe(true)
  expect((await curl('-f', '-r', '5000001-')).code).toBe(22)
})

test('curl: a slow reader gets it whole, one that breaks off is no failure', async () => {
  events = []
  expect((await curl('--limit-rate', '3M')).out.equals(large)).toBe(true)
  expect((await curl('--max-filesize', '1000')).code).toBe(63)
  const pipe = `curl -s http://127.0.0.1:${port}${path(large)} | head -c 1000 | wc -c`
  const child = spawn('sh', ['-c', pipe], { stdio: ['ignore', 'pipe', 'inherit'] })
  expect(String((await once(child.stdout, 'data'))[0])).toContain('1000')
  expect((await curl()).out.equals(large)).toBe(true)
  expect(events.filter(({ type }) => type === 'http.fail')).toEqual([])
})

test('curl resumes', async () => {
  const half = join(folder, 'half')
  writeFileSync(half, large.subarray(0, 2_000_000))
  const child = spawn('curl', ['-s', '-C', '-', '-o', half, `http://127.0.0.1:${port}${path(large)}`])
  expect((await once(child, 'exit'))[0]).toBe(0)
  expect(readFileSync(half).equals(large)).toBe(true)
})

test('law: a span is always inside the blob', () => {
  const header = fc.oneof(
    fc.string(),
    fc.tuple(fc.nat(), fc.nat()).map(([a, b]) => `bytes=${a}-${b}`),
  )
  fc.assert(
    fc.property(header, fc.nat(), (text, bytes) => {
      const span = spanOf(text, bytes)
      if (span.status === 416) return
      const { start, end } = span.range
      expect(0 <= start && start <= end && end <= bytes).toBe(true)
      if (span.status === 206) expect(end).toBeGreaterThan(start)
    }),
  )
})

test('requests that wait on one connection hold nothing: a few are answered in turn, a flood ends it', async () => {
  const pipelined = async (count: number) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(count))
    return socket
  }
  const few = await pipelined(3)
  let bytes = 0
  for await (const part of few) {
    bytes += (part as Buffer).length
    if (bytes > 3 * large.length) break
  }
  const files = () => readdirSync('/proc/self/fd').length
  const before = files()
  const flood = (await pipelined(2000)).pause()
  await new Promise((done) => setTimeout(done, 300))
  expect(files() - before).toBeLessThan(10)
  flood.destroy()
})

/** A client that asks, closes its side at once, and reads to the end. */
async function halfClosed(at: number, requests: string[]): Promise<Buffer> {
  const socket = connect({ port: at, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(requests.map((line) => `${line} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''))
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

/** The bodies of such answers, each as long as it says. */
function bodiesOf(answers: Buffer): Buffer[] {
  const bodies: Buffer[] = []
  for (let at = 0; at < answers.length; ) {
    const end = answers.indexOf('\r\n\r\n', at) + 4
    const length = Number(/^Content-Length: (\d+)\r$/m.exec(answers.toString('latin1', at, end))![1])
    bodies.push(answers.subarray(end, end + length))
    at = end + length
  }
  return bodies
}

test('who closes its side after the last request gets every answer, and the connection ends', async () => {
  const bodies = bodiesOf(
    await halfClosed(port, [
      `GET ${path(large)}`,
      'GET /nothing',
      `GET ${path(small)}`,
      `GET ${path(large)}`,
    ]),
  )
  expect(bodies.map(({ length }) => length)).toEqual([large.length, 14, small.length, large.length])
  expect(bodies[0]!.equals(large) && bodies[2]!.equals(small) && bodies[3]!.equals(large)).toBe(true)
  expect(bodiesOf(await halfClosed(port, [`GET ${path(small)}`]))).toEqual([small])
  expect(await halfClosed(port, [])).toEqual(Buffer.alloc(0))
})

test('in line too; who has gone for good meanwhile holds up nobody', async () => {
  const one = await startBlobServer({
    ...{ address: '127.0.0.1', port: 0, folders, emit },
    limits: { most: 1, perClient: 5, line: 10 },
  })
  servers.push(one)
  const first = connect(one.port, '127.0.0.1')
  first.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  await once(first, 'readable')
  const gone = connect(one.port, '127.0.0.1')
  await once(gone, 'connect')
  await new Promise<void>((done) =>
    gone.write(`GET ${path(large)} HTTP/1.1\r\nHost: x\r\nUser-Agent: GRUB 2.06\r\n\r\n`, () => done()),
  )
  await new Promise((done) => setTimeout(done, 100)) // it stands in line before it goes
  gone.destroy()
  let isFirstOver = false
  first.once('close', () => {
    isFirstOver = true
  })
  const second = halfClosed(one.port, [`GET ${path(large)}`]).then(
    (answers) => [isFirstOver, answers] as const,
  )
  setTimeout(() => first.resume(), 300)
  const [wasOver, answers] = await second
  expect(wasOver).toBe(true)
  expect(bodiesOf(answers)[0]!.equals(large)).toBe(true)
})

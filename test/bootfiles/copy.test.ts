// The copying phase for real: real tar, zstd and curl against a real HTTP server that breaks, lies and goes away.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runPhase } from './run-phase.ts'

const work = mkdtempSync(join(tmpdir(), 'sysclone-copy-'))
afterAll(() => rmSync(work, { recursive: true }))

type Blob = { hex: string; bytes: Buffer; tarBytes: number }
const blobs: Blob[] = []
const overrides: (Blob & { name: string })[] = []
beforeAll(() => {
  const root = join(work, 'root')
  mkdirSync(join(root, 'a/deep'), { recursive: true })
  writeFileSync(join(root, 'a/deep/file'), Buffer.alloc(6_000_000, 'sysclone '))
  writeFileSync(join(root, 'b'), 'b\n', { mode: 0o640 })
  execFileSync('ln', [join(root, 'b'), join(root, 'hard')])
  execFileSync('touch', ['-d', '2001-02-03 04:05:06 UTC', join(root, 'a')])
  symlinkSync('a/deep', join(root, 'link'))
  for (const names of [['a/deep/file'], ['b', 'hard', 'link'], ['a', 'a/deep']])
    blobs.push(layer(root, names))
  overrides.push(override('base', { b: 'of base\n', 'new/dir/x': 'x\n', 'link/through': 'y\n' }))
  overrides.push(override('n1', { b: 'of n1\n', 'a/own': 'z\n' }))
})

/** A tree whose folders nobody but its maker may enter, as `umask 077` leaves them. */
function override(name: string, files: Record<string, string>): Blob & { name: string } {
  const root = join(work, name)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true, mode: 0o700 })
    writeFileSync(join(root, path), text, { mode: 0o600 })
  }
  const bytes = execFileSync('sh', ['-c', 'tar --format=posix -c . | zstd -q -c'], { cwd: root })
  return { name, bytes, hex: createHash('sha256').update(bytes).digest('hex'), tarBytes: 0 }
}

function layer(root: string, names: string[]): Blob {
  const tar = join(work, `${blobs.length}.tar`)
  execFileSync('tar', ['--format=posix', '--no-recursion', '-C', root, '-cf', tar, ...names])
  const bytes = execFileSync('zstd', ['-q', '-c', tar], { maxBuffer: 2 ** 26 })
  return { hex: createHash('sha256').update(bytes).digest('hex'), bytes, tarBytes: statSync(tar).size }
}

type Answer = (request: IncomingMessage, response: ServerResponse, blob: Blob) => void
const honest: Answer = (request, response, { bytes }) => {
  const from = Number(request.headers.range?.match(/\d+/)?.[0] ?? 0)
  const range = from > 0 ? { 'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}
  response.writeHead(from > 0 ? 206 : 200, { 'Content-Length': bytes.length - from, ...range })
  response.end(bytes.subarray(from))
}

/** Runs the phase against a server that answers so; `left` looks at the target before it is removed. */
async function copy(
  answer: Answer,
  { deadFirst = false, patience = 150, laid = [] as typeof overrides } = {},
) {
  const posts: any[] = []
  const ranges: string[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    if (request.url === '/node/progress') {
      posts.push(JSON.parse(Buffer.concat(chunks).toString()))
      return void response.writeHead(204).end()
    }
    const blob = [...blobs, ...laid].find((b) => request.url === `/blobs/sha256/${b.hex}`)
    if (request.headers.range) ranges.push(request.headers.range)
    if (!blob) return void response.writeHead(404).end()
    answer(request, response, blob)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const planText = [
    'session 0123',
    `server ${url}`,
    ...(deadFirst ? ['blobs http://127.0.0.1:9'] : []),
    `blobs ${url}`,
    `bytes ${blobs.reduce((sum, b) => sum + b.tarBytes, 0)}`,
    ...blobs.map(
      (b, i) => `layer sha256:${b.hex} ${b.bytes.length} ${b.tarBytes} ${i === 2 ? 'last' : 'parallel'}`,
    ),
    ...laid.map((o) => `override sha256:${o.hex} ${o.bytes.length} ${o.name}`),
    '',
  ].join('\n')
  let root = ''
  const look =
    'cd "$TARGET"; sha256sum a/deep/file; stat -c "%n %a %h %Y" a b hard; /usr/bin/find . -printf "%P %y %m %l\\n"; cat b'
  // The made-up target has no programs of its own.
  const chroot = 'chroot() { at=$1; shift 6; "$TOOLS"/tar "$@" -C "$at"; }'
  const ran = await runPhase(
    '40-copy.sh',
    { plan: 'x', planText, real: true, files: { 'target/x': '' } },
    (at) => {
      root = at
      const lib = join(at, 'installer/lib.sh')
      writeFileSync(
        lib,
        `${readFileSync(lib, 'utf8')}\nPATIENCE=${patience}\n${chroot}\ntrap '${look}' EXIT\n`,
      )
    },
  )
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  expect(existsSync(root)).toBe(false)
  return { ...ran, posts, ranges }
}

const whole = () =>
  createHash('sha256')
    .update(readFileSync(join(work, 'root/a/deep/file')))
    .digest('hex')

test('all layers arrive; directories keep their times, hard links stay links; percent never falls', async () => {
  const { code, said, posts } = await copy(honest)
  expect(code).toBe(0)
  expect(said).toContain(`${whole()}  a/deep/file`)
  expect(said).toContain('a 755 3 981173106')
  expect(said).toContain('b 640 2 ')
  const percents = posts.map((p) => p.percent)
  expect(percents).toEqual(percents.toSorted((a, b) => a - b))
  expect(percents.at(-1)).toBe(84)
  expect(posts.map((p) => p.seq)).toEqual(posts.map((_, i) => i + 1))
})

test('a connection that breaks half way is taken up where it broke', async () => {
  const seen = new Set<string>()
  const breaking: Answer = (request, response, blob) => {
    if (seen.has(blob.hex)) return honest(request, response, blob)
    seen.add(blob.hex)
    response.writeHead(200, { 'Content-Length': blob.bytes.length })
    response.write(blob.bytes.subarray(0, blob.bytes.length >> 1), () =>
      setTimeout(() => response.destroy(), 50),
    )
  }
  const { code, said, ranges } = await copy(breaking)
  expect(code).toBe(0)
  expect(said).toContain(`${whole()}  a/deep/file`)
  expect(ranges).toHaveLength(3)
})

test('503 while the server restarts, and a first address that is dead', async () => {
  let refusals = 2
  const busy: Answer = (request, response, blob) =>
    refusals-- > 0
      ? void response.writeHead(503, { 'Content-Length': 9 }).end('{"x":"y"}')
      : honest(request, response, blob)
  const { code, said } = await copy(busy, { deadFirst: true })
  expect(code).toBe(0)
  expect(said).toContain(`${whole()}  a/deep/file`)
})

test('a server that lets others go first is waited for, however often it says so', async () => {
  let refusals = 8
  const busy: Answer = (request, response, blob) =>
    blob === blobs[1] && refusals-- > 0
      ? void response.writeHead(503, { 'Retry-After': '2', 'Content-Length': 0 }).end()
      : honest(request, response, blob)
  const { code, said } = await copy(busy, { patience: 3 })
  expect(code).toBe(0)
  expect(said).toContain(`${whole()}  a/deep/file`)
  expect(refusals).toBeLessThanOrEqual(0)
})

test('one wrong byte ends it, with the digest named', async () => {
  const wrong: Answer = (request, response, blob) => {
    const bytes = Buffer.from(blob.bytes)
    bytes[bytes.length >> 1]! ^= 1
    honest(request, response, blob === blobs[0] ? { ...blob, bytes } : blob)
  }
  const { code, state } = await copy(wrong)
  expect(code).toBe(1)
  expect(state('reason')).toMatch(
    new RegExp(`^layer sha256:${blobs[0]!.hex} is corrupt: the bytes that came have sha256:[0-9a-f]{64}\n$`),
  )
})

test('a server that answers a request for the rest with the whole is not believed', async () => {
  const seen = new Set<string>()
  const deaf: Answer = (request, response, blob) => {
    if (!seen.has(blob.hex)) {
      seen.add(blob.hex)
      response.writeHead(200, { 'Content-Length': blob.bytes.length })
      return void response.write(blob.bytes.subarray(0, 100), () => setTimeout(() => response.destroy(), 50))
    }
    // Once it ignores the range, then it honours it: what was asked for must still come out whole.
    if (request.headers.range && !seen.has(`${blob.hex} deaf`)) {
      seen.add(`${blob.hex} deaf`)
      return honest({ headers: {} } as IncomingMessage, response, blob)
    }
    honest(request, response, blob)
  }
  const { code, said } = await copy(deaf)
  expect(code).toBe(0)
  expect(said).toContain(`${whole()}  a/deep/file`)
})

test('a blob that is gone ends it soon, with the address', async () => {
  const gone: Answer = (_, response) => void response.writeHead(404, { 'Content-Length': 9 }).end('{"x":"y"}')
  const { code, state } = await copy(gone)
  expect(code).toBe(1)
  expect(state('reason')).toMatch(/^layer sha256:[0-9a-f]{64}: http:.* cannot be fetched: curl: \(22\) .*404/)
})

test('overrides are laid in their order; folders and links that are there stay as they are', async () => {
  const { code, said, posts } = await copy(honest, { laid: overrides })
  expect(code).toBe(0)
  const found = said.split('\n')
  expect(found).toContain('of n1') // the later one
  expect(found).toContain('b f 600 ')
  expect(found).toContain(' d 755 ') // not 700, as the root of the tree has it
  expect(found).toContain('a d 755 ')
  expect(found).toContain('new d 700 ')
  expect(found).toContain('new/dir/x f 600 ')
  expect(found).toContain('link l 777 a/deep')
  expect(found).toContain('a/deep/through f 600 ')
  expect(found).toContain('a/own f 600 ')
  expect(said).toMatch(/^hard 640 1 /m) // a file is put in the place of another, not written into it
  expect(posts.map((p) => p.text)).toContain('override n1')
})

test('an override with a wrong byte ends it, named', async () => {
  const wrong: Answer = (request, response, blob) => {
    const bytes = Buffer.from(blob.bytes)
    bytes[bytes.length >> 1]! ^= 1
    honest(request, response, blob === overrides[1] ? { ...blob, bytes } : blob)
  }
  const { code, state } = await copy(wrong, { laid: overrides })
  expect(code).toBe(1)
  expect(state('reason')).toMatch(
    new RegExp(`^override n1 sha256:${overrides[1]!.hex} is corrupt: the bytes that came have sha256:`),
  )
})

test('the same override twice, with another between, is laid twice', async () => {
  const { code, said } = await copy(honest, { laid: [overrides[1]!, overrides[0]!, overrides[1]!] })
  expect([code, said.includes('of n1')]).toEqual([0, true])
})

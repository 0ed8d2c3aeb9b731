// nginx in front, with the very text of the README, against the clients' habits. Loopback only.
import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { makePrivate } from '../../services/store/private-folder.ts'

const folder = mkdtempSync('/var/tmp/sysclone-nginx-')
const stateDir = join(folder, 'state')
const layer = randomBytes(3_000_001)
const ramdisk = Buffer.from('ramdisk')
const hexOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const path = (bytes: Buffer) => `/blobs/sha256/${hexOf(bytes)}`
let nginx: ReturnType<typeof spawn>
let port = 0

beforeAll(async () => {
  chmodSync(folder, 0o755)
  for (const room of ['images', 'bootonly']) await makePrivate(join(stateDir, room))
  chmodSync(stateDir, 0o755)
  for (const [room, bytes] of [
    ['images', layer],
    ['bootfiles', ramdisk],
  ] as const) {
    mkdirSync(join(stateDir, room, 'blobs/sha256'), { recursive: true })
    writeFileSync(join(stateDir, room, 'blobs/sha256', hexOf(bytes)), bytes)
  }
  writeFileSync(join(stateDir, 'images/index.json'), '{}')
  writeFileSync(join(stateDir, 'sysclone.db'), 'secret')
  port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  )
  writeFileSync(
    join(folder, 'nginx.conf'),
    `user www-data; daemon off; pid ${join(folder, 'pid')}; error_log ${join(folder, 'log')};
    events { } http { access_log off; ${temporary.join(' ')} ${readmeText()} }`,
  )
  nginx = spawn('nginx', ['-c', join(folder, 'nginx.conf'), '-p', folder, '-e', join(folder, 'log')], {
    stdio: 'inherit',
  })
  await vi.waitFor(() => status('/'), { timeout: 20_000, interval: 100 })
})
afterAll(async () => {
  const gone = once(nginx, 'exit')
  nginx.kill('SIGQUIT')
  await gone
  rmSync(folder, { recursive: true })
})

/** The block of the README, for this machine. */
function readmeText(): string {
  const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')
  const text = /```nginx\n([^`]+)```/.exec(readme)![1]!
  expect(text).toContain('root /var/lib/sysclone;')
  expect(text).toContain('listen 10.0.0.1:8090 ')
  return text.replace('/var/lib/sysclone', stateDir).replace('10.0.0.1:8090', `127.0.0.1:${port}`)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

/** As the bytes go over the wire. */
async function raw(method: string, name: string, headers = ''): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const parts: Buffer[] = []
  socket.on('data', (part: Buffer) => parts.push(part))
  await once(socket, 'connect')
  socket.write(`${method} ${name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${headers}\r\n`)
  await once(socket, 'close')
  return Buffer.concat(parts).toString('latin1')
}
const status = async (name: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(await raw('GET', name))?.[1])
const body = (answer: string) => Buffer.from(answer.slice(answer.indexOf('\r\n\r\n') + 4), 'latin1')

test('images are closed to its user until root lets its group in, and stay open after that', async () => {
  expect(await status(path(layer))).toBe(404)
  expect(await status(path(ramdisk))).toBe(200)
  const gid = Number(execFileSync('id', ['-g', 'www-data'], { encoding: 'utf8' }))
  for (const room of ['images', 'bootonly']) {
    chownSync(join(stateDir, room), 0, gid)
    execFileSync('chmod', ['g+x', join(stateDir, room)])
    await makePrivate(join(stateDir, room)) // the server starts again
  }
  expect(await status(path(layer))).toBe(200)
})

test('headers are spelled as GRUB reads them; HEAD, ranges and doubled slashes need no redirect', async () => {
  const head = await raw('HEAD', path(layer))
  expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(head).toContain('\r\nContent-Length: 3000001\r\n')
  expect(head).toContain('\r\nContent-Type: application/octet-stream\r\n')
  expect(body(head).length).toBe(0)
  expect(body(await raw('GET', path(layer))).equals(layer)).toBe(true)
  const rest = await raw('GET', path(layer), 'Range: bytes=65536-\r\n')
  expect(rest).toMatch(/^HTTP\/1\.1 206 /)
  expect(body(rest).equals(layer.subarray(65536))).toBe(true)
  expect(body(await raw('GET', path(layer), 'Range: bytes=-5\r\n')).equals(layer.subarray(-5))).toBe(true)
  expect(await raw('GET', path(layer), 'Range: bytes=3000001-\r\n')).toMatch(/^HTTP\/1\.1 416 /)
  expect(await status(`/${path(layer)}`)).toBe(200)
})

test('nothing but blobs by their digest: no listing, no index, no database', async () => {
  const hex = hexOf(layer)
  for (const name of [
    ...[
      '/',
      '/images/',
      '/images/index.json',
      '/sysclone.db',
      '/blobs/sha256/',
      `/images/blobs/sha256/${hex}`,
    ],
    ...[
      `/blobs/sha256/${'e'.repeat(64)}`,
      `/blobs/sha256/${hex}/../../../../sysclone.db`,
      '/blobs/../sysclone.db',
    ],
    ...[`/blobs/sha256/..%2f..%2f..%2fsysclone.db`, `/blobs/sha256/${hex.slice(1)}`],
  ]) {
    const answer = await raw('GET', name)
    expect([name, /^HTTP\/1\.1 (400|404) /.test(answer)]).toEqual([name, true])
    expect(answer).not.toContain('secret')
    expect(body(answer).length).toBeGreaterThan(0) // GRUB waits for the body of a 404
  }
})

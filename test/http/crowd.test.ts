// Thousands of real connections to the boot process' HTTP server, and machines that want to boot meanwhile.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { startBlobServer } from '../../services/http/blob.ts'
import { startBootHttp } from '../../services/http/boot.ts'
import { textContent } from '../../services/http/content.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-crowd-'))
const sockets: Socket[] = []
const closers: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const close of closers.splice(0).reverse()) await close()
})

type Crowd = NonNullable<Parameters<typeof startBootHttp>[0]['crowdLimits']>
async function serve(crowdLimits: Crowd, text = 'text') {
  const events: Record<string, unknown>[] = []
  const { port, close } = await startBootHttp({
    address: '0.0.0.0',
    port: 0,
    nodeSocketPath: join(folder, 'none.sock'),
    emit: (type, fields) => void events.push({ type, ...fields }),
    open: async () => textContent(text),
    crowdLimits,
  })
  closers.push(close)
  return { port, events }
}

function dial(port: number, from: string): Socket {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from })
  socket.on('error', () => {})
  sockets.push(socket)
  return socket
}

async function dialMany(port: number, from: string, count: number) {
  const opened = Array.from({ length: count }, () => dial(port, from))
  await Promise.all(opened.map((socket) => once(socket, 'connect')))
  return opened
}

/** What a loader gets that asks once. */
async function ask(port: number, from: string): Promise<string> {
  const socket = dial(port, from)
  socket.write('GET /boot/ipxe/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let answer = ''
  socket.on('data', (part) => {
    answer += part
  })
  await once(socket, 'close')
  return answer
}

const isOpen = (socket: Socket) => !socket.destroyed
const served = /^HTTP\/1\.1 200 [\s\S]*\r\ntext$/
const full = { event: 'http.fail', why: /too many connections/ }

test('one machine that opens thousands holds 256 of them; it and others are answered', async () => {
  const { port, events } = await serve({})
  const mine = await dialMany(port, '127.0.0.9', 1500)
  mine.push(...(await dialMany(port, '127.0.0.9', 1500)))
  for (const socket of mine) socket.resume()
  expect(await ask(port, '127.0.0.2')).toMatch(served)
  expect(await ask(port, '127.0.0.9')).toMatch(served)
  await expect.poll(() => mine.filter(isOpen).length).toBeLessThanOrEqual(256)
  expect(mine.filter(isOpen).length).toBeGreaterThan(250)
  expect(events).toContainEqual({
    type: full.event,
    peer: '127.0.0.9',
    why: expect.stringMatching(full.why),
  })
  expect(events.filter(({ peer }) => peer === '127.0.0.9').length).toBeLessThan(5)
})

test('made-up addresses that fill all places give way to the machines that come later, and to nobody of those', async () => {
  const { port } = await serve({ most: 2000 })
  const rogues = Array.from({ length: 20 }, (_, i) => `127.0.1.${i + 1}`)
  const many = (await Promise.all(rogues.map((from) => dialMany(port, from, 100)))).flat()
  for (const socket of many) socket.resume()
  const honest = Array.from({ length: 40 }, (_, i) => `127.0.2.${i + 1}`)
  const [waiting] = await Promise.all([
    Promise.all(honest.map((from) => dialMany(port, from, 2))),
    ...rogues.map((from) => dialMany(port, from, 20)),
  ])
  for (const from of honest) expect(await ask(port, from)).toMatch(served)
  expect(waiting.flat().filter(isOpen).length).toBe(80)
})

test('who asks and then reads nothing is let go; one that reads slowly is not', async () => {
  const text = 'x'.repeat(24 << 20)
  const { port } = await serve({ stallMs: 600, lookMs: 100 }, text)
  const idle = dial(port, '127.0.0.3').pause()
  const slow = dial(port, '127.0.0.4').pause()
  for (const socket of [idle, slow]) socket.write('GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  let got = 0
  const timer = setInterval(() => {
    for (let i = 0; i < 8; i++) got += (slow.read() as Buffer | null)?.length ?? 0
  }, 50)
  closers.push(() => clearInterval(timer))
  await new Promise((done) => setTimeout(done, 2500))
  await once(idle.resume(), 'close') // it gets what was on its way
  expect(idle.bytesRead).toBeLessThan(text.length)
  const before = got
  await expect.poll(() => got).toBeGreaterThan(before)
})

test('the blob workers keep the same order', async () => {
  const events: Record<string, unknown>[] = []
  const { port, close } = await startBlobServer({
    address: '127.0.0.1',
    port: 0,
    folders: [folder],
    emit: (type, fields) => void events.push({ type, ...fields }),
  })
  closers.push(close)
  const mine = await dialMany(port, '127.0.0.9', 400)
  for (const socket of mine) socket.resume()
  await expect.poll(() => mine.filter(isOpen).length).toBe(256)
  expect(await ask(port, '127.0.0.2')).toMatch(/^HTTP\/1\.1 404 /)
  expect(events).toMatchObject([{ type: 'http.fail', peer: '127.0.0.9' }])
  rmSync(folder, { recursive: true, force: true })
})

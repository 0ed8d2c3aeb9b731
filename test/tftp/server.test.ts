// The server against real clients, a lossy wire and machines that misbehave. Loopback only.
import { spawn } from 'node:child_process'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Content, fileContent, textContent } from '../../services/http/content.ts'
import { startTftp } from '../../services/tftp/server.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/tftp/packet.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-tftp-'))
const sizes: Record<string, number> = {
  one: 1,
  border: 1468 * 3,
  lossy: 60_000,
  megabyte: 1_000_000,
  'many-blocks': 8 * 65_536 + 100, // block numbers wrap at blksize 8
}
const bytesOf = (name: string) => readFileSync(join(folder, name))
type Tftp = Awaited<ReturnType<typeof startTftp>>
let events: { type: string; [field: string]: unknown }[] = []
const opened = { now: 0, most: 0 }
const servers: Tftp[] = []

beforeAll(() => {
  for (const [name, bytes] of Object.entries(sizes))
    writeFileSync(
      join(folder, name),
      Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) & 255)),
    )
  writeFileSync(join(folder, 'empty'), '')
})
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close()
})
afterAll(() => rmSync(folder, { recursive: true }))

async function start(more: { perClient?: number; total?: number } = {}) {
  events = []
  opened.most = 0
  const server = await startTftp({
    address: '127.0.0.1',
    port: 0,
    open: counted,
    emit: (type, fields) => void events.push({ type, ...fields }),
    ...more,
  })
  servers.push(server)
  return server
}
async function counted(name: string): Promise<Content | undefined> {
  if (name === 'broken')
    return { ...textContent('x'.repeat(5000)), read: () => Promise.reject(new Error('disk')) }
  if (name === 'text') return textContent('hello\n', { node: 'n1', deployment: 'd1', kind: 'install' })
  if (!(name in sizes) && name !== 'empty') return undefined
  const content = await fileContent(join(folder, name), { contentType: 'x' })
  if (!content) return undefined
  opened.most = Math.max(opened.most, ++opened.now)
  const close = () => {
    opened.now--
    content.close()
  }
  return { ...content, close }
}

async function run(command: string, args: string[]) {
  const child = spawn(command, args, { stdio: 'ignore' })
  const [code] = await once(child, 'exit')
  return code as number
}
const target = join(folder, 'out')
const clients: Record<string, (port: number, name: string) => Promise<number>> = {
  'tftp-hpa': (port, name) => run('tftp', ['-m', 'octet', '127.0.0.1', `${port}`, '-c', 'get', name, target]),
  busybox: (port, name) =>
    run('busybox', ['tftp', '-b', '1468', '-g', '-r', name, '-l', target, '127.0.0.1', `${port}`]),
  curl: (port, name) =>
    run('curl', ['-s', '--tftp-blksize', '1024', '-o', target, `tftp://127.0.0.1:${port}/${name}`]),
}

for (const [client, get] of Object.entries(clients))
  for (const name of ['one', 'border', 'megabyte'])
    test(`${client} gets ${name}`, async () => {
      const { port } = await start()
      expect(await get(port, name)).toBe(0)
      expect(readFileSync(target).equals(bytesOf(name))).toBe(true)
      await expect.poll(() => events.map((e) => e.type)).toEqual(['tftp.start', 'tftp.done'])
      expect(events[1]).toMatchObject({
        bytes: sizes[name],
        why: 'complete',
        file: expect.stringContaining(name),
      })
      expect(opened.now).toBe(0)
    })

test('an empty file is one empty block (tftp-hpa, busybox)', async () => {
  const { port } = await start()
  for (const client of ['tftp-hpa', 'busybox']) {
    writeFileSync(target, 'old')
    expect(await clients[client]!(port, 'empty')).toBe(0)
    expect(readFileSync(target).length).toBe(0)
  }
})

test('more than 65535 blocks: the numbers wrap', async () => {
  const { port } = await start()
  const { data } = await fetchFile(port, 'many-blocks', { blksize: '8' })
  expect(data.equals(bytesOf('many-blocks'))).toBe(true)
})

test('names: one spelling for all, and none that climbs', async () => {
  const { port } = await start()
  for (const name of ['/one', '//one', '.\\one', '/./one'])
    expect((await fetchFile(port, name)).data.length).toBe(1)
  for (const name of ['../one', '/x/../one', '..\\one', 'on\x01e', 'nothing', ''])
    expect(await fetchFile(port, name)).toMatchObject({ error: { code: 1 } })
})

test('a miss, a write, netascii: refused at once', async () => {
  const { port } = await start()
  const from = performance.now()
  expect(await fetchFile(port, 'no-such-file')).toMatchObject({ error: { code: 1 } })
  expect(await ask(port, { op: 'write', file: 'one', mode: 'octet', options: {} })).toMatchObject({ code: 2 })
  expect(await ask(port, { op: 'read', file: 'one', mode: 'netascii', options: {} })).toMatchObject({
    code: 4,
  })
  expect(performance.now() - from).toBeLessThan(500)
})

test('who it was for is in the events', async () => {
  const { port } = await start()
  await fetchFile(port, 'text')
  expect(events[0]).toMatchObject({ type: 'tftp.start', node: 'n1', deployment: 'd1', kind: 'install' })
})

test('a file that can not be read ends with an error and an event', async () => {
  const { port } = await start()
  expect(await fetchFile(port, 'broken')).toMatchObject({ error: { code: 0 } })
  await expect.poll(() => events.at(-1)).toMatchObject({ type: 'tftp.fail', why: 'disk' })
})

test('EDK2: asks for the size, breaks off with error 8, then asks for the data', async () => {
  const { port } = await start()
  const wire = await openWire()
  wire.send(
    { op: 'read', file: 'one', mode: 'octet', options: { tsize: '0', blksize: '1468', windowsize: '4' } },
    port,
  )
  const oack = await wire.next()
  expect(oack.packet).toEqual({ op: 'oack', options: { blksize: '1468', tsize: '1' } })
  wire.send({ op: 'error', code: 8, message: 'User aborted' }, oack.port)
  await expect.poll(() => events.at(-1)).toMatchObject({ type: 'tftp.done', why: 'aborted' })
  expect((await fetchFile(port, 'one')).data.length).toBe(1)
  wire.close()
})

test('a repeated request does not fork a second transfer', async () => {
  const { port } = await start()
  const wire = await openWire()
  const request: Packet = { op: 'read', file: 'megabyte', mode: 'octet', options: { blksize: '1024' } }
  wire.send(request, port)
  wire.send(request, port)
  const first = await wire.next()
  expect(await wire.next(300)).toBeUndefined()
  wire.send({ op: 'ack', block: 0 }, first.port)
  const second = await wire.next()
  expect(second).toMatchObject({ port: first.port, packet: { op: 'data', block: 1 } })
  // The same port asks for another file: the machine was reset, the old transfer is over.
  wire.send({ ...request, file: 'one' }, port)
  const third = await wire.next()
  expect(third.port).not.toBe(first.port)
  expect(third.packet).toMatchObject({ op: 'oack' })
  wire.close()
})

test('a stranger gets error 5 and changes nothing; garbage is not answered', async () => {
  const { port } = await start()
  const wire = await openWire()
  const stranger = await openWire()
  wire.send({ op: 'read', file: 'border', mode: 'octet', options: {} }, port)
  const { port: transfer } = await wire.next()
  stranger.send({ op: 'ack', block: 1 }, transfer)
  expect((await stranger.next()).packet).toMatchObject({ op: 'error', code: 5 })
  stranger.send({ op: 'error', code: 0, message: 'die' }, transfer)
  for (const bytes of ['', '\0', '\0\x04', '\xff\xff\xff\xff']) {
    stranger.raw(bytes, transfer)
    stranger.raw(bytes, port)
    wire.raw(bytes, transfer)
  }
  expect(await stranger.next(200)).toBeUndefined()
  wire.send({ op: 'ack', block: 1 }, transfer)
  expect((await wire.next()).packet).toMatchObject({ op: 'data', block: 2 })
  wire.close()
  stranger.close()
})

test('a duplicated ack is not answered twice', async () => {
  const { port } = await start()
  const wire = await openWire()
  wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options: {} }, port)
  const { port: transfer } = await wire.next()
  for (let block = 1; block <= 20; block++) {
    wire.send({ op: 'ack', block }, transfer)
    wire.send({ op: 'ack', block }, transfer)
    expect((await wire.next()).packet).toMatchObject({ op: 'data', block: block + 1 })
  }
  expect(await wire.next(100)).toBeUndefined()
  wire.close()
})

test('one packet in ten lost, others doubled: the bytes are right, and it is the server that is quick', async () => {
  const { port } = await start()
  let count = 0
  const relay = await openRelay(port, () => (++count % 10 === 0 ? 0 : count % 7 === 0 ? 2 : 1))
  // The client alone would take 3 s for each loss.
  const { data } = await fetchFile(relay.port, 'lossy', { blksize: '1468', tsize: '0' }, 3000)
  expect(data.equals(bytesOf('lossy'))).toBe(true)
  relay.close()
})

test('so many at once per client, the rest waits its turn', async () => {
  const { port } = await start({ perClient: 2 })
  const files = await Promise.all(
    Array.from({ length: 8 }, () => fetchFile(port, 'megabyte', { blksize: '1468' })),
  )
  expect(files.every(({ data }) => data.equals(bytesOf('megabyte')))).toBe(true)
  expect(opened.most).toBe(2)
  await expect.poll(() => opened.now).toBe(0)
})

test('close ends the transfers and gives the port back', async () => {
  const server = await start()
  const wire = await openWire()
  wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options: {} }, server.port)
  await wire.next()
  await server.close()
  servers.splice(0)
  await expect.poll(() => opened.now).toBe(0)
  wire.close()
})

// A socket that speaks packets.
async function openWire() {
  // A literal look-up sends at once, also what is sent right before the close.
  const socket = dgram.createSocket({ type: 'udp4', lookup: (host, _, done) => done(null, host, 4) })
  const listening = once(socket, 'listening')
  socket.bind(0, '127.0.0.1')
  await listening
  const queue: { packet: Packet; port: number }[] = []
  let wake: (() => void) | undefined
  socket.on('message', (bytes, { port }) => {
    queue.push({ packet: parsePacket(Uint8Array.from(bytes)), port })
    wake?.()
  })
  async function next(ms?: number): Promise<any> {
    const deadline = performance.now() + (ms ?? 5000)
    while (queue.length === 0) {
      const left = deadline - performance.now()
      if (left <= 0) {
        if (ms === undefined) throw new Error('no answer')
        return undefined
      }
      await new Promise<void>((done) => {
        const timer = setTimeout(done, left)
        wake = () => {
          clearTimeout(timer)
          done()
        }
      })
    }
    return queue.shift()
  }
  return {
    next,
    send: (packet: Packet, port: number) => socket.send(serializePacket(packet), port, '127.0.0.1'),
    raw: (text: string, port: number) => socket.send(Buffer.from(text, 'latin1'), port, '127.0.0.1'),
    close: () => socket.close(),
  }
}

async function ask(port: number, packet: Packet) {
  const wire = await openWire()
  wire.send(packet, port)
  const answer = await wire.next()
  wire.close()
  return answer.packet
}

/** A patient client: it asks again after `retryMs`, and only then. */
async function fetchFile(port: number, file: string, options: Record<string, string> = {}, retryMs = 5000) {
  const wire = await openWire()
  const parts: Buffer[] = []
  const request: Packet = { op: 'read', file, mode: 'octet', options }
  let blockBytes = 512
  let expected = 1
  let last: [Packet, number] = [request, port]
  wire.send(...last)
  try {
    for (;;) {
      const answer = await wire.next(retryMs)
      if (!answer) {
        wire.send(...last)
        continue
      }
      const { packet, port: from } = answer
      if (packet.op === 'error') return { data: Buffer.alloc(0), error: packet }
      if (packet.op === 'oack') {
        blockBytes = Number(packet.options.blksize ?? 512)
        last = [{ op: 'ack', block: 0 }, from]
      } else {
        last = [{ op: 'ack', block: packet.block }, from]
        if (packet.block === (expected & 0xffff)) {
          expected++
          parts.push(packet.data)
          if (packet.data.length < blockBytes) {
            wire.send(...last)
            return { data: Buffer.concat(parts) }
          }
        }
      }
      wire.send(...last)
    }
  } finally {
    wire.close()
  }
}

/** A wire between one client and the server: `copies` says how often each packet gets through. */
async function openRelay(serverPort: number, copies: () => number) {
  const front = dgram.createSocket('udp4')
  const back = dgram.createSocket('udp4')
  front.bind(0, '127.0.0.1')
  back.bind(0, '127.0.0.1')
  await Promise.all([once(front, 'listening'), once(back, 'listening')])
  let client = 0
  let transfer = serverPort
  front.on('message', (bytes, { port }) => {
    client = port
    for (let n = copies(); n > 0; n--) back.send(bytes, transfer, '127.0.0.1')
  })
  back.on('message', (bytes, { port }) => {
    transfer = port
    for (let n = copies(); n > 0; n--) front.send(bytes, client, '127.0.0.1')
  })
  const close = () => {
    front.close()
    back.close()
  }
  return { port: front.address().port, close }
}

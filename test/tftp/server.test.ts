// The server against real clients, a lossy wire and machines that misbehave. Loopback only.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Emit } from '../../services/emit.ts'
import { type Content, fileContent, textContent } from '../../services/http/content.ts'
import { makeFiles } from '../../services/tftp/files.ts'
import { type Pool, startPool } from '../../services/tftp/pool.ts'
import { startTftp } from '../../services/tftp/server.ts'
import type { Ipv4 } from '../../src/address.ts'
import type { Packet } from '../../src/tftp/packet.ts'
import { openRelay } from './relay.ts'
import { ask, fetchFile, openWire, openWires, type Wire } from './wire.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-tftp-'))
const sizes: Record<string, number> = {
  one: 1,
  border: 1468 * 3,
  lossy: 60_000,
  megabyte: 1_000_000,
  'many-blocks': 8 * 65_536 + 100, // block numbers wrap at blksize 8
}
const bytesOf = (name: string) => readFileSync(join(folder, name))
let events: { type: string; [field: string]: unknown }[] = []
const open: { close(): Promise<void> }[] = []

beforeAll(() => {
  for (const [name, bytes] of Object.entries(sizes))
    writeFileSync(
      join(folder, name),
      Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 8)) & 255)),
    )
  writeFileSync(join(folder, 'empty'), '')
})
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})
afterAll(async () => {
  for (const pool of pools.values()) await pool.close()
  rmSync(folder, { recursive: true })
})

type Limits = NonNullable<Parameters<typeof startPool>[0]['limits']>
type By = 'kernel' | 'dgram'
const emit: Emit = (type, fields) => void events.push({ type, ...fields })
/** Threads take a while to start; those without anything special serve many tests. */
const pools = new Map<By, Pool>()
async function start({ by = 'kernel', ...own }: { by?: By; workers?: number; limits?: Limits } = {}) {
  const isShared = Object.keys(own).length === 0
  const known = isShared ? pools.get(by) : undefined
  const pool = known ?? (await startPool({ workers: 1, emit, by, ...own }))
  if (isShared) pools.set(by, pool)
  const address = '127.0.0.1' as Ipv4
  const server = await startTftp({ address, port: 0, open: openName, pool, emit, maxBlockBytes: 1468 })
  open.push(server, ...(isShared ? [] : [pool]))
  events = []
  return { port: server.port, pool }
}
async function openName(name: string): Promise<Content | undefined> {
  if (name === 'text') return textContent('hello\n', { node: 'n1', deployment: 'd1', kind: 'install' })
  if (name === 'gone') return { ...textContent(''), source: { path: join(folder, 'gone') } }
  if (name === 'broken') throw new Error('disk')
  return fileContent(join(folder, name), { contentType: 'x' })
}
const ends = () => events.filter(({ type }) => type !== 'tftp.start')
const descriptors = () => readdirSync('/proc/self/fd').length
const linkOf = (fd: string) => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // the one that the folder was read by
  }
}
/** What the threads wait with, and the event loops of all. */
const epolls = () => readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).includes('eventpoll')).length

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
    })

test('an empty file is one empty block (tftp-hpa, busybox)', async () => {
  const { port } = await start()
  for (const client of ['tftp-hpa', 'busybox']) {
    writeFileSync(target, 'old')
    expect(await clients[client]!(port, 'empty')).toBe(0)
    expect(readFileSync(target).length).toBe(0)
  }
})

for (const by of ['kernel', 'dgram'] as const) {
  test(`${by}: a file that ends on a border of blocks, one byte, none: all arrive`, async () => {
    const { port } = await start({ by })
    for (const name of ['border', 'one', 'empty'])
      for (const options of [{}, { blksize: '1468' }, { blksize: '1468', windowsize: '4' }])
        expect((await fetchFile(port, name, options)).data.equals(bytesOf(name))).toBe(true)
  })

  test(`${by}: more than 65535 blocks: the numbers wrap, in lockstep and in windows`, async () => {
    const { port } = await start({ by })
    for (const windowsize of by === 'kernel' ? ['1', '64'] : ['64']) {
      const { data } = await fetchFile(port, 'many-blocks', { blksize: '8', windowsize })
      expect(data.equals(bytesOf('many-blocks'))).toBe(true)
    }
  })

  test(`${by}: an OACK longer than a block is one packet`, async () => {
    const { port } = await start({ by })
    const wire = await openWire()
    const options = { blksize: '8', windowsize: '64', tsize: '0' }
    wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options }, port)
    const oack = await wire.next()
    expect(oack.packet).toEqual({ op: 'oack', options: { ...options, tsize: '1000000' } })
    wire.send({ op: 'ack', block: 0 }, oack.port)
    for (let block = 1; block <= 64; block++)
      expect((await wire.next()).packet).toMatchObject({ op: 'data', block })
    wire.close()
  })

  test(`${by}: a window is sent in a row and waits for one ACK`, async () => {
    const { port } = await start({ by })
    const wire = await openWire()
    const options = { blksize: '1024', windowsize: '8' }
    wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options }, port)
    const oack = await wire.next()
    expect(oack.packet).toEqual({ op: 'oack', options })
    wire.send({ op: 'ack', block: 0 }, oack.port)
    for (let block = 1; block <= 8; block++)
      expect((await wire.next()).packet).toMatchObject({ op: 'data', block })
    // Nothing new comes; on a slow machine perhaps the timer's second round.
    expect((await wire.next(100))?.packet.block ?? 0).toBeLessThanOrEqual(8)
    // Block 4 was lost: on from the last ACK + 1.
    wire.send({ op: 'ack', block: 3 }, oack.port)
    const seen = new Set<number>()
    while (!seen.has(11)) {
      const { packet } = await wire.next()
      seen.add(packet.block)
      const from = (packet.block - 1) * 1024
      expect(packet.data.equals(bytesOf('megabyte').subarray(from, from + 1024))).toBe(true)
    }
    expect([4, 5, 6, 7, 8, 9, 10, 11].every((block) => seen.has(block))).toBe(true)
    expect(Math.max(...seen)).toBe(11)
    wire.close()
  })

  test(`${by}: one packet in ten lost, others doubled or late: the bytes are right, and it is the server that is quick`, async () => {
    const { port } = await start({ by })
    let count = 0
    const relay = await openRelay(port, () => {
      count++
      if (count % 10 === 0) return 'lose'
      return count % 7 === 0 ? 'twice' : count % 11 === 0 ? 'late' : 'pass'
    })
    // The client alone would take 3 s for each loss.
    for (const windowsize of ['1', '8']) {
      const { data } = await fetchFile(relay.port, 'lossy', { blksize: '1468', windowsize }, 3000)
      expect(data.equals(bytesOf('lossy'))).toBe(true)
    }
    relay.close()
  })
}

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
  await expect
    .poll(() => events[0])
    .toMatchObject({ type: 'tftp.start', node: 'n1', deployment: 'd1', kind: 'install' })
})

test('a file that can not be opened, or is gone, ends with an error and an event', async () => {
  const { port } = await start()
  expect(await fetchFile(port, 'broken')).toMatchObject({ error: { code: 0 } })
  await expect.poll(() => events.at(-1)).toMatchObject({ type: 'tftp.fail', why: 'disk' })
  expect(await fetchFile(port, 'gone')).toMatchObject({ error: { code: 1 } })
  await expect.poll(() => events.at(-1)).toMatchObject({ type: 'tftp.fail', why: 'no such file' })
})

test('a file that becomes shorter while it is sent never looks whole', async () => {
  const { port } = await start()
  writeFileSync(join(folder, 'cut'), Buffer.alloc(500_000))
  const wire = await openWire()
  wire.send({ op: 'read', file: 'cut', mode: 'octet', options: {} }, port)
  let answer = await wire.next()
  truncateSync(join(folder, 'cut'), 1000)
  while (answer.packet.op === 'data') {
    wire.send({ op: 'ack', block: answer.packet.block }, answer.port)
    answer = await wire.next()
  }
  expect(answer.packet).toMatchObject({ op: 'error', code: 0 })
  await expect
    .poll(() => events.at(-1))
    .toMatchObject({ type: 'tftp.fail', why: expect.stringContaining('shorter') })
  wire.close()
})

test('EDK2: asks for the size, breaks off with error 8, then asks for the data', async () => {
  const { port } = await start()
  const wire = await openWire()
  wire.send(
    { op: 'read', file: 'one', mode: 'octet', options: { tsize: '0', blksize: '1468', windowsize: '4' } },
    port,
  )
  const oack = await wire.next()
  expect(oack.packet).toEqual({ op: 'oack', options: { blksize: '1468', tsize: '1', windowsize: '4' } })
  const before = descriptors()
  wire.send({ op: 'error', code: 8, message: 'User aborted' }, oack.port)
  await expect.poll(() => events.at(-1)).toMatchObject({ type: 'tftp.done', why: 'aborted' })
  expect(descriptors()).toBe(before - 2) // socket and file: its state is free at once
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

for (const [which, limits, perClient] of [
  ['', { perClient: 2 }, 2],
  [', usually four', {}, 4],
] as const)
  test(`so many at once per client, the rest waits its turn${which}`, async () => {
    const { port } = await start({ limits })
    const files = await Promise.all(
      Array.from({ length: 8 }, () => fetchFile(port, 'megabyte', { blksize: '1468' })),
    )
    expect(files.every(({ data }) => data.equals(bytesOf('megabyte')))).toBe(true)
    await expect.poll(() => ends().length).toBe(8)
    let [now, most] = [0, 0]
    for (const { type } of events) {
      now += type === 'tftp.start' ? 1 : -1
      most = Math.max(most, now)
    }
    expect(most).toBe(perClient)
  })

test('a flood of made-up senders does not keep the places: who never answers gives way', async () => {
  const { port } = await start({ limits: { total: 20, perClient: 4 } })
  const flood = await openWires(60, '127.0.0.66')
  for (const wire of flood)
    wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options: { tsize: '0' } }, port)
  const before = performance.now()
  const { data } = await fetchFile(port, 'megabyte', { blksize: '1468' })
  expect(data.equals(bytesOf('megabyte'))).toBe(true)
  expect(performance.now() - before).toBeLessThan(3000)
  for (const wire of flood) wire.close()
})

test('a thousand clients of one file hold one descriptor of it and no buffer each', () => {
  const files = makeFiles(1 << 20)
  const before = descriptors()
  const bodies = Array.from({ length: 1000 }, () => files.open({ path: join(folder, 'megabyte') })!)
  const target = Buffer.alloc(1468)
  const all = bytesOf('megabyte')
  for (const [index, body] of bodies.entries()) {
    const offset = (index * 7919) % (body.bytes - 1468)
    body.copy(target, 0, offset, 1468)
    expect(target.equals(all.subarray(offset, offset + 1468))).toBe(true)
  }
  expect(descriptors() - before).toBe(1)
  expect(files.held()).toEqual({ files: 1, bytes: 1_000_000 })
  for (const body of bodies) body.close()
  expect(files.held()).toEqual({ files: 0, bytes: 0 })
  expect(descriptors()).toBe(before)
})

test('the cache of file pieces is bounded, and what it drops is read again', () => {
  const files = makeFiles(128 << 10)
  const body = files.open({ path: join(folder, 'megabyte') })!
  const all = Buffer.alloc(body.bytes)
  for (const _ of [1, 2]) {
    for (let offset = 0; offset < body.bytes; offset += 1000)
      body.copy(all, offset, offset, Math.min(1000, body.bytes - offset))
    expect(all.equals(bytesOf('megabyte'))).toBe(true)
    expect(files.held().bytes).toBeLessThanOrEqual(128 << 10)
    all.fill(0)
  }
})

test('two threads: clients of both are served, and one that dies comes back', async () => {
  const { port, pool } = await start({ workers: 2 })
  const wires = await Promise.all(
    ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'].map((a) => openWire(a)),
  )
  const get = (wire: Wire) => fetchFile(port, 'megabyte', { blksize: '1468' }, 500, wire)
  for (const { data } of await Promise.all(wires.map(get))) expect(data.length).toBe(1_000_000)
  const [before, waits] = [descriptors(), epolls()]
  wires[0]!.send({ op: 'read', file: 'megabyte', mode: 'octet', options: {} }, port)
  await wires[0]!.next()
  for (const worker of pool.workers()) await worker.terminate()
  await expect.poll(descriptors).toBeLessThanOrEqual(before) // what the dead threads had open is closed
  const again = await Promise.all(
    ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5'].map((a) => openWire(a)),
  )
  for (const { data } of await Promise.all(again.map(get))) expect(data.length).toBe(1_000_000)
  expect(epolls()).toBeLessThanOrEqual(waits)
  for (const wire of [...wires, ...again]) wire.close()
})

test('close ends the transfers and gives every descriptor back', async () => {
  const before = descriptors()
  const { port } = await start({ workers: 1 })
  const wire = await openWire()
  wire.send({ op: 'read', file: 'megabyte', mode: 'octet', options: {} }, port)
  await wire.next()
  wire.close()
  for (const each of open.splice(0)) await each.close()
  await expect.poll(descriptors).toBeLessThanOrEqual(before)
})

test('who may not ask gets nothing, not even an error: the sender can be made up', async () => {
  const { pool } = await start()
  const address = '127.0.0.1' as Ipv4
  const mayAsk = (peer: Ipv4) => peer !== '127.0.0.2'
  const server = await startTftp({ address, port: 0, open: openName, pool, emit, mayAsk })
  open.push(server)
  const [stranger, machine] = [await openWire('127.0.0.2'), await openWire('127.0.0.3')]
  const request: Packet = { op: 'read', file: 'one', mode: 'octet', options: {} }
  stranger.send(request, server.port)
  machine.send(request, server.port)
  expect((await machine.next()).packet.op).toBe('data')
  expect(await stranger.next(100)).toBeUndefined()
  expect(events).toContainEqual(expect.objectContaining({ type: 'tftp.fail', peer: '127.0.0.2' }))
  for (const wire of [stranger, machine]) wire.close()
})

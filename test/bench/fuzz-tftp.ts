import dgram from 'node:dgram'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ipv4FromNumber, ipv4ToNumber } from '../../src/address.ts'
import type { FuzzTask, Judge } from './fuzz-client.ts'
import { firstClient, serverAddress } from './lan.ts'
import { mutated, type Random } from './mutate.ts'

const BATCH = 400
/** Each with an address of its own: a client has few transfers. */
const CLIENTS = 200
const [DATA, ERROR, OACK] = [3, 5, 6]

export async function fuzzTftp({ count, site }: FuzzTask, random: Random, judge: Judge) {
  const name = `blobs/sha256/${site.digests.loader}`
  const read = Buffer.from(`\0\x01${name}\0octet\0blksize\x001468\0tsize\x000\0windowsize\x004\0`, 'latin1')
  const originals = [
    ...requests(),
    read,
    Buffer.of(0, 4, 0, 0),
    Buffer.of(0, 4, 0, 1),
    Buffer.of(0, 5, 0, 0, 0),
  ]
  const beginnings = knownBeginnings(site)
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, (_, i) => open(i)))
  let alive = 0

  async function open(number: number) {
    const socket = dgram.createSocket('udp4')
    const address = ipv4FromNumber(ipv4ToNumber(firstClient) + 1000 + number)
    socket.on('message', (bytes, from) => answered(bytes, from, socket))
    socket.bind(0, address)
    await once(socket, 'listening')
    socket.setRecvBufferSize(1 << 20)
    return socket
  }

  /** Its transfer gets what a broken client may send, or an end. */
  function answered(bytes: Buffer, from: dgram.RemoteInfo, socket: dgram.Socket) {
    judge.answered += 1
    const why = from.address === serverAddress ? faultOf(bytes) : `from ${from.address}`
    if (why) judge.wrongly(`${why}: ${bytes.subarray(0, 100).toString('hex')}`)
    if (from.port === 69 || bytes[1] === ERROR) return
    const reply = random.below(3) ? Buffer.from('\0\x05\0\0done\0', 'latin1') : mutated(originals, random)
    if (reply.length > 0) judge.sent += 1
    socket.send(reply, from.port, from.address)
  }

  function faultOf(bytes: Buffer): string | undefined {
    const opcode = bytes.length >= 4 ? bytes.readUInt16BE(0) : 0
    if (opcode === OACK || opcode === ERROR) return undefined
    if (opcode !== DATA) return `opcode ${opcode}`
    const data = bytes.subarray(4)
    const isFirst = bytes.readUInt16BE(2) === 1 && data.length > 0
    return isFirst && !beginnings.some((each) => beginAlike(each, data))
      ? 'bytes of no published file'
      : undefined
  }

  while (judge.sent < count) {
    for (let i = 0; i < BATCH; i++) {
      random.pick(sockets).send(mutated(originals, random), 69, serverAddress)
      judge.sent += 1
    }
    await isAlive()
  }
  for (const socket of sockets) socket.close()

  /** From an address that has not asked before, as another machine would. */
  async function isAlive() {
    const socket = dgram.createSocket('udp4')
    socket.bind(0, ipv4FromNumber(ipv4ToNumber(firstClient) + 2000 + (alive++ % 20_000)))
    await once(socket, 'listening')
    let heard = false
    socket.on('message', (bytes, { port, address }) => {
      heard ||= bytes[1] === OACK
      socket.send(Buffer.from('\0\x05\0\0done\0', 'latin1'), port, address)
    })
    for (let tries = 0; tries < 40 && !heard; tries++) {
      socket.send(read, 69, serverAddress)
      for (let ms = 0; ms < 500 && !heard; ms += 2) await sleep(ms < 20 ? 0 : 2)
    }
    if (!heard) throw new Error('the server does not send the loader any more')
    judge.alive += 1
    await sleep(0)
    socket.close()
  }
}

function requests(): Buffer[] {
  const file = join(import.meta.dirname, '../fixtures/tftp/requests.json')
  return Object.values(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>).map((hex) =>
    Buffer.from(hex, 'hex'),
  )
}

function beginAlike(a: Buffer, b: Buffer): boolean {
  const length = Math.min(a.length, b.length)
  return a.subarray(0, length).equals(b.subarray(0, length))
}

/** How each published file begins, texts included: nothing else may ever be sent. */
function knownBeginnings({ folder, root }: FuzzTask['site']): Buffer[] {
  const blobs = join(folder, 'state/bootfiles/blobs/sha256')
  const files = [
    ...readdirSync(blobs).map((name) => join(blobs, name)),
    join(root, 'loader'),
    join(root, 'blob'),
  ]
  const texts = ['set timeout=0', 'configfile "$prefix/', '#!ipxe', 'default'].map((text) =>
    Buffer.from(text),
  )
  return [...files.map((file) => readFileSync(file).subarray(0, 16)), ...texts]
}

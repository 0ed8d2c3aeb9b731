// mode: proxy, on port 67 and on 4011: mutated requests in the name of our nodes. A proxy gives no address to anybody, and each
// machine a file of ours, from the port that it asked.
import dgram from 'node:dgram'
import { once } from 'node:events'
import { clientOf } from '../../src/dhcp/client.ts'
import { decodeOptions } from '../../src/dhcp/options.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { capture, captureNames } from '../dhcp/captures.ts'
import { isOffered } from './fuzz-alive.ts'
import type { FuzzTask, Judge } from './fuzz-client.ts'
import { keyOf } from './fuzz-dhcp.ts'
import { serverAddress } from './lan.ts'
import { mutated, type Random } from './mutate.ts'

const BATCH = 400
const originals = captureNames.map(capture)
const good = capture('ovmf-pxe-discover')
/** Each asks often, and who asks too often is not answered: these ask only as good clients. */
const GOOD_NODES = 50
const answerOf: Record<number, number> = { 67: 2, 4011: 5 } // an offer, an ACK
const ourFile = /^(http:\/\/10\.77\.0\.1\/)?(boot\/(grub|ipxe|petitboot|shim)\/[a-z0-9_./-]+|pxelinux\.0)$/

export async function fuzzProxy({ count, nodes }: FuzzTask, random: Random, judge: Judge) {
  /** What was sent: whether a relay may have put words into our mouth, and whether a BIOS asked. */
  const asked = new Map<string, { relayed: boolean; bios: boolean }>()
  const offers = new Set<number>()
  const sockets = await Promise.all([68, 4011, 67].map(open))

  async function open(port: number) {
    const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true })
    socket.on('message', (bytes, from) => {
      if (from.address === serverAddress) answered(bytes, from.port)
    })
    socket.bind(port)
    await once(socket, 'listening')
    socket.setBroadcast(true)
    socket.setRecvBufferSize(4 << 20)
    return socket
  }

  function answered(bytes: Buffer, port: number) {
    judge.answered += 1
    const why = faultOf(bytes, port)
    if (why) judge.wrongly(`${why}, from port ${port}: ${bytes.toString('hex')}`)
  }

  function faultOf(bytes: Buffer, port: number): string | undefined {
    const packet = parsePacket(bytes)
    const options = decodeOptions(packet.options)
    const request = asked.get(keyOf(packet.xid, packet.chaddr))
    if (packet.op !== 'reply') return 'not a reply'
    if (!request) return 'an answer to nobody'
    if (options.messageType !== answerOf[port]) return `message type ${options.messageType}`
    if (packet.yiaddr !== '0.0.0.0' || options.leaseSeconds !== undefined) return `address ${packet.yiaddr}`
    if (packet.siaddr !== serverAddress) return `next server ${packet.siaddr}`
    if (options.serverId !== serverAddress && !request.relayed) return `server ${options.serverId}`
    if (!/^(PXE|HTTP)Client$/.test(options.vendorClass ?? '')) return `class ${options.vendorClass}`
    if (packet.options.has(43) && !request.bios) return 'option 43, and no BIOS asked'
    const file = options.bootFile ?? options.configFile ?? ''
    if (!ourFile.test(file)) return `file ${file}`
    if (packet.file !== '' && packet.file !== file) return `file ${packet.file} in the header`
    offers.add(packet.xid)
    return undefined
  }

  function send(bytes: Buffer, port: number) {
    note(bytes)
    const to = port === 67 && random.below(4) ? '255.255.255.255' : serverAddress
    sockets[random.below(2)]!.send(bytes, port, to)
    judge.sent += 1
  }

  function note(bytes: Buffer) {
    if (bytes.length < 44) return
    const key = keyOf(bytes.readUInt32BE(4), bytes.subarray(28, 44))
    const before = asked.get(key)
    asked.delete(key) // the oldest is forgotten, and this one is the newest now
    asked.set(key, {
      relayed: bytes.includes(82, 240) || before?.relayed === true,
      bios: isBios(bytes) || before?.bios === true,
    })
    if (asked.size > 300_000) asked.delete(asked.keys().next().value!)
  }

  function next(): Buffer {
    const bytes = mutated(originals, random)
    if (bytes.length < 40) return bytes
    if (random.below(8)) bytes.writeUInt32BE(random.below(0xf0000000), 4)
    if (random.below(8)) asNode(bytes, GOOD_NODES + random.below(nodes - GOOD_NODES))
    return bytes
  }

  for (let number = 0; judge.sent < count; number++) {
    for (let i = 0; i < BATCH; i++) send(next(), random.below(2) ? 67 : 4011)
    await isAlive(number)
  }
  for (const socket of sockets) socket.close()

  async function isAlive(number: number) {
    const bytes = Buffer.from(good)
    const xid = (0xf0000000 + number) >>> 0
    bytes.writeUInt32BE(xid, 4)
    asNode(bytes, number % GOOD_NODES)
    const ask = () => {
      note(bytes)
      sockets[0]!.send(bytes, 67, '255.255.255.255')
    }
    if (await isOffered(ask, offers, xid)) return void judge.alive++
    throw new Error(`the proxy does not answer node ${number % GOOD_NODES} any more`)
  }
}

/** The MAC of node number i (ours.ts). */
const asNode = (bytes: Buffer, i: number) => Buffer.of(0x52, 0x54, 0, i >> 16, i >> 8, i).copy(bytes, 28)

/** As we read it. */
function isBios(bytes: Buffer): boolean {
  try {
    return clientOf(decodeOptions(parsePacket(bytes).options)).archCode === 0
  } catch {
    return false
  }
}

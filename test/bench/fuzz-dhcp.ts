import dgram from 'node:dgram'
import { once } from 'node:events'
import {
  type Ipv4,
  ipv4FromNumber,
  ipv4ToNumber,
  macFromBytes,
  parseSubnet,
  subnetContains,
} from '../../src/address.ts'
import { decodeOptions } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket } from '../../src/dhcp/packet.ts'
import { capture, captureNames } from '../dhcp/captures.ts'
import { isOffered } from './fuzz-alive.ts'
import type { FuzzTask, Judge } from './fuzz-client.ts'
import { firstClient, serverAddress, subnet } from './lan.ts'
import { mutated, type Random } from './mutate.ts'

const BATCH = 400
const MACHINES = 3000
const originals = captureNames.map(capture)
const good = capture('udhcpc-discover')
const [DISCOVER_REPLIES, RELEASE, DECLINE] = [[2, 5, 6], 7, 4]

export async function fuzzDhcp({ count, nodes }: FuzzTask, random: Random, judge: Judge) {
  const network = parseSubnet(subnet)
  /** What was sent, by transaction number and MAC, and whether a relay may have put words into our mouth. */
  const asked = new Map<string, { relayed: boolean }>()
  const holders = new Map<Ipv4, string>()
  const gaveBack = new Set<string>()
  const offers = new Set<number>()
  const sockets = await Promise.all([68, 67].map(open))
  const [client] = sockets as [dgram.Socket, dgram.Socket]

  async function open(port: number) {
    const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true })
    socket.on('message', (bytes, from) => {
      if (from.address === serverAddress) answered(bytes)
    })
    socket.bind(port)
    await once(socket, 'listening')
    socket.setBroadcast(true)
    socket.setRecvBufferSize(4 << 20)
    return socket
  }

  function answered(bytes: Buffer) {
    judge.answered += 1
    const why = faultOf(bytes)
    if (why) judge.wrongly(`${why}: ${bytes.toString('hex')}`)
  }

  function faultOf(bytes: Buffer): string | undefined {
    const packet = parsePacket(bytes)
    const options = decodeOptions(packet.options)
    const request = asked.get(keyOf(packet.xid, packet.chaddr))
    if (packet.op !== 'reply') return 'not a reply'
    if (!request) return 'an answer to nobody'
    if (options.messageType !== undefined && !DISCOVER_REPLIES.includes(options.messageType))
      return `message type ${options.messageType}`
    if (options.serverId !== undefined && options.serverId !== serverAddress && !request.relayed)
      return `server ${options.serverId}`
    offers.add(packet.xid)
    return addressFault(packet, options.messageType, macFromBytes(packet.chaddr))
  }

  /** Nobody gets an address outside of the network, ours, or one that somebody else was told to have. */
  function addressFault({ yiaddr }: Packet, type: number | undefined, mac: string): string | undefined {
    if (yiaddr === '0.0.0.0') return undefined
    if (!subnetContains(network, yiaddr) || yiaddr === serverAddress) return `address ${yiaddr}`
    if (type !== 5) return undefined
    const holder = holders.get(yiaddr)
    holders.set(yiaddr, mac)
    return holder !== undefined && holder !== mac && !gaveBack.has(holder)
      ? `address ${yiaddr} of ${holder}`
      : undefined
  }

  function send(bytes: Buffer) {
    note(bytes)
    const to = random.below(4) ? '255.255.255.255' : serverAddress
    client.send(bytes, 67, to)
    judge.sent += 1
  }

  function note(bytes: Buffer) {
    if (bytes.length < 44) return
    const key = keyOf(bytes.readUInt32BE(4), bytes.subarray(28, 44))
    const relayed = bytes.includes(82, 240) || asked.get(key)?.relayed === true
    asked.delete(key) // the oldest is forgotten, and this one is the newest now
    asked.set(key, { relayed })
    if (asked.size > 300_000) asked.delete(asked.keys().next().value!)
    const type = typeOf(bytes)
    if (type === RELEASE || type === DECLINE) gaveBack.add(macFromBytes(bytes.subarray(28, 34)))
  }

  /** One of a few thousand machines and one of their transactions, so that packets meet what others left. */
  function next(): Buffer {
    const bytes = mutated(originals, random)
    if (bytes.length < 40) return bytes
    if (random.below(8)) bytes.writeUInt32BE(random.below(0xffffffff), 4)
    if (random.below(4)) {
      const machine = random.below(MACHINES)
      Buffer.of(0x52, 0x54, 1, machine >> 16, machine >> 8, machine).copy(bytes, 28)
    }
    if (random.below(3) === 0) giveAddress(bytes)
    return bytes
  }

  /** An address that we serve, where a client says what it wants. */
  function giveAddress(bytes: Buffer) {
    const address = ipv4ToNumber(firstClient) + random.below(0x7000)
    const at = bytes.indexOf(Buffer.of(50, 4), 240)
    if (at > 0 && at + 6 <= bytes.length) bytes.writeUInt32BE(address, at + 2)
    else bytes.writeUInt32BE(address, 12)
  }

  for (let number = 0; judge.sent < count; number++) {
    for (let i = 0; i < BATCH; i++) send(next())
    await isAlive(number)
  }
  for (const socket of sockets) socket.close()

  async function isAlive(number: number) {
    const bytes = Buffer.from(good)
    const xid = (0xf0000000 + number) >>> 0
    bytes.writeUInt32BE(xid, 4)
    const machine = number % nodes
    Buffer.of(0x52, 0x54, 0, 0, 0, machine).copy(bytes, 28)
    const ask = () => {
      note(bytes)
      client.send(bytes, 67, '255.255.255.255')
    }
    if (await isOffered(ask, offers, xid)) return void judge.alive++
    throw new Error(
      `the server does not answer ${ipv4FromNumber(ipv4ToNumber(firstClient) + machine)} any more`,
    )
  }
}

export const keyOf = (xid: number, chaddr: Uint8Array) => `${xid} ${Buffer.from(chaddr).toString('hex')}`

/** As we read it; undefined when we do not read it at all. */
function typeOf(bytes: Buffer): number | undefined {
  try {
    return parsePacket(bytes).options.get(53)?.[0]
  } catch {
    return undefined
  }
}

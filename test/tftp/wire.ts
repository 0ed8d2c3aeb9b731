// Sockets of clients that speak TFTP packets. Loopback only.
import dgram from 'node:dgram'
import { once } from 'node:events'
import { type Packet, parsePacket, serializePacket } from '../../src/tftp/packet.ts'

export type Wire = Awaited<ReturnType<typeof openWire>>
/** Of one address each, as a rack has them: 127.0.1.1, 127.0.1.2, ... */
export const openWires = (count: number, address: string) =>
  Promise.all(Array.from({ length: count }, (_, n) => openWire(address.replace(/\d+$/, String(n + 10)))))

// A socket that speaks packets.
export async function openWire(address = '127.0.0.1') {
  // A literal look-up sends at once, also what is sent right before the close.
  const socket = dgram.createSocket({ type: 'udp4', lookup: (host, _, done) => done(null, host, 4) })
  const listening = once(socket, 'listening')
  socket.bind(0, address)
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

export async function ask(port: number, packet: Packet) {
  const wire = await openWire()
  wire.send(packet, port)
  const answer = await wire.next()
  wire.close()
  return answer.packet
}

/** A patient client: it asks again after `retryMs`, and only then. */
export async function fetchFile(
  port: number,
  file: string,
  options: Record<string, string> = {},
  retryMs = 5000,
  given?: Wire,
) {
  const wire = given ?? (await openWire())
  const parts: Buffer[] = []
  const request: Packet = { op: 'read', file, mode: 'octet', options }
  let [blockBytes, window, inWindow, transfer] = [512, 1, 0, 0]
  let last: [Packet, number] = [request, port]
  const say = (packet: Packet, to: number) => {
    last = [packet, to]
    wire.send(...last)
  }
  say(...last)
  try {
    for (;;) {
      const answer = await wire.next(retryMs)
      if (!answer) {
        wire.send(...last)
        continue
      }
      const { packet, port: from } = answer
      if (packet.op === 'error') return { data: Buffer.alloc(0), error: packet }
      if (transfer !== 0 && from !== transfer) continue
      transfer = from
      if (packet.op === 'oack') {
        blockBytes = Number(packet.options.blksize ?? 512)
        window = Number(packet.options.windowsize ?? 1)
        if (parts.length === 0) say({ op: 'ack', block: 0 }, from)
        continue
      }
      const isNext = packet.block === ((parts.length + 1) & 0xffff)
      if (isNext) parts.push(packet.data)
      inWindow = isNext ? inWindow + 1 : 0
      const isLast = isNext && packet.data.length < blockBytes
      if (isLast || !isNext || inWindow === window) {
        inWindow = 0
        say({ op: 'ack', block: parts.length & 0xffff }, from)
      }
      if (isLast) return { data: Buffer.concat(parts) }
    }
  } finally {
    if (!given) wire.close()
  }
}

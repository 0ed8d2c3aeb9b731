// TFTP (RFC 1350, 2347-2349), reading only. Each transfer has a socket of its own on our address (RFC 1350 4).
import dgram from 'node:dgram'
import { once } from 'node:events'
import { normalizeName } from '../../src/boot/names.ts'
import { WireError } from '../../src/fault.ts'
import { errorCodes, type Packet, parsePacket, type Request, serializePacket } from '../../src/tftp/packet.ts'
import type { Emit } from '../emit.ts'
import type { Content, Open } from '../http/content.ts'
import { makeQueue } from './queue.ts'
import { startTransfer, type Transfer } from './transfer.ts'

export type Peer = { address: string; port: number }

type Needs = {
  address: string // ours, in the network that is served
  port: number
  open: Open // normalised names only; undefined: there is no such file
  emit: Emit
  maxBlockBytes?: number // what fits a frame: MTU - 32
  perClient?: number
  total?: number
}

export async function startTftp(needs: Needs) {
  const { address, port, open, emit, maxBlockBytes = 1468, perClient = 4, total = 2000 } = needs
  const socket = dgram.createSocket({ type: 'udp4', lookup: literal })
  const queue = makeQueue({ perClient, total, waiting: 4096 })
  const running = new Map<string, { file: string; transfer?: Transfer }>()
  let closing = false

  socket.on('message', (bytes, peer) => {
    if (peer.port === 0) return // nobody can be answered there
    const packet = tryParse(bytes)
    if (packet?.op === 'read') return receive(packet, peer)
    if (packet?.op === 'write') return refuse(peer, errorCodes.access, 'this server only reads')
  })
  socket.on('error', (error) => emit('tftp.fail', { why: error.message }))

  function receive(request: Request, peer: Peer) {
    if (request.mode !== 'octet') return refuse(peer, errorCodes.illegal, 'only mode octet')
    const key = keyOf(peer)
    const present = running.get(key)
    // A client that has not heard our first packet yet asks again: the transfer's own timer answers that.
    if (present?.file === request.file && !present.transfer?.isStalled()) return
    present?.transfer?.stop()
    if (present && !present.transfer) return // its file is still being opened
    running.set(key, { file: request.file })
    const accepted = queue.enter(peer.address, (leave) => {
      serve(request, peer)
        .catch((error: Error) => fail(request.file, peer, error))
        .finally(leave)
    })
    if (!accepted) running.delete(key) // the client asks again
  }

  async function serve(request: Request, peer: Peer) {
    const key = keyOf(peer)
    const entry = running.get(key)
    try {
      const name = normalizeName(request.file)
      const content = name === undefined ? undefined : await open(name, peer.address)
      if (!content) return refuse(peer, errorCodes.notFound, 'no such file', request.file)
      if (closing || !entry) return content.close()
      await transfer(content, request, peer, entry)
    } finally {
      if (running.get(key) === entry) running.delete(key)
    }
  }

  async function transfer(content: Content, request: Request, peer: Peer, entry: { transfer?: Transfer }) {
    const { facts, bytes } = content
    const who = { file: request.file, peer: peer.address, ...facts }
    try {
      const options = { content, asked: request.options, address, peer, maxBlockBytes, lookup: literal }
      entry.transfer = await startTransfer(options)
      emit('tftp.start', { ...who, bytes })
      const { why, text, sentBytes } = await entry.transfer.ended
      const done = why === 'complete' || why === 'unconfirmed' || why === 'aborted'
      if (done) emit('tftp.done', { ...who, bytes: sentBytes, why })
      else emit('tftp.fail', { ...who, why: text ?? why })
    } finally {
      content.close()
    }
  }

  function fail(file: string, peer: Peer, error: Error) {
    refuse(peer, errorCodes.undefined, 'the server failed')
    emit('tftp.fail', { file, peer: peer.address, why: error.message })
  }

  function refuse(peer: Peer, code: number, message: string, file?: string) {
    if (!closing)
      socket.send(serializePacket({ op: 'error', code, message }), peer.port, peer.address, () => {})
    emit('tftp.fail', { peer: peer.address, why: message, ...(file !== undefined && { file }) })
  }

  const listening = once(socket, 'listening') // before bind: with a literal look-up it happens within it
  socket.bind(port, address)
  await listening
  socket.setRecvBufferSize(8 << 20) // a rack asks at once; the kernel grants what net.core.rmem_max allows
  return {
    port: socket.address().port,
    /** How many transfers run or wait. */
    active: () => running.size,
    async close() {
      closing = true
      for (const { transfer } of running.values()) transfer?.stop()
      await new Promise<void>((done) => socket.close(() => done()))
    },
  }
}

const keyOf = ({ address, port }: Peer) => `${address}:${port}`

/** The only catch of WireError: garbage is not answered. */
function tryParse(bytes: Uint8Array): Packet | undefined {
  try {
    return parsePacket(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

/** Addresses are literal; without this every datagram makes a detour through dns.lookup. */
function literal(
  host: string,
  _: unknown,
  done: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
) {
  done(null, host, 4)
}

// TFTP (RFC 1350, 2347-2349, 7440), reading only: requests come here, and what each name means is decided here; the transfers
// run in threads of their own.

import type { Ipv4 } from '../../src/address.ts'
import { normalizeName } from '../../src/boot/names.ts'
import { WireError } from '../../src/fault.ts'
import { blockRoom } from '../../src/tftp/negotiate.ts'
import { errorCodes, type Packet, parsePacket, type Request, serializePacket } from '../../src/tftp/packet.ts'
import type { Emit } from '../emit.ts'
import type { Open } from '../http/content.ts'
import { mtuOf, openRequestSocket } from '../net/linux.ts'
import { literal } from '../net/literal.ts'
import type { Pool } from './pool.ts'
import type { Peer } from './wire.ts'

type Needs = {
  address: Ipv4 // ours, in the network that is served
  port: number
  /** Whether a sender may be answered: they can be made up, and a file is much more than its request. */
  mayAsk?(peer: Ipv4): boolean
  open: Open // normalised names only; undefined: there is no such file
  pool: Pool
  emit: Emit
  maxBlockBytes?: number // what fits a frame; else the interface says
}

export async function startTftp({ address, port, open, pool, emit, ...more }: Needs) {
  const { maxBlockBytes = blockRoom(mtuOf(address)), mayAsk = () => true } = more
  const socket = await openRequestSocket(address, port, { lookup: literal })
  const opening = new Set<string>()
  let closing = false

  socket.on('message', (bytes, peer) => {
    if (peer.port === 0) return // nobody can be answered there
    if (!mayAsk(peer.address as Ipv4))
      return emit('tftp.fail', { peer: peer.address, why: 'not answered: it is outside of our networks' })
    const packet = tryParse(bytes)
    if (packet?.op === 'read') return receive(packet, peer)
    if (packet?.op === 'write') return refuse(peer, errorCodes.access, 'this server only reads')
  })
  socket.on('error', (error) => emit('tftp.fail', { why: error.message }))

  function receive(request: Request, peer: Peer) {
    if (request.mode !== 'octet') return refuse(peer, errorCodes.illegal, 'only mode octet')
    const key = `${peer.address}:${peer.port}`
    if (opening.has(key)) return
    opening.add(key)
    pass(request, peer)
      .catch((error: Error) => {
        refuse(peer, errorCodes.undefined, 'the server failed', request.file, error.message)
      })
      .finally(() => opening.delete(key))
  }

  async function pass(request: Request, peer: Peer) {
    const name = normalizeName(request.file)
    const content = name === undefined ? undefined : await open(name, peer.address)
    if (!content) return refuse(peer, errorCodes.notFound, 'no such file', request.file)
    const over = (bytes: number) => {
      content.sentBytes?.(bytes)
      content.close()
    }
    const { source, facts } = content
    const { file, options: asked } = request
    const { address: from, port } = peer
    const order = { file, source, facts, asked, ours: address, peer: { address: from, port }, maxBlockBytes }
    if (closing || !pool.order(order, over)) content.close() // the client asks again
  }

  function refuse(peer: Peer, code: number, message: string, file?: string, why = message) {
    if (!closing)
      socket.send(serializePacket({ op: 'error', code, message }), peer.port, peer.address, () => {})
    emit('tftp.fail', { peer: peer.address, why, ...(file !== undefined && { file }) })
  }

  return {
    port: socket.address().port,
    async close() {
      closing = true
      await new Promise<void>((done) => socket.close(() => done()))
    },
  }
}

/** The only catch of WireError: garbage is not answered. */
function tryParse(bytes: Uint8Array): Packet | undefined {
  try {
    return parsePacket(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

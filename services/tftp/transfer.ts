// The socket, the timer and the bytes of one transfer; what happens next is decided in src/tftp/transfer.ts.
import dgram from 'node:dgram'
import { once } from 'node:events'
import { WireError } from '../../src/fault.ts'
import { negotiate } from '../../src/tftp/negotiate.ts'
import { errorCodes, type Options, type Packet, parsePacket, serializePacket } from '../../src/tftp/packet.ts'
import {
  begin,
  blockCount,
  type Event,
  type Outcome,
  onWire,
  retryMs,
  step,
} from '../../src/tftp/transfer.ts'
import type { Content } from '../http/content.ts'

type Needs = {
  content: Content
  asked: Options
  address: string
  peer: { address: string; port: number }
  maxBlockBytes: number
  lookup: NonNullable<dgram.SocketOptions['lookup']>
}
type End = { why: Outcome | 'stopped'; text?: string; sentBytes: number }

export type Transfer = Awaited<ReturnType<typeof startTransfer>>

/** Sends the first packet; `ended` always resolves, unless the content can't be read. */
export async function startTransfer({ content, asked, address, peer, maxBlockBytes, lookup }: Needs) {
  const { blockBytes, timeoutMs, reply } = negotiate(asked, { bytes: content.bytes, maxBlockBytes })
  const hasOack = Object.keys(reply).length > 0
  const socket = dgram.createSocket({ type: 'udp4', lookup })
  const { promise: ended, resolve, reject } = Promise.withResolvers<End>()
  const header = Buffer.of(0, 3, 0, 0)
  let over = false
  let sending = false
  let timer: NodeJS.Timeout | undefined

  try {
    const listening = once(socket, 'listening') // before bind: with a literal look-up it happens within it
    socket.bind(0, address)
    await listening
  } catch (error) {
    socket.close()
    throw error
  }
  let state = begin(
    { blocks: blockCount(content.bytes, blockBytes), oack: hasOack, timeoutMs },
    performance.now(),
  )
  socket.on('message', (bytes, from) => {
    if (from.port !== peer.port || from.address !== peer.address) return refuseStranger(bytes, from)
    const packet = tryParse(bytes)
    if (packet) happen({ type: 'packet', packet, now: performance.now() })
  })
  socket.on('error', (error) => finish({ why: 'client-error', text: error.message }))
  send(state.block)
  wait(retryMs(state))

  function happen(event: Event) {
    if (over) return
    const next = step(state, event)
    if (!next) return
    const [after, effect] = next
    if (effect.do === 'finish') return finish(effect)
    if (sending) return // a block that is still being read can't be acknowledged, nor be late
    state = after
    send(effect.block)
  }

  function send(block: number) {
    if (block === 0) return void transmit([serializePacket({ op: 'oack', options: reply })])
    sending = true
    content.read((block - 1) * blockBytes, blockBytes).then(
      (data) => {
        sending = false
        header.writeUInt16BE(onWire(block), 2)
        transmit([header, data])
      },
      (error: Error) => {
        transmit([serializePacket({ op: 'error', code: errorCodes.undefined, message: 'the server failed' })])
        end(() => reject(error))
      },
    )
  }

  /** Not awaited: the next block is read only after this one was acknowledged, so its buffer stays as it is. */
  function transmit(parts: Uint8Array[]) {
    if (!over) socket.send(parts, peer.port, peer.address)
  }

  /** One timer a transfer, set anew only when it fires: blocks come far more often than silence. */
  function wait(ms: number) {
    timer = setTimeout(() => {
      const now = performance.now()
      const due = state.sentAt + retryMs(state)
      if (now >= due - 1) happen({ type: 'timeout', now })
      if (!over) wait(Math.max(10, state.sentAt + retryMs(state) - performance.now()))
    }, ms)
  }

  function refuseStranger(bytes: Uint8Array, from: { address: string; port: number }) {
    const packet = tryParse(bytes)
    if (over || from.port === 0 || !packet || packet.op === 'error') return
    const message = 'this transfer is not yours'
    const answer = serializePacket({ op: 'error', code: errorCodes.unknownTid, message })
    socket.send(answer, from.port, from.address, () => {})
  }

  function finish(effect: { why: Outcome | 'stopped'; text?: string }) {
    const { why, text } = effect
    const sentBytes = Math.min(content.bytes, state.block * blockBytes)
    end(() => resolve({ why, sentBytes, ...(text !== undefined && { text }) }))
  }

  function end(tell: () => void) {
    if (over) return
    over = true
    clearTimeout(timer)
    socket.close()
    tell()
  }

  return {
    ended,
    /** Asked for again by a client that does not answer us: it has begun anew. */
    isStalled: () => over || (state.block > 1 && state.tries > 0),
    stop: () => finish({ why: 'stopped' }),
  }
}

function tryParse(bytes: Uint8Array): Packet | undefined {
  try {
    return parsePacket(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

// All transfers of one thread: their sockets, timers and bytes. What happens next in each is decided in src/tftp/transfer.ts.
import { WireError } from '../../src/fault.ts'
import { negotiate } from '../../src/tftp/negotiate.ts'
import { errorCodes, type Options, parsePacket, serializePacket } from '../../src/tftp/packet.ts'
import {
  begin,
  blockCount,
  type Event,
  type Outcome,
  onWire,
  retryMs,
  step,
  type Transfer,
} from '../../src/tftp/transfer.ts'
import type { BootFacts } from '../http/content.ts'
import type { Body, BodySource, makeFiles } from './files.ts'
import { makeQueue, type Place, usualLimits } from './queue.ts'
import type { Peer, Wire } from './wire.ts'

/** One accepted request; crosses threads, so it is plain data. */
export type Order = {
  id: number
  file: string // as it was asked for
  source: BodySource
  facts: BootFacts
  asked: Options
  ours: string
  peer: Peer
  maxBlockBytes: number
}
export type Report =
  | { type: 'tftp.start'; fields: Said & { bytes: number } }
  | { type: 'tftp.done'; fields: Said & { bytes: number; why: string } }
  | { type: 'tftp.fail'; fields: Said & { why: string } }
  | { type: 'over'; id: number; bytes: number } // once for each order, whatever became of it
type Said = BootFacts & { file: string; peer: string }
type End = { why: Outcome | 'stopped' | 'evicted' | 'failed'; text?: string }
/** `transfer` is absent while it waits for its place. */
type Entry = {
  file: string
  transfer?: { isStalled(): boolean; stop(why?: End['why']): void; tick(now: number): void }
}

type Needs = {
  wire: Wire
  files: ReturnType<typeof makeFiles>
  report(report: Report): void
  now(): number // ms, monotonic
  limits?: Partial<typeof usualLimits>
}

const noFault: ReadonlySet<End['why']> = new Set(['complete', 'unconfirmed', 'aborted'])
/** A datagram holds at most 65,507 bytes, and so does a row of them that the kernel cuts. */
const scratch = Buffer.allocUnsafeSlow(65_507)

export function makeTransfers({ wire, files, report, now, limits }: Needs) {
  const queue = makeQueue({ ...usualLimits, ...limits }, now)
  const entries = new Map<string, Entry>()

  function request(order: Order) {
    const key = `${order.peer.address}:${order.peer.port}`
    const present = entries.get(key)
    // A client that has not heard our first packet yet asks again: the transfer's own timer answers that.
    if (present?.file === order.file && !present.transfer?.isStalled()) return forgotten(order)
    present?.transfer?.stop()
    const entry: Entry = { file: order.file }
    entries.set(key, entry)
    const forget = () => void (entries.get(key) === entry && entries.delete(key))
    const accepted = queue.enter(order.peer.address, (place) => begun(order, entry, place, forget))
    if (accepted) return
    forget() // the client asks again
    forgotten(order)
  }

  const forgotten = ({ id }: Order) => report({ type: 'over', id, bytes: 0 })

  /** Its client may have asked for something else while it waited. */
  function begun(order: Order, entry: Entry, place: Place, forget: () => void): () => void {
    const over = (bytes: number) => {
      forget()
      place.leave()
      report({ type: 'over', id: order.id, bytes })
    }
    if (entries.get(`${order.peer.address}:${order.peer.port}`) !== entry) over(0)
    else start(order, entry, { settle: place.settle, over })
    return () => entry.transfer?.stop('evicted')
  }

  function start(order: Order, entry: Entry, place: { settle(): void; over(bytes: number): void }) {
    const who = { file: order.file, peer: order.peer.address, ...order.facts }
    const refuse = (code: number, message: string, why: string) => {
      sayError(order, code, message)
      report({ type: 'tftp.fail', fields: { ...who, why } })
      place.over(0)
    }
    try {
      const body = files.open(order.source)
      if (!body) return refuse(errorCodes.notFound, 'no such file', 'no such file')
      entry.transfer = run(order, body, {
        heard() {
          place.settle()
          report({ type: 'tftp.start', fields: { ...who, bytes: body.bytes } })
        },
        ended({ why, text }, bytes) {
          body.close()
          place.over(bytes)
          if (noFault.has(why)) report({ type: 'tftp.done', fields: { ...who, bytes, why } })
          else if (why !== 'evicted') report({ type: 'tftp.fail', fields: { ...who, why: text ?? why } })
        },
      })
    } catch (error) {
      refuse(errorCodes.undefined, 'the server failed', (error as Error).message)
    }
  }

  function run(
    order: Order,
    body: Body,
    tell: { heard(): void; ended(end: End, sentBytes: number): void },
  ): NonNullable<Entry['transfer']> {
    const { asked, maxBlockBytes } = order
    const { blockBytes, window, timeoutMs, reply } = negotiate(asked, { bytes: body.bytes, maxBlockBytes })
    const oack = Object.keys(reply).length > 0 ? serializePacket({ op: 'oack', options: reply }) : undefined
    const segment = blockBytes + 4
    const file = { blocks: blockCount(body.bytes, blockBytes), oack: oack !== undefined, window, timeoutMs }
    let state: Transfer = begin(file, now())
    let over = false
    const link = openLink()
    send(state.acked + 1, state.sent)

    function openLink() {
      try {
        return wire.open(order.ours, order.peer, {
          receive(bytes, length) {
            // Nearly all that comes.
            if (length === 4 && bytes[0] === 0 && bytes[1] === 4)
              return happen({ type: 'ack', block: (bytes[2]! << 8) | bytes[3]!, now: now() })
            const packet = tryParse(bytes.subarray(0, length))
            if (packet?.op === 'ack') happen({ type: 'ack', block: packet.block, now: now() })
            if (packet?.op === 'error') happen({ ...packet, type: 'error' })
          },
          stranger(bytes, length) {
            const packet = tryParse(bytes.subarray(0, length))
            return packet && packet.op !== 'error' ? notYours : undefined
          },
          failed: (error) => end({ why: 'failed', text: error.message }),
        })
      } catch (error) {
        body.close()
        throw error
      }
    }

    function happen(event: Event) {
      if (over) return
      const next = step(state, event)
      if (!next) return
      const wasHeard = state.heard
      const [after, effect] = next
      state = after
      if (after.heard && !wasHeard) tell.heard()
      if (effect.do === 'finish') end(effect)
      else send(effect.from, effect.to)
    }

    function send(from: number, to: number) {
      try {
        if (from === 0) return link.send(oack!, oack!.length, oack!.length)
        sendBlocks(from, to)
      } catch (error) {
        const bytes = serializePacket({
          op: 'error',
          code: errorCodes.undefined,
          message: 'the server failed',
        })
        link.send(bytes, bytes.length, bytes.length)
        end({ why: 'failed', text: (error as Error).message })
      }
    }

    function sendBlocks(from: number, to: number) {
      let fill = 0
      for (let block = from; block <= to; block++) {
        const offset = (block - 1) * blockBytes
        const length = Math.min(blockBytes, body.bytes - offset)
        if (fill + 4 + length > scratch.length) {
          link.send(scratch, fill, segment)
          fill = 0
        }
        scratch[fill] = 0
        scratch[fill + 1] = 3
        scratch[fill + 2] = (block >> 8) & 255
        scratch[fill + 3] = onWire(block) & 255
        body.copy(scratch, fill + 4, offset, length)
        fill += 4 + length
      }
      link.send(scratch, fill, segment)
    }

    function end(why: End) {
      if (over) return
      over = true
      link.close()
      tell.ended(why, Math.min(body.bytes, Math.max(0, state.sent) * blockBytes))
    }

    return {
      /** Asked for again by a client that does not answer us: it has begun anew. */
      isStalled: () => over || (state.acked > 0 && state.tries > 0),
      stop: (why = 'stopped') => end({ why }),
      tick(time) {
        if (time >= state.sentAt + retryMs(state)) happen({ type: 'timeout', now: time })
      },
    }
  }

  /** From a port of its own, as every answer but the refusals of the listener. */
  function sayError(order: Order, code: number, message: string) {
    const bytes = serializePacket({ op: 'error', code, message })
    try {
      const link = wire.open(order.ours, order.peer, nobody)
      link.send(bytes, bytes.length, bytes.length)
      link.close()
    } catch {
      // No socket to be had: the client asks again.
    }
  }

  return {
    request,
    /** To be called every `tickMs` while there are any. */
    tick() {
      const time = now()
      for (const { transfer } of entries.values()) transfer?.tick(time)
      queue.review()
    },
    count: () => entries.size,
    close() {
      for (const { transfer } of entries.values()) transfer?.stop()
      entries.clear()
    },
  }
}

export const tickMs = 20

const nobody = { receive() {}, stranger: () => undefined, failed() {} }
const notYours = serializePacket({
  op: 'error',
  code: errorCodes.unknownTid,
  message: 'this transfer is not yours',
})

function tryParse(bytes: Uint8Array) {
  try {
    return parsePacket(bytes)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

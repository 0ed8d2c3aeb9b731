// In the boot process: what each machine asked and got, for main to keep. An answer never waits for this: a step is a
// few references in a list, made into text and sent a little later. One batch is on its way at a time, and it is sent
// again until main says that it is stored; what comes meanwhile waits here, bounded, the oldest let go.
import type { Ipv4, Mac, NodeName } from '../../src/address.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import type { Sent, Step, StepBody } from '../../src/boot/record.ts'
import type { Answer } from '../../src/dhcp/reply.ts'
import type { Request } from '../../src/dhcp/request.ts'
import type { Content, Open } from '../http/content.ts'

/** One request and its answer, as the DHCP server has them in its hand. */
export type DhcpSeen = {
  time: number
  server: Ipv4
  port: number
  bytes: Uint8Array
  request: Request
  decided: Answer
  reply: Uint8Array | undefined
  node: BootNode | undefined
}
export type Batch = { number: number; steps: string } // JSON of Step[]

type Waiting = { about: { time: number; mac: Mac; node?: NodeName }; bytes: number; body: () => StepBody }
type Needs = {
  send(batch: Batch): void
  /** The node of a MAC, and the MAC that has an address. */
  nodeOf(mac: Mac): BootNode | undefined
  macOf(peer: Ipv4): Mac | undefined
  now?: () => number
  /** How long steps are gathered, and how long main may take. */
  flushMs?: number
  againMs?: number
}

const AGAIN_MOST_MS = 300_000
const limits = { waitingBytes: 24 << 20, batchBytes: 1 << 20, ofMac: 120, ofUnknown: 2000 } // the last two a minute

export function openRecorder(needs: Needs) {
  const { send, nodeOf, macOf, now = Date.now, flushMs = 300, againMs = 5000 } = needs
  let waiting: Waiting[] = []
  let waitingBytes = 0
  let inFlight: Batch | undefined
  let timer: NodeJS.Timeout | undefined
  let [batches, files] = [0, 0]
  let minute = { until: 0, unknown: 0, ofMac: new Map<Mac, number>() }

  function dhcp({ time, server, port, bytes, request, decided, reply, node }: DhcpSeen) {
    // Silence is told of our own nodes only: the network is full of others.
    if (!node && !reply) return
    const { mac, type, client } = request
    keep(mac, node, bytes.length + (reply?.length ?? 0) + 200, time, () => ({
      kind: 'dhcp',
      ...{ server, port, type, client: client.kind, answer: decided.kind },
      request: base64(bytes),
      ...(reply && { reply: base64(reply) }),
      ...('why' in decided && { why: decided.why }),
      ...('address' in decided && { address: decided.address }),
    }))
  }

  /** The same opener; what it opens is written down. */
  function opening(by: 'tftp' | 'http', open: Open): Open {
    return async (name, peer) => {
      const content = await open(name, peer)
      const mac = macOf(peer as Ipv4) ?? content?.facts.mac
      if (!mac) return content
      const id = ++files
      const sent: Sent = content?.sent ?? { what: 'nothing' }
      const bytes = 200 + ('text' in sent ? sent.text.length : 0)
      const file = () => ({ kind: 'file', id, by, name, peer: peer as Ipv4, sent }) as const
      const kept = keep(mac, nodeOf(mac), bytes, now(), file)
      return content && kept ? counted(content, id, mac) : content
    }
  }

  function counted(content: Content, id: number, mac: Mac): Content {
    let most = 0
    let closed = false
    return {
      ...content,
      async read(offset, length) {
        const part = await content.read(offset, length)
        most = Math.max(most, offset + part.length)
        return part
      },
      sentBytes(count) {
        most = Math.max(most, count)
      },
      close() {
        content.close()
        if (!closed) keep(mac, nodeOf(mac), 100, now(), () => ({ kind: 'end', id, bytes: most }))
        closed = true
      },
    }
  }

  /** Whether there was room for it. */
  function keep(mac: Mac, node: BootNode | undefined, bytes: number, time: number, body: () => StepBody) {
    if (!isWithinMinute(mac, node, time)) return false
    waiting.push({ about: { time, mac, ...(node && { node: node.name }) }, bytes, body })
    waitingBytes += bytes
    while (waitingBytes > limits.waitingBytes) waitingBytes -= waiting.shift()!.bytes
    if (!inFlight) timer ??= setTimeout(flush, flushMs)
    return true
  }

  /** One machine that asks without end, or thousands of made-up ones, must not push out what others got. */
  function isWithinMinute(mac: Mac, node: BootNode | undefined, time: number): boolean {
    // A clock that was set back begins a new minute too.
    if (time >= minute.until || minute.until - time > 60_000)
      minute = { until: time + 60_000, unknown: 0, ofMac: new Map() }
    if (!node && ++minute.unknown > limits.ofUnknown) return false
    const count = (minute.ofMac.get(mac) ?? 0) + 1
    minute.ofMac.set(mac, count)
    return count <= limits.ofMac
  }

  function flush() {
    timer = undefined
    const some: Step[] = []
    let size = 0
    while (size < limits.batchBytes && waiting.length > some.length) {
      const { about, bytes, body } = waiting[some.length]!
      some.push({ ...about, ...body() })
      size += bytes
    }
    if (some.length === 0) return
    waiting = waiting.slice(some.length)
    waitingBytes -= size
    inFlight = { number: ++batches, steps: JSON.stringify(some) }
    deliver(againMs)
  }

  /** Seldomer and seldomer: what a main that hangs does not read piles up on the way. */
  function deliver(waitMs: number) {
    if (!inFlight) return
    send(inFlight)
    timer = setTimeout(() => deliver(Math.min(2 * waitMs, AGAIN_MOST_MS)), waitMs)
  }

  /** Main has started: what it had not stored is lost with the one before. */
  function mainStarted() {
    if (!inFlight) return
    clearTimeout(timer)
    deliver(againMs)
  }

  /** Main has it on disk. */
  function stored(number: number) {
    if (number !== inFlight?.number) return
    inFlight = undefined
    clearTimeout(timer)
    timer = waiting.length > 0 ? setTimeout(flush, flushMs) : undefined
  }

  return { dhcp, opening, stored, mainStarted, close: () => clearTimeout(timer) }
}
export type Recorder = ReturnType<typeof openRecorder>

const base64 = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

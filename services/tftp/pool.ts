// The threads that transfer files. A client's requests all go to one of them, so that it alone can count what that client
// has open; one that dies is started again, and its clients ask again.
import { closeSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import type { Emit } from '../emit.ts'
import { loadLibc } from '../net/libc.ts'
import { usualLimits } from './queue.ts'
import type { Order as Numbered, Report } from './transfers.ts'
import type { WorkerData } from './worker.ts'

type Needs = {
  workers: number
  emit: Emit
  limits?: Partial<typeof usualLimits>
  /** `dgram`: without the C library, as where koffi does not load. */
  by?: 'kernel' | 'dgram'
}
type Order = Omit<Numbered, 'id'>
type Thread = {
  worker: Worker
  orders: MessagePort
  posted: number
  taken: Int32Array
  descriptors: Int32Array
  over: Map<number, (bytes: number) => void> // by order
}
/** Where a thread lives; `thread` is absent while it starts anew. */
type Seat = { wake?: number; delayMs: number; thread?: Thread }

/** A thread that dies soon after its start waits longer each time. */
const restartMs = { first: 200, most: 5000, healthyAfter: 10_000 }
/** So many requests wait for a thread; more are dropped, as the kernel drops what nobody reads. */
const mostPosted = 4096
const EFD_NONBLOCK = 0o4000
const EFD_CLOEXEC = 0o2000000

export type Pool = Awaited<ReturnType<typeof startPool>>

export async function startPool({ workers, emit, limits = {}, by = 'kernel' }: Needs) {
  const libc = by === 'kernel' ? await loadLibc() : undefined
  const total = Math.ceil((limits.total ?? usualLimits.total) / workers)
  const threads = Array.from({ length: workers }, openThread)
  let [closing, lastId] = [false, 0]

  function openThread(): Seat {
    const fd = libc?.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    const place: Seat = { delayMs: restartMs.first / 2, ...(fd !== undefined && fd >= 0 && { wake: fd }) }
    start(place)
    return place
  }

  function start(place: Seat) {
    const startedAt = performance.now()
    const { port1, port2 } = new MessageChannel()
    const thread = {
      orders: port1,
      posted: 0,
      over: new Map<number, (bytes: number) => void>(),
      taken: new Int32Array(new SharedArrayBuffer(4)),
      descriptors: new Int32Array(new SharedArrayBuffer(4 * 2 * (total + 64))),
    }
    const data: WorkerData = {
      orders: port2,
      limits: { ...limits, total },
      taken: thread.taken,
      descriptors: thread.descriptors,
      ...(place.wake !== undefined && { wake: place.wake }),
    }
    const worker = new Worker(join(import.meta.dirname, 'worker.ts'), {
      workerData: data,
      transferList: [port2],
      resourceLimits: { maxOldGenerationSizeMb: 256 },
    })
    place.thread = { ...thread, worker }
    worker.on('message', (report: Report) => {
      if (report.type !== 'over') return emit(report.type, report.fields)
      thread.over.get(report.id)?.(report.bytes)
      thread.over.delete(report.id)
    })
    worker.on('error', (error) => emit('serve.fail', { process: 'tftp', why: error.message }))
    worker.on('exit', () => {
      delete place.thread
      port1.close()
      for (const over of thread.over.values()) over(0)
      // What it could not close itself.
      for (const held of thread.descriptors) if (held > 0) libc?.close(held - 1)
      const healthy = performance.now() - startedAt > restartMs.healthyAfter
      place.delayMs = healthy ? restartMs.first : Math.min(2 * place.delayMs, restartMs.most)
      if (!closing) setTimeout(() => closing || start(place), place.delayMs)
    })
  }

  function tell({ wake, thread }: Seat, message: Numbered | 'stop') {
    thread?.orders.postMessage(message)
    if (wake !== undefined) writeSync(wake, one)
  }

  return {
    /**
     * `over` is called once, with the bytes that were sent. False: too much is waiting already, or the thread starts anew;
     * then it is not called.
     */
    order(order: Order, over: (bytes: number) => void): boolean {
      const place = threads[hash(order.peer.address) % threads.length]!
      const { thread } = place
      if (!thread || ((thread.posted - Atomics.load(thread.taken, 0)) | 0) >= mostPosted) return false
      thread.posted = (thread.posted + 1) | 0
      const id = ++lastId
      thread.over.set(id, over)
      tell(place, { ...order, id })
      return true
    },
    /** Of the threads as they are now; for tests. */
    workers: () => threads.flatMap(({ thread }) => (thread ? [thread.worker] : [])),
    async close() {
      closing = true
      await Promise.all(threads.map(stop))
      for (const { wake } of threads) if (wake !== undefined) closeSync(wake)
    },
  }

  async function stop(place: Seat) {
    const { thread } = place
    if (!thread) return
    const gone = new Promise<void>((done) => thread.worker.once('exit', () => done()))
    tell(place, 'stop')
    const timer = setTimeout(() => void thread.worker.terminate(), 2000)
    await gone
    clearTimeout(timer)
  }
}

const one = Buffer.from(BigUint64Array.of(1n).buffer)

function hash(text: string): number {
  let sum = 0
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0
  return sum
}

// The thread that makes a layer, as the rest of a capture sees it.
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { unpackError } from '../../src/fault.ts'
import type { ArchiveSource, FromThread, LayerOrder, ToThread } from './layer-thread.ts'
import type { Moved } from './layer-write.ts'

type Closed = Extract<FromThread, { closed: unknown }>['closed']
export type LayerApart = {
  /** To be said once; the thread is made ready before it knows what to read. */
  read(source: ArchiveSource): void
  /** Resolves when all that the pipe gave is written. Throws what the thread threw. */
  written(): Promise<void>
  /** Makes it count. Throws WireError when the archive is not whole. */
  close(): Promise<Closed>
  /** Gives up what has not been closed. The pipe must have ended, or have nobody else who holds it open. */
  stop(): Promise<void>
}

type Heard = { reads: () => void; progress: (moved: Moved) => void }

export function makeLayerApart(order: LayerOrder, { reads, progress }: Heard): LayerApart {
  const thread = new Worker(join(import.meta.dirname, 'layer-thread.ts'), { workerData: order, execArgv: [] })
  const written = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<Closed>()
  const fail = (error: Error) => {
    written.reject(error)
    closed.reject(error)
  }
  for (const { promise } of [written, closed]) (promise as Promise<unknown>).catch(() => {}) // may fail before anybody waits
  thread.on('message', (message: FromThread) => {
    if ('moved' in message) progress(message.moved)
    else if ('reads' in message) reads()
    else if ('written' in message) written.resolve()
    else if ('closed' in message) closed.resolve(message.closed)
    else fail(unpackError(message.failed))
  })
  thread.on('error', fail)
  thread.on('exit', (code) => fail(new Error(`the thread of a layer ended with ${code}`)))
  const tell = (message: ToThread) => thread.postMessage(message)
  return {
    read: ({ pipe, mark }) => tell({ read: { pipe, mark } }),
    written: () => written.promise,
    close() {
      tell({ close: true })
      return closed.promise
    },
    async stop() {
      await thread.terminate()
    },
  }
}

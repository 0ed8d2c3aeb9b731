// A thread that makes one layer of what comes out of a pipe: unpacked, indexed, hashed, written. The heap of such a thread
// is small: the buffers of a large archive make the collector run a hundred times, which in the job's own heap takes as
// long as all hashing.
import { closeSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { type PackedError, packError, UserError } from '../../src/fault.ts'
import type { BlobRef } from '../../src/image/version.ts'
import { openBlobFile } from '../store/blob-file.ts'
import { readList } from './compare.ts'
import { madeFrames, receivedFrames } from './frames.ts'
import type { LayerIndex } from './layer-index.ts'
import { indexLayer } from './layer-index.ts'
import type { Moved } from './layer-write.ts'
import { whiteoutFrames, writeLayer } from './layer-write.ts'

export type LayerOrder = {
  path: string // of the blob's file, which is made
  list: string // file: lines of the list, in the order of the archive
  rows: string // where its rows are written: see indexLayer
  number: number
  freshNs: string
  compress: boolean // what comes is compressed
  whiteouts: string[] // files of paths
}

/** Where the archive comes from: a named pipe, and what ends all that comes before it. */
export type ArchiveSource = { pipe: string; mark?: string | undefined }
/** What the thread is told, in this order. `close` makes the layer count. */
export type ToThread = { read: ArchiveSource } | { close: true }
export type FromThread =
  | { reads: true } // the pipe
  | { moved: Moved }
  | { written: true } // all that has come
  | { closed: { found: ReturnType<LayerIndex['end']>; blob: BlobRef; rows: string[] } }
  | { failed: PackedError }

const PIECE = 1 << 16 // what a pipe holds
const MAX_NOISE = 1 << 20

const port = parentPort!
const say = (message: FromThread) => port.postMessage(message)

make(workerData as LayerOrder)
  .catch((error) => say({ failed: packError(error) }))
  .finally(() => port.close())

async function make({ path, list, rows, number, freshNs, compress, whiteouts }: LayerOrder) {
  const [begins, mayClose] = [Promise.withResolvers<ArchiveSource>(), Promise.withResolvers<void>()]
  port.on('message', (message: ToThread) => {
    if ('read' in message) begins.resolve(message.read)
    else mayClose.resolve()
  })
  const source = await begins.promise
  const blob = await openBlobFile(path)
  try {
    const index = indexLayer({ layer: number, listed: readList(list), rows, freshNs })
    const frames = (compress ? receivedFrames : madeFrames)(pieces(source))
    await writeLayer({ blob, index, progress: (moved) => say({ moved }) }, whiteoutFrames(whiteouts), frames)
    say({ written: true })
    await mayClose.promise
    const found = index.end()
    say({ closed: { found, blob: await blob.end(), rows: index.rows } })
  } finally {
    await blob.close()
  }
}

/** A piece is good until the next one. It waits in the system: what is being unpacked goes on meanwhile. */
async function* pieces({ pipe, mark }: ArchiveSource): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(PIECE)
  const file = openSync(pipe, 'r')
  say({ reads: true })
  try {
    if (mark !== undefined) yield pastMark(file, mark)
    for (;;) {
      const length = readSync(file, buffer)
      if (length === 0) return
      yield buffer.subarray(0, length)
    }
  } finally {
    closeSync(file)
  }
}

function pastMark(file: number, mark: string): Buffer {
  let noise = Buffer.alloc(0)
  const buffer = Buffer.allocUnsafe(PIECE)
  while (noise.length <= MAX_NOISE) {
    const length = readSync(file, buffer)
    if (length === 0) return Buffer.alloc(0)
    noise = Buffer.concat([noise, buffer.subarray(0, length)])
    const at = noise.indexOf(mark)
    if (at >= 0) return noise.subarray(at + mark.length)
  }
  throw new UserError('the login shell of the golden client prints without end', {
    what: `more than ${MAX_NOISE} bytes before our script`,
    allowed: 'a ~/.bashrc and ~/.profile that print nothing there',
  })
}

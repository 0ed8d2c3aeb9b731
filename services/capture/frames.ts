// A tar stream from the golden client as zstd frames of at most 4 MiB, each with its content: compressed there and stored
// as it comes, or compressed here on the thread pool. (nbWorkers stays 0: with workers Node may write a cut frame, node
// issue 59899.)
import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { WireError } from '../../src/fault.ts'
import { FRAME_BYTES, splitFrames, UNPACKED_PIECE } from '../../src/image/zstd-frames.ts'

export type LayerFrame = { zstd: Buffer; content: Buffer }

const compress = promisify(zstdCompress)
const decompress = promisify(zstdDecompress)
const AHEAD = 3 // frames in work at once; with two streams that is more than the thread pool has threads

/** Frames that the golden client has compressed. */
export function receivedFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<LayerFrame> {
  return inOrder(frames(), async (zstd) => ({ zstd, content: await contentOf(zstd) }))
  async function* frames() {
    const splitter = splitFrames()
    for await (const chunk of stream) yield* splitter.push(chunk)
    splitter.end()
  }
}

/** The same of what was stored, as far as it is sound: it may have been cut, and may end with a table of frames. */
export async function* soundFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<LayerFrame> {
  const splitter = splitFrames()
  try {
    for await (const chunk of stream)
      for (const zstd of splitter.push(chunk)) yield { zstd, content: await contentOf(zstd) }
  } catch (error) {
    if (!(error instanceof WireError)) throw error
  }
}

async function contentOf(zstd: Buffer): Promise<Buffer> {
  try {
    return await decompress(zstd, { maxOutputLength: FRAME_BYTES, chunkSize: UNPACKED_PIECE })
  } catch (error) {
    throw new WireError(`zstd: ${(error as Error).message}`)
  }
}

/** Frames made here of a plain stream, whose pieces need be good only until the next one. */
export function madeFrames(stream: AsyncIterable<Buffer>): AsyncGenerator<LayerFrame> {
  const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 }
  return inOrder(pieces(), async (content) => ({ zstd: await compress(content, { params }), content }))
  async function* pieces() {
    let frame = Buffer.allocUnsafe(FRAME_BYTES)
    let filled = 0
    for await (const chunk of stream)
      for (let at = 0; at < chunk.length; ) {
        const copied = chunk.copy(frame, filled, at)
        at += copied
        filled += copied
        if (filled < FRAME_BYTES) continue
        yield frame
        frame = Buffer.allocUnsafe(FRAME_BYTES)
        filled = 0
      }
    if (filled > 0) yield frame.subarray(0, filled)
  }
}

/** Works on a few items at once and yields the results in the order of the items. */
async function* inOrder<T, U>(items: AsyncIterable<T>, work: (item: T) => Promise<U>): AsyncGenerator<U> {
  const queue: Promise<U>[] = []
  for await (const item of items) {
    const result = work(item)
    result.catch(() => {}) // it is thrown when its turn comes
    queue.push(result)
    if (queue.length >= AHEAD) yield await queue.shift()!
  }
  for (const result of queue) yield await result
}

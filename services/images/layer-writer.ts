// A layer that is written piece by piece: frames of 4 MiB compressed on the thread pool, the table of frames at its end.
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { constants, zstdCompress } from 'node:zlib'
import type { Digest } from '../../src/address.ts'
import type { Frame } from '../../src/image/zstd-frames.ts'
import { FRAME_BYTES, renderSeekTable } from '../../src/image/zstd-frames.ts'
import type { Stage, StagedBlob } from './stage.ts'

const compress = promisify(zstdCompress)
const params = { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 }
const AHEAD = 4 // frames in work at once: the thread pool's size

export type LayerWriter = Awaited<ReturnType<typeof openLayerWriter>>
export type WrittenLayer = { blob: StagedBlob; diffId: Digest; tarBytes: number }

export async function openLayerWriter(stage: Stage) {
  const blob = await stage.openBlob()
  const archive = createHash('sha256')
  const table: Frame[] = []
  let queue: Promise<{ zstd: Buffer; content: number }>[] = []
  let frame = Buffer.allocUnsafe(FRAME_BYTES)
  let filled = 0
  let tarBytes = 0

  /** Bytes of the archive; they are copied before this returns. */
  async function write(chunk: Buffer) {
    archive.update(chunk)
    tarBytes += chunk.length
    for (let at = 0; at < chunk.length; ) {
      const count = chunk.copy(frame, filled, at)
      at += count
      filled += count
      if (filled === FRAME_BYTES) await finishFrame()
    }
  }

  async function finishFrame() {
    const content = frame.subarray(0, filled)
    const zstd = compress(content, { params }).then((zstd) => ({ zstd, content: content.length }))
    zstd.catch(() => {}) // it is thrown when its turn comes
    queue.push(zstd)
    frame = Buffer.allocUnsafe(FRAME_BYTES)
    filled = 0
    if (queue.length >= AHEAD) await takeFirst()
  }

  async function takeFirst() {
    const { zstd, content } = await queue.shift()!
    await blob.write(zstd)
    table.push({ compressed: zstd.length, content })
  }

  async function end(): Promise<WrittenLayer> {
    if (filled > 0) await finishFrame()
    while (queue.length > 0) await takeFirst()
    await blob.write(renderSeekTable(table))
    return { blob: await blob.end(), diffId: `sha256:${archive.digest('hex')}` as Digest, tarBytes }
  }

  /** Gives it up. */
  async function close() {
    await Promise.allSettled(queue)
    queue = []
    await blob.close()
  }

  return { write, end, close, position: () => tarBytes }
}

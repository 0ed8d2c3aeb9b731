// Reading from a layer without unpacking it: the table at its end says where each frame lies.
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import { UserError, WireError } from '../../src/fault.ts'
import type { TarEntry } from '../../src/image/tar.ts'
import { readTar } from '../../src/image/tar.ts'
import { FRAME_BYTES, parseSeekTable, SEEK_FOOTER, seekTableLength } from '../../src/image/zstd-frames.ts'

const decompress = promisify(zstdDecompress)
export type LayerReader = Awaited<ReturnType<typeof openLayer>>

/** A layer's file, for reading members by their offset in the uncompressed archive (as the manifest has it). */
export async function openLayer(path: string) {
  const handle = await open(path, 'r')
  const frames = await readFrames().catch(async (error) => {
    await handle.close()
    throw error instanceof WireError
      ? new UserError('layer is damaged', { what: error.message, object: path })
      : error
  })
  let cached: { index: number; content: Buffer } | undefined

  async function readFrames() {
    const { size } = await handle.stat()
    const length = seekTableLength(await bytesAt(Math.max(0, size - SEEK_FOOTER), SEEK_FOOTER))
    const table = parseSeekTable(await bytesAt(Math.max(0, size - length), length))
    let [start, offset] = [0, 0]
    return table.map(({ compressed, content }) => {
      const frame = { start, compressed, offset, content }
      start += compressed
      offset += content
      return frame
    })
  }

  async function bytesAt(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await handle.read(buffer, 0, length, position)
    if (bytesRead !== length) throw new WireError(`zstd: ${bytesRead} of ${length} bytes at ${position}`)
    return buffer
  }

  async function frameContent(index: number): Promise<Buffer> {
    if (cached?.index === index) return cached.content
    const { start, compressed, content } = frames[index]!
    const plain = await decompress(await bytesAt(start, compressed), { maxOutputLength: FRAME_BYTES })
    if (plain.length !== content) throw new WireError(`zstd: frame ${index} holds ${plain.length} bytes`)
    cached = { index, content: plain }
    return plain
  }

  /** The archive from `offset` on, piece by piece. */
  async function* from(offset: number): AsyncGenerator<Buffer> {
    let index = frames.findIndex((frame) => offset < frame.offset + frame.content)
    if (index < 0) throw new WireError(`layer: offset ${offset} is beyond its end`)
    let skip = offset - frames[index]!.offset
    for (; index < frames.length; index++, skip = 0) yield (await frameContent(index)).subarray(skip)
  }

  /** Content of the regular file whose headers begin at `offset`; holes are zeros. */
  async function readFile(offset: number, maxBytes: number): Promise<Buffer> {
    const parts: Buffer[] = []
    let entry: TarEntry | undefined
    let complete = false
    const tar = readTar({
      entry: (found) => {
        entry ??= found
      },
      data: (found, chunk) => {
        if (found === entry && !complete) parts.push(Buffer.from(chunk))
      },
      done: () => {
        complete = true
      },
    })
    for await (const piece of from(offset)) {
      // Small steps: what follows this member is not to be parsed.
      for (let at = 0; at < piece.length && !complete; at += 65536) tar.push(piece.subarray(at, at + 65536))
      if ((entry?.facts.size ?? 0) > maxBytes)
        throw new WireError(`${entry!.facts.path}: more than ${maxBytes} bytes`)
      if (complete) break
    }
    if (entry === undefined || !complete) throw new WireError(`layer: no whole member at ${offset}`)
    if (entry.hardLinkTo !== undefined)
      throw new WireError(`layer: ${entry.facts.path} is a hard link, its content is at ${entry.hardLinkTo}`)
    return withHoles(entry, Buffer.concat(parts))
  }

  return { readFile, close: () => handle.close() }
}

function withHoles({ facts, extents }: TarEntry, data: Buffer): Buffer {
  if (extents === undefined) return data
  const whole = Buffer.alloc(facts.size ?? 0)
  let at = 0
  for (const { offset, length } of extents) {
    data.copy(whole, offset, at, at + length)
    at += length
  }
  return whole
}

// Reading from a layer without unpacking it: the table at its end says where each frame lies.
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { zstdDecompress } from 'node:zlib'
import { UserError, WireError } from '../../src/fault.ts'
import type { TarEntry } from '../../src/image/tar.ts'
import { BLOCK, MAX_EXTENDED, readTar } from '../../src/image/tar.ts'
import {
  FRAME_BYTES,
  parseSeekTable,
  SEEK_FOOTER,
  seekTableLength,
  UNPACKED_PIECE,
} from '../../src/image/zstd-frames.ts'

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
    const zstd = await bytesAt(start, compressed)
    const plain = await decompress(zstd, { maxOutputLength: FRAME_BYTES, chunkSize: UNPACKED_PIECE })
    if (plain.length !== content) throw new WireError(`zstd: frame ${index} holds ${plain.length} bytes`)
    cached = { index, content: plain }
    return plain
  }

  /** The number of the frame that holds the byte at `offset`. */
  function frameAt(offset: number): number {
    let [low, high] = [0, frames.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const frame = frames[middle]!
      if (offset < frame.offset + frame.content) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The archive from `offset` up to `end`. */
  async function* between(offset: number, end: number): AsyncGenerator<Buffer> {
    let left = end - offset
    if (left <= 0) return
    for await (const piece of from(offset)) {
      yield piece.subarray(0, left)
      left -= piece.length
      if (left <= 0) return
    }
    throw new WireError(`layer: ends ${left} bytes before ${end}`)
  }

  /** All that stands before the content of the member at `offset`. */
  async function readHeaders(offset: number): Promise<Buffer> {
    for (let at = offset; ; ) {
      const block = await bytesBetween(at, at + BLOCK)
      at += BLOCK
      if (!'xLKg'.includes(String.fromCharCode(block[156]!))) return bytesBetween(offset, at)
      const size = Number.parseInt(block.toString('latin1', 124, 136), 8)
      if (!(size >= 0 && size <= MAX_EXTENDED)) throw new WireError(`layer: no header at ${offset}`)
      at += Math.ceil(size / BLOCK) * BLOCK
    }
  }

  async function bytesBetween(offset: number, end: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for await (const piece of between(offset, end)) parts.push(piece)
    return Buffer.concat(parts)
  }

  /** The archive from `offset` on, piece by piece. */
  async function* from(offset: number): AsyncGenerator<Buffer> {
    let index = frameAt(offset)
    if (index === frames.length) throw new WireError(`layer: offset ${offset} is beyond its end`)
    let skip = offset - frames[index]!.offset
    for (; index < frames.length; index++, skip = 0) yield (await frameContent(index)).subarray(skip)
  }

  /** Content of the regular file whose headers begin at `offset`; holes are zeros. A hard link gives that of its file. */
  async function readFile(offset: number, maxBytes: number): Promise<Buffer> {
    const parts: Buffer[] = []
    let bytes = 0
    for await (const chunk of streamFile(offset)) {
      bytes += chunk.length
      if (bytes > maxBytes)
        throw new WireError(`layer: the file at ${offset} has more than ${maxBytes} bytes`)
      parts.push(Buffer.from(chunk))
    }
    return Buffer.concat(parts)
  }

  /** The same, piece by piece; a piece is good until the next one. */
  async function* streamFile(offset: number): AsyncGenerator<Buffer> {
    const first = await entryAt(offset)
    yield* contentAt(first.hardLinkTo === undefined ? offset : await memberBefore(offset, first.hardLinkTo))
  }

  async function* contentAt(offset: number): AsyncGenerator<Buffer> {
    let entry: TarEntry | undefined
    let complete = false
    let position = 0
    let run = 0 // which run of data, and how much of it has come
    let inRun = 0
    const ready: Buffer[] = []
    const tar = readTar({
      entry: (found) => {
        entry ??= found
      },
      data: (found, chunk) => {
        if (found === entry && !complete) take(found, chunk)
      },
      done: () => {
        complete = true
      },
    })
    function take({ extents }: TarEntry, chunk: Buffer) {
      if (extents === undefined) return void ready.push(chunk)
      for (let at = 0; at < chunk.length; ) {
        const extent = extents[run]!
        if (inRun === extent.length) {
          run++
          inRun = 0
          continue
        }
        if (inRun === 0) holeTo(extent.offset)
        const part = chunk.subarray(at, at + extent.length - inRun)
        ready.push(part)
        position += part.length
        at += part.length
        inRun += part.length
      }
    }
    function holeTo(end: number) {
      for (; position < end; position += ready.at(-1)!.length)
        ready.push(ZEROS.subarray(0, Math.min(ZEROS.length, end - position)))
    }
    for await (const piece of from(offset)) {
      // Small steps: what follows this member is not to be parsed.
      for (let at = 0; at < piece.length && !complete; at += STEP) {
        tar.push(piece.subarray(at, at + STEP))
        yield* ready.splice(0)
      }
      if (complete) break
    }
    if (entry === undefined || !complete) throw new WireError(`layer: no whole member at ${offset}`)
    if (entry.facts.type !== 'f' || entry.hardLinkTo !== undefined)
      throw new WireError(`layer: ${entry.facts.path} is no regular file`)
    // Not at once: a terabyte of holes is as many pieces of the same zeros.
    for (const size = entry.facts.size ?? 0; entry.extents !== undefined && position < size; ) {
      const part = ZEROS.subarray(0, Math.min(ZEROS.length, size - position))
      position += part.length
      yield part
    }
  }

  /** The header at an offset. */
  async function entryAt(offset: number): Promise<TarEntry> {
    let entry: TarEntry | undefined
    const tar = readTar({
      entry: (found) => {
        entry ??= found
      },
    })
    for await (const piece of from(offset))
      for (let at = 0; at < piece.length; at += 512) {
        tar.push(piece.subarray(at, at + 512))
        if (entry) return entry
      }
    throw new WireError(`layer: no member at ${offset}`)
  }

  /** Where the file of a hard link is: the last member of that name before the link. */
  async function memberBefore(offset: number, path: string): Promise<number> {
    let found: TarEntry | undefined
    const tar = readTar({
      entry: (entry) => {
        if (entry.facts.path === path && entry.offset < offset) found = entry
      },
    })
    let at = 0
    for await (const piece of from(0)) {
      tar.push(piece)
      at += piece.length
      if (at >= offset) break
    }
    if (found?.hardLinkTo !== undefined) return memberBefore(found.offset, found.hardLinkTo)
    if (found !== undefined) return found.offset
    throw new WireError(`layer: the file that is linked at ${offset} is not there`)
  }

  return { readFile, streamFile, from, between, readHeaders, close: () => handle.close() }
}

const STEP = 65536
const ZEROS = Buffer.alloc(1 << 20)

/** All of them or none. */
export async function openLayers(paths: readonly string[]): Promise<LayerReader[]> {
  const readers: LayerReader[] = []
  try {
    for (const path of paths) readers.push(await openLayer(path))
    return readers
  } catch (error) {
    await closeLayers(readers)
    throw error
  }
}
export const closeLayers = (readers: readonly LayerReader[]) =>
  Promise.allSettled(readers.map((reader) => reader.close()))

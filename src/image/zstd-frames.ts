// RFC 8878: a zstd stream is a row of frames; where one ends can be seen from block headers without decompressing.
//   magic 4 | descriptor 1 | window 0-1 | dictionary 0-4 | content size 0-8 | blocks | checksum 0 or 4
//   block: 3 bytes little-endian: last 1 bit, type 2 bits, size 21 bits | bytes
// A layer is such a row and a table of all frames at its end (zstd's seekable format), itself a skippable frame that
// every decoder skips.
import { WireError } from '../fault.ts'

const MAGIC = 0xfd2fb528
const SKIPPABLE = 0x184d2a5e
const PZSTD = 0x184d2a50 // pzstd writes before each frame how long it is: a skippable frame of 4 bytes
const SEEKABLE = 0x8f92eab1
/** One frame holds so much of the archive, the last one less. */
export const FRAME_BYTES = 4 << 20
const MAX_FRAME = FRAME_BYTES + (64 << 10) // what cannot be compressed grows by block headers only

/**
 * Splits a stream into its frames; the lengths that pzstd puts between them are left out. Throws WireError for anything
 * else and for frames of more than 4 MiB.
 */
export function splitFrames() {
  let wrong: WireError | undefined // comes after the frames before it
  let pending: Buffer[] = []
  let size = 0
  let needed = 5 // bytes of this frame that must be there before more is known
  function push(chunk: Buffer): Buffer[] {
    if (wrong) throw wrong
    pending.push(chunk)
    size += chunk.length
    const frames: Buffer[] = []
    while (size >= needed) {
      const bytes = pending.length === 1 ? pending[0]! : Buffer.concat(pending, size)
      pending = [bytes]
      const found = lookAt(bytes)
      if (found === undefined) break
      needed = found.bytes
      if (!found.complete) continue
      if (!found.skipped) frames.push(bytes.subarray(0, needed))
      pending = [bytes.subarray(needed)]
      size -= needed
      needed = 5
    }
    if (wrong && frames.length === 0) throw wrong
    return frames
  }
  function lookAt(bytes: Buffer) {
    try {
      const found = frameLength(bytes)
      if (found.bytes > MAX_FRAME) throw new WireError(`zstd: frame of more than ${MAX_FRAME} bytes`)
      return found
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      wrong = error
      return undefined
    }
  }
  function end() {
    if (wrong) throw wrong
    if (size > 0) throw new WireError(`zstd: ends ${size} bytes into a frame`)
  }
  return { push, end }
}

type Found = { bytes: number; complete: boolean; skipped?: boolean }

/** Length of the frame at the front, or how many bytes are needed to say more. */
function frameLength(b: Buffer): Found {
  const more = (bytes: number) => ({ bytes, complete: false })
  if (b.length < 5) return more(5)
  if (b.readUInt32LE(0) === PZSTD) {
    if (b.length < 12) return more(12)
    if (b.readUInt32LE(4) !== 4) throw new WireError('zstd: not a frame')
    return { bytes: 12, complete: true, skipped: true }
  }
  if (b.readUInt32LE(0) !== MAGIC) throw new WireError('zstd: not a frame')
  const descriptor = b[4]!
  const single = (descriptor & 0x20) !== 0
  const dictionary = [0, 1, 2, 4][descriptor & 3]!
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!
  let at = 5 + (single ? 0 : 1) + dictionary + contentSize
  for (;;) {
    if (b.length < at + 3) return more(at + 3)
    const header = b.readUIntLE(at, 3)
    const type = (header >> 1) & 3
    if (type === 3) throw new WireError('zstd: reserved block type')
    at += 3 + (type === 1 ? 1 : header >> 3)
    if (at > MAX_FRAME) return more(at)
    if (header & 1) break
  }
  const bytes = at + (descriptor & 4 ? 4 : 0)
  return { bytes, complete: b.length >= bytes }
}

export type Frame = { compressed: number; content: number }

/** The table: SKIPPABLE, length, (compressed size, content size)*, count, descriptor 0, SEEKABLE. */
export function renderSeekTable(frames: readonly Frame[]): Buffer {
  const table = Buffer.alloc(8 + frames.length * 8 + 9)
  table.writeUInt32LE(SKIPPABLE, 0)
  table.writeUInt32LE(table.length - 8, 4)
  frames.forEach((frame, i) => {
    table.writeUInt32LE(frame.compressed, 8 + i * 8)
    table.writeUInt32LE(frame.content, 12 + i * 8)
  })
  table.writeUInt32LE(frames.length, table.length - 9)
  table.writeUInt32LE(SEEKABLE, table.length - 4)
  return table
}

export const SEEK_FOOTER = 9

/** Length of the whole table, from the last nine bytes of a layer. */
export function seekTableLength(footer: Buffer): number {
  if (footer.length !== SEEK_FOOTER || footer.readUInt32LE(5) !== SEEKABLE || footer[4] !== 0)
    throw new WireError('zstd: no table of frames at the end')
  return 8 + footer.readUInt32LE(0) * 8 + SEEK_FOOTER
}

export function parseSeekTable(table: Buffer): Frame[] {
  const length = seekTableLength(table.subarray(-SEEK_FOOTER))
  if (table.length !== length || table.readUInt32LE(0) !== SKIPPABLE || table.readUInt32LE(4) !== length - 8)
    throw new WireError('zstd: table of frames out of shape')
  return Array.from({ length: (length - 8 - SEEK_FOOTER) / 8 }, (_, i) => ({
    compressed: table.readUInt32LE(8 + i * 8),
    content: table.readUInt32LE(12 + i * 8),
  }))
}

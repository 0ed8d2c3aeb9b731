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
/** The most that one frame holds of the archive; how much it is stands in the table of frames. */
export const FRAME_BYTES = 4 << 20
/**
 * What zstd should write at once: the frames of pzstd hold 2 MiB and so come in one piece, which need not be put together;
 * the byte more says that this was all. With 16 KiB, Node's default, unpacking takes four times as long.
 */
export const UNPACKED_PIECE = (2 << 20) + 1
const MAX_FRAME = FRAME_BYTES + (64 << 10) // what cannot be compressed grows by block headers only

/**
 * Splits a stream into its frames; the lengths that pzstd puts between them are left out. Throws WireError for anything
 * else and for frames of more than 4 MiB.
 */
export function splitFrames() {
  const frame = Buffer.allocUnsafe(MAX_FRAME) // the one that is coming
  let wrong: WireError | undefined // comes after the frames before it
  let size = 0
  let now = beginning
  function push(chunk: Buffer): Buffer[] {
    if (wrong) throw wrong
    const frames: Buffer[] = []
    for (let at = 0; !wrong; ) {
      const copied = chunk.copy(frame, size, at, at + now.needed - size)
      at += copied
      size += copied
      if (size < now.needed) break
      if (now.step !== 'end') {
        now = advance(now)
        continue
      }
      if (!now.skipped) frames.push(Buffer.from(frame.subarray(0, size)))
      size = 0
      now = beginning
    }
    if (wrong && frames.length === 0) throw wrong
    return frames
  }
  function advance(state: Progress): Progress {
    try {
      const next = afterBytes(state, frame)
      if (next.needed > MAX_FRAME) throw new WireError(`zstd: frame of more than ${MAX_FRAME} bytes`)
      return next
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      wrong = error
      return state
    }
  }
  function end() {
    if (wrong) throw wrong
    if (size > 0) throw new WireError(`zstd: ends ${size} bytes into a frame`)
  }
  return { push, end }
}

/** How far a frame is known: what ends its first `needed` bytes. */
type Progress = {
  step: 'magic' | 'length' | 'block' | 'end'
  needed: number
  checksum?: number // bytes of it
  skipped?: boolean
}
const beginning: Progress = { step: 'magic', needed: 5 }
const BLOCK_HEADER = 3

/** The next state, once the first `needed` bytes are there. */
function afterBytes({ step, needed, checksum = 0 }: Progress, b: Buffer): Progress {
  if (step === 'magic') return afterMagic(b)
  if (step === 'length') {
    if (b.readUInt32LE(4) !== 4) throw new WireError('zstd: not a frame')
    return { step: 'end', needed: 12, skipped: true }
  }
  const header = b.readUIntLE(needed - BLOCK_HEADER, BLOCK_HEADER)
  const type = (header >> 1) & 3
  if (type === 3) throw new WireError('zstd: reserved block type')
  const end = needed + (type === 1 ? 1 : header >> 3)
  if (header & 1) return { step: 'end', needed: end + checksum }
  return { step: 'block', needed: end + BLOCK_HEADER, checksum }
}

function afterMagic(b: Buffer): Progress {
  const magic = b.readUInt32LE(0)
  if (magic === PZSTD) return { step: 'length', needed: 8 }
  if (magic !== MAGIC) throw new WireError('zstd: not a frame')
  const descriptor = b[4]!
  const single = (descriptor & 0x20) !== 0
  const dictionary = [0, 1, 2, 4][descriptor & 3]!
  const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6]!
  const header = 5 + (single ? 0 : 1) + dictionary + contentSize
  return { step: 'block', needed: header + BLOCK_HEADER, checksum: descriptor & 4 ? 4 : 0 }
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

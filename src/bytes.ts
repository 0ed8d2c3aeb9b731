// One cursor for every codec: fixed widths in network byte order, each read named for its error.
import { WireError } from './fault.ts'

/** Reads front to back; anything that is not there throws WireError naming the field. */
export function readBytes(bytes: Uint8Array) {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  /** Steps over so many bytes; the answer is where they begin. */
  function take(count: number, field: string): number {
    const start = at
    if (start + count > view.length)
      throw new WireError(`${field}: needs ${count} bytes, ${view.length - start} are left`)
    at += count
    return start
  }
  function raw(count: number, field: string): Buffer {
    const start = take(count, field)
    return view.subarray(start, at)
  }
  return {
    u8: (field: string) => view[take(1, field)]!,
    u16: (field: string) => view.readUInt16BE(take(2, field)),
    u32: (field: string) => view.readUInt32BE(take(4, field)),
    raw,
    /** Text up to a NUL, which is consumed. Each byte becomes one character. */
    cstring(field: string) {
      const end = view.indexOf(0, at)
      if (end < 0) throw new WireError(`${field}: no NUL ends it`)
      const text = view.toString('latin1', at, end)
      at = end + 1
      return text
    },
    rest: () => raw(view.length - at, 'rest'),
    left: () => view.length - at,
  }
}

/** Writes front to back; every method returns the writer. */
export function writeBytes() {
  let bytes = Buffer.allocUnsafe(512) // most packets; it grows for the others
  let at = 0
  /** Makes room for so many bytes; the answer is where they go. */
  function take(count: number): number {
    const start = at
    at += count
    if (at > bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(at, 2 * bytes.length))
      bytes.copy(grown, 0, 0, start)
      bytes = grown
    }
    return start
  }
  const writer = {
    u8(n: number) {
      const start = take(1)
      bytes[start] = n
      return writer
    },
    u16(n: number) {
      const start = take(2)
      bytes[start] = n >>> 8
      bytes[start + 1] = n
      return writer
    },
    u32(n: number) {
      const start = take(4)
      bytes[start] = n >>> 24
      bytes[start + 1] = n >>> 16
      bytes[start + 2] = n >>> 8
      bytes[start + 3] = n
      return writer
    },
    raw(part: Uint8Array) {
      const start = take(part.length)
      bytes.set(part, start)
      return writer
    },
    cstring(text: string) {
      const start = take(text.length + 1)
      bytes.write(text, start, 'latin1')
      bytes[start + text.length] = 0
      return writer
    },
    zeros(count: number) {
      const start = take(count)
      bytes.fill(0, start, at)
      return writer
    },
    /** The first `length` bytes of it, filled with zeros. */
    padded(part: Uint8Array, length: number) {
      const whole = part.length <= length ? part : part.subarray(0, length)
      return writer.raw(whole).zeros(length - whole.length)
    },
    length: () => at,
    done: () => bytes.subarray(0, at),
  }
  return writer
}
export type Writer = ReturnType<typeof writeBytes>

const LARGE = 1 << 16 // smaller ones may share their memory with others

/**
 * Gives the memory of a large buffer back at once, and not when a collector comes to it: the buffer is empty afterwards, and
 * so is all that was cut from it.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength > LARGE) buffer.transfer(0)
}

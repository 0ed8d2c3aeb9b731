// One cursor for every codec: fixed widths in network byte order, each read named for its error.
import { WireError } from './fault.ts'

/** Reads front to back; anything that is not there throws WireError naming the field. */
export function readBytes(bytes: Uint8Array) {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  function take(count: number, field: string): Buffer {
    if (at + count > view.length)
      throw new WireError(`${field}: needs ${count} bytes, ${view.length - at} are left`)
    at += count
    return view.subarray(at - count, at)
  }
  return {
    u8: (field: string) => take(1, field).readUInt8(),
    u16: (field: string) => take(2, field).readUInt16BE(),
    u32: (field: string) => take(4, field).readUInt32BE(),
    raw: (count: number, field: string) => take(count, field),
    /** Text up to a NUL, which is consumed. Each byte becomes one character. */
    cstring(field: string) {
      const end = view.indexOf(0, at)
      if (end < 0) throw new WireError(`${field}: no NUL ends it`)
      const text = view.toString('latin1', at, end)
      at = end + 1
      return text
    },
    rest: () => take(view.length - at, 'rest'),
    left: () => view.length - at,
  }
}

/** Writes front to back; every method returns the writer. */
export function writeBytes() {
  const parts: Uint8Array[] = []
  const writer = {
    u8: (n: number) => push(Buffer.of(n)),
    u16: (n: number) => push(Buffer.of(n >>> 8, n & 255)),
    u32: (n: number) => push(Buffer.of(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255)),
    raw: (bytes: Uint8Array) => push(bytes),
    cstring: (text: string) => push(Buffer.from(`${text}\0`, 'latin1')),
    zeros: (count: number) => push(Buffer.alloc(count)),
    done: () => Buffer.concat(parts),
  }
  function push(part: Uint8Array) {
    parts.push(part)
    return writer
  }
  return writer
}

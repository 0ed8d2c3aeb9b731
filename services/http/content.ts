// What a published name delivers, for TFTP blocks and HTTP bodies alike.
import { close, fstat, open, read } from 'node:fs'
import { promisify } from 'node:util'
import type { Mac } from '../../src/address.ts'
import type { Sent } from '../../src/boot/record.ts'

/** Whose boot this is part of; goes into the events. */
export type BootFacts = { node?: string; mac?: Mac; deployment?: string; kind?: string }

export type Content = {
  bytes: number
  contentType: string
  facts: BootFacts
  /** For the record of the boot. */
  sent?: Sent
  /** At most `length` bytes from `offset`; empty past the end. Valid until the next read or close. */
  read(offset: number, length: number): Promise<Buffer>
  close(): void
}
export type Open = (name: string, peer: string) => Promise<Content | undefined>

export function textContent(text: string, facts: BootFacts = {}): Content {
  const bytes = Buffer.from(text, 'utf8')
  const sent: Sent = text === '' ? { what: 'empty' } : { what: 'text', kind: facts.kind ?? '', text }
  return {
    sent,
    bytes: bytes.length,
    contentType: 'text/plain; charset=utf-8',
    facts,
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    close() {},
  }
}

const chunkBytes = 64 * 1024 // a lockstep client takes it in blocks of 512 to 1468 bytes
const spare: Buffer[] = []
const spareLimit = 256

/** A file that does not change: loaders and blobs. `undefined` when there is no such regular file. */
export async function fileContent(
  path: string,
  more: { contentType: string; facts?: BootFacts },
): Promise<Content | undefined> {
  const file = await openFile(path)
  if (!file) return undefined
  const { fd, bytes } = file
  let chunk = spare.pop() ?? Buffer.allocUnsafeSlow(chunkBytes)
  let start = 0
  let filled = 0
  let reading = false
  let closed = false

  async function readAt(offset: number, length: number): Promise<Buffer> {
    const wanted = Math.min(length, Math.max(0, bytes - offset))
    if (offset < start || offset + wanted > start + filled) await fill(offset, wanted)
    return chunk.subarray(offset - start, Math.min(offset - start + wanted, filled))
  }
  async function fill(offset: number, wanted: number) {
    if (closed) throw new Error(`${path} is closed`)
    if (wanted > chunk.length) chunk = Buffer.allocUnsafeSlow(wanted)
    reading = true
    filled = 0
    try {
      filled = await readFully(fd, chunk, offset)
      start = offset
    } finally {
      reading = false
      if (closed) release()
    }
  }
  function release() {
    close(fd, () => {})
    if (chunk.length === chunkBytes && spare.length < spareLimit) spare.push(chunk)
  }
  return {
    bytes,
    contentType: more.contentType,
    facts: more.facts ?? {},
    read: readAt,
    close() {
      if (closed) return
      closed = true
      // A buffer that the kernel still fills must not go to someone else.
      if (!reading) release()
    },
  }
}

const openAsync = promisify(open)
const fstatAsync = promisify(fstat)

/** `undefined` when there is no such regular file. */
export async function openFile(path: string): Promise<{ fd: number; bytes: number } | undefined> {
  const fd = await openAsync(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
  if (fd === undefined) return undefined
  const stat = await fstatAsync(fd).catch(() => undefined)
  if (stat?.isFile()) return { fd, bytes: stat.size }
  close(fd, () => {})
  return undefined
}

/** Fills `target` from `offset` of the file, or up to its end. */
export async function readFully(fd: number, target: Buffer, offset: number): Promise<number> {
  let done = 0
  while (done < target.length) {
    const count = await readOnce(fd, target, done, offset + done)
    if (count === 0) break
    done += count
  }
  return done
}

function readOnce(fd: number, target: Buffer, at: number, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, target, at, target.length - at, offset, (error, count) =>
      error ? reject(error) : resolve(count),
    )
  })
}

// What a published name delivers, for TFTP blocks and HTTP bodies alike.
import { close, fstat, open, read, stat } from 'node:fs'
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
  /** Where it is, for a thread that reads it by itself. */
  source: { text: Uint8Array } | { path: string }
  /** At most `length` bytes from `offset`; empty past the end. Valid until the next read or close. */
  read(offset: number, length: number): Promise<Buffer>
  /** For a thread that reads `source` by itself: so much of it went out. */
  sentBytes?(count: number): void
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
    source: { text: bytes },
    read: async (offset, length) => bytes.subarray(offset, offset + length),
    close() {},
  }
}

const chunkBytes = 256 * 1024
const spare: Buffer[] = []
const spareLimit = 64

/** A file that does not change: loaders and blobs. `undefined` when there is no such regular file. It is opened when it is read. */
export async function fileContent(
  path: string,
  more: { contentType: string; facts?: BootFacts },
): Promise<Content | undefined> {
  const size = await fileBytes(path)
  if (size === undefined) return undefined
  const bytes: number = size
  let held: { fd: number; chunk: Buffer } | undefined
  let reading = false
  let closed = false

  async function readAt(offset: number, length: number): Promise<Buffer> {
    const wanted = Math.min(length, chunkBytes, Math.max(0, bytes - offset))
    reading = true
    try {
      held ??= await hold()
      if (closed) throw new Error(`${path} is closed`)
      const part = held.chunk.subarray(0, wanted)
      return part.subarray(0, await readFully(held.fd, part, offset))
    } finally {
      reading = false
      if (closed) release()
    }
  }
  async function hold() {
    const file = await openFile(path)
    if (!file) throw new Error(`${path} is gone`)
    return { fd: file.fd, chunk: spare.pop() ?? Buffer.allocUnsafeSlow(chunkBytes) }
  }
  function release() {
    if (!held) return
    close(held.fd, () => {})
    if (spare.length < spareLimit) spare.push(held.chunk)
    held = undefined
  }
  return {
    bytes,
    contentType: more.contentType,
    facts: more.facts ?? {},
    source: { path },
    read: readAt,
    close() {
      closed = true
      // A buffer that the kernel still fills must not go to someone else.
      if (!reading) release()
    },
  }
}

const statAsync = promisify(stat)

/** `undefined` when there is no such regular file. */
export async function fileBytes(path: string): Promise<number | undefined> {
  const found = await statAsync(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw error
  })
  return found?.isFile() ? found.size : undefined
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

// A blob's file while it is written: hashed as it grows, on the disk when it has ended.
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { Digest } from '../../src/address.ts'
import type { BlobRef } from '../../src/image/version.ts'

export type BlobFile = Awaited<ReturnType<typeof openBlobFile>>

/** A new file. It counts once `end` has resolved; `close` gives up what did not get so far. */
export async function openBlobFile(path: string) {
  const handle = await open(path, 'wx', 0o644)
  const hash = createHash('sha256')
  let bytes = 0
  let isOpen = true

  async function write(chunk: Uint8Array) {
    hash.update(chunk)
    bytes += chunk.length
    await handle.writeFile(chunk) // writes all of it, at the place where the last one ended
  }
  async function end(): Promise<BlobRef> {
    await handle.sync()
    await close()
    return { digest: `sha256:${hash.digest('hex')}` as Digest, bytes }
  }
  async function close() {
    if (!isOpen) return
    isOpen = false
    await handle.close()
  }
  return { path, write, end, close }
}

// Ramdisks joined to one file, for loaders that take a single one. Made when the first machine asks, beside the blobs that
// they are made of; what was made before is thrown away at start, as the images may be gone.
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, rename, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Digest } from '../../src/address.ts'
import { type Content, fileContent } from './content.ts'

/** Versions of images that are installed at one time. */
const MOST_KEPT = 16

/** `folder`: for the joined files alone. `blobFolders`: files named by their hex digest. */
export async function openJoined({ folder, blobFolders }: { folder: string; blobFolders: Iterable<string> }) {
  let count = 0
  const made = new Map<string, Promise<string | undefined>>()
  await rm(folder, { recursive: true, force: true }).catch(() => {}) // they are written over

  /** `undefined` when one of the parts is not there. */
  async function open(digests: Digest[]): Promise<Content | undefined> {
    const hexes = digests.map((digest) => digest.slice('sha256:'.length))
    const key = hexes.join('.')
    const present = made.get(key)
    const path = present ?? make(hexes, join(folder, `${count++}`))
    if (!present) {
      made.set(key, path)
      // What can not be made is tried again by the next one who asks: a disk may have been full.
      path.then((found) => found ?? made.delete(key)).catch(() => made.delete(key))
      void dropOldest()
    }
    const found = await path
    return found === undefined ? undefined : fileContent(found, { contentType: 'application/octet-stream' })
  }

  async function dropOldest() {
    const [oldest] = made
    if (made.size <= MOST_KEPT || !oldest) return
    made.delete(oldest[0])
    const path = await oldest[1].catch(() => undefined)
    if (path !== undefined) await rm(path, { force: true }).catch(() => {})
  }

  async function make(hexes: string[], path: string): Promise<string | undefined> {
    const parts = await Promise.all(hexes.map(whereIs))
    if (parts.includes(undefined)) return undefined
    const partial = `${path}.partial`
    await mkdir(folder, { recursive: true, mode: 0o700 }) // here and not at start: all others boot from a full disk, too
    try {
      await rm(partial, { force: true })
      for (const part of parts) {
        await pipeline(createReadStream(part!), createWriteStream(partial, { flags: 'a', mode: 0o600 }))
        // The kernel looks for an uncompressed archive at every fourth byte; zeros between are passed over.
        await truncate(partial, Math.ceil((await stat(partial)).size / 4) * 4)
      }
      await rename(partial, path)
    } finally {
      await rm(partial, { force: true })
    }
    return path
  }

  async function whereIs(hex: string): Promise<string | undefined> {
    for (const folder of blobFolders) {
      const found = await stat(join(folder, hex)).catch(() => undefined)
      if (found?.isFile()) return join(folder, hex)
    }
    return undefined
  }

  return { open }
}
export type Joined = Awaited<ReturnType<typeof openJoined>>

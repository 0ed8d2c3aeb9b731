// Blobs on their way into the image store: written and synced in a folder of their own on the same file system, moved
// in only when everything is there. What a killed process leaves behind is that folder alone.
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../../src/address.ts'
import type { BlobRef } from '../../src/image/version.ts'

export type StagedBlob = BlobRef & { path: string }
export type Stage = Awaited<ReturnType<typeof openStage>>

const folderOf = (imagesDir: string): string => join(imagesDir, 'staging')

/**
 * A staging folder; its name carries our process id, so that leftovers can be told from work in progress.
 * @param imagesDir the image store or another place
 */
export async function openStage(imagesDir: string) {
  const path = join(folderOf(imagesDir), `${process.pid}-${randomBytes(6).toString('hex')}`)
  await mkdir(path, { recursive: true })
  const blobs: StagedBlob[] = []

  async function writeBlob(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<StagedBlob> {
    const blob = await openBlob()
    try {
      for await (const chunk of source) await blob.write(chunk)
      return await blob.end()
    } finally {
      await blob.close()
    }
  }

  /** A blob that is written piece by piece. It counts once `end` has resolved; `close` gives up what did not get so far. */
  async function openBlob() {
    const file = join(path, randomBytes(8).toString('hex'))
    const handle = await open(file, 'wx', 0o644)
    const hash = createHash('sha256')
    let bytes = 0
    let isOpen = true

    async function write(chunk: Uint8Array) {
      hash.update(chunk)
      bytes += chunk.length
      await handle.writeFile(chunk) // writes all of it, at the place where the last one ended
    }
    async function end(): Promise<StagedBlob> {
      await handle.sync()
      await close()
      const blob = { digest: `sha256:${hash.digest('hex')}` as Digest, bytes, path: file }
      blobs.push(blob)
      return blob
    }
    async function close() {
      if (!isOpen) return
      isOpen = false
      await handle.close()
    }
    return { path: file, write, end, close }
  }

  /** Takes a staged blob out again: it is not published. */
  async function drop(blob: StagedBlob) {
    const at = blobs.indexOf(blob)
    if (at >= 0) blobs.splice(at, 1)
    await rm(blob.path, { force: true })
  }

  const close = () => rm(path, { recursive: true, force: true })
  return { path, place: imagesDir, blobs: blobs as readonly StagedBlob[], writeBlob, openBlob, drop, close }
}

/** Removes the staging folders of processes that are no more. */
export async function removeLeftovers(imagesDir: string): Promise<string[]> {
  const names = await readdir(folderOf(imagesDir)).catch(() => [])
  const dead = names.filter((name) => !isAlive(Number.parseInt(name, 10)))
  for (const name of dead) await rm(join(folderOf(imagesDir), name), { recursive: true, force: true })
  return dead
}

function isAlive(pid: number): boolean {
  if (!(pid > 0)) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

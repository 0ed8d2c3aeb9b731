// Blobs on their way into the image store: written and synced in a folder of their own on the same file system, moved
// in only when everything is there. What a killed process leaves behind is that folder alone.
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BlobRef } from '../../src/image/version.ts'
import { isAlive } from '../store/alive.ts'
import { openBlobFile } from '../store/blob-file.ts'

export type StagedBlob = BlobRef & { path: string }
export type Stage = Awaited<ReturnType<typeof openStage>>

const folderOf = (imagesDir: string): string => join(imagesDir, 'staging')

const PURPOSE = 'purpose' // a file that names what the folder is for
const KEPT_MS = 7 * 24 * 3600_000

/**
 * A staging folder; its name carries our process id, so that leftovers can be told from work in progress.
 * @param imagesDir the image store or another place
 * @param purpose what it is for: a folder that an earlier attempt at the same left behind is taken over, with all that is
 * in it
 */
export async function openStage(imagesDir: string, purpose?: string) {
  const path = join(folderOf(imagesDir), `${process.pid}-${randomBytes(6).toString('hex')}`)
  const isResumed = purpose !== undefined && (await takeOver(imagesDir, purpose, path))
  await mkdir(path, { recursive: true })
  if (purpose !== undefined && !isResumed)
    await writeFile(join(path, PURPOSE), purpose).catch(async (error) => {
      await rm(path, { recursive: true, force: true }) // on a full disk
      throw error
    })
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

  /** Where a blob may be written that is then adopted. */
  const newPath = (): string => join(path, randomBytes(8).toString('hex'))

  /** A blob that is written piece by piece. It counts once `end` has resolved; `close` gives up what did not get so far. */
  async function openBlob() {
    const file = await openBlobFile(newPath())
    async function end(): Promise<StagedBlob> {
      const blob = { ...(await file.end()), path: file.path }
      blobs.push(blob)
      return blob
    }
    return { ...file, end }
  }

  /** Takes a staged blob out again: it is not published. */
  async function drop(blob: StagedBlob) {
    const at = blobs.indexOf(blob)
    if (at >= 0) blobs.splice(at, 1)
    await rm(blob.path, { force: true })
  }

  /** Publishes a blob that was written by another one, on the same file system, with ours. */
  const adopt = (blob: StagedBlob) => void blobs.push(blob)

  const close = () => rm(path, { recursive: true, force: true })
  /** Leaves everything for the next attempt. */
  const park = () => rename(path, join(folderOf(imagesDir), `0-${randomBytes(6).toString('hex')}`))
  return {
    path,
    place: imagesDir,
    isResumed,
    blobs: blobs as readonly StagedBlob[],
    writeBlob,
    openBlob,
    newPath,
    drop,
    adopt,
    close,
    park,
  }
}

/** Makes the newest leftover of that purpose ours, by one rename; older ones are removed. */
async function takeOver(imagesDir: string, purpose: string, path: string): Promise<boolean> {
  const found = (await leftovers(imagesDir)).filter((each) => each.purpose === purpose)
  const [newest, ...older] = found.sort((a, b) => b.changedMs - a.changedMs)
  for (const { folder } of older) await rm(folder, { recursive: true, force: true })
  if (newest === undefined) return false
  return rename(newest.folder, path).then(
    () => true,
    () => false, // another process was quicker
  )
}

/** Folders of processes that are no more. */
async function leftovers(imagesDir: string) {
  const names = await readdir(folderOf(imagesDir)).catch(() => [])
  const dead = names.filter((name) => !isAlive(Number.parseInt(name, 10)))
  return Promise.all(
    dead.map(async (name) => {
      const folder = join(folderOf(imagesDir), name)
      const purpose = await readFile(join(folder, PURPOSE), 'utf8').catch(() => undefined)
      const changedMs = await stat(folder).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      )
      return { name, folder, purpose, changedMs }
    }),
  )
}

/**
 * Removes the staging folders of processes that are no more. Those with a purpose stay a week, for the attempt that takes
 * them over.
 */
export async function removeLeftovers(imagesDir: string): Promise<string[]> {
  const dead = (await leftovers(imagesDir)).filter(
    ({ purpose, changedMs }) => purpose === undefined || Date.now() - changedMs > KEPT_MS,
  )
  for (const { folder } of dead) await rm(folder, { recursive: true, force: true })
  return dead.map(({ name }) => name)
}

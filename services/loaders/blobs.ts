// Files of the state folder: by digest, whole or not there, checked before they are used.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Digest, parseDigest } from '../../src/address.ts'
import type { BlobRef } from '../../src/image/version.ts'

/** The file of a blob of the boot files. */
export const bootfilePath = (stateDir: string, digest: Digest) =>
  join(stateDir, 'bootfiles/blobs/sha256', digest.replace('sha256:', ''))

export async function fileRef(path: string): Promise<BlobRef> {
  const hash = createHash('sha256')
  let bytes = 0
  await pipeline(createReadStream(path), async (chunks) => {
    for await (const chunk of chunks) {
      hash.update(chunk)
      bytes += chunk.length
    }
  })
  return { digest: parseDigest(`sha256:${hash.digest('hex')}`), bytes }
}

export async function storeBlob(from: string, stateDir: string): Promise<BlobRef> {
  const ref = await fileRef(from)
  const path = bootfilePath(stateDir, ref.digest)
  const there = await fileRef(path).catch(() => undefined)
  if (there?.digest !== ref.digest) await placeDurably(path, (tmp) => copyFile(from, tmp))
  return ref
}

/** What is wrong with the stored blob; undefined: it is what its name says. */
export async function whyBad({ digest, bytes }: BlobRef, stateDir: string): Promise<string | undefined> {
  const path = bootfilePath(stateDir, digest)
  const found = await fileRef(path).catch(() => undefined)
  if (!found) return `${path} is missing`
  if (found.digest !== digest || found.bytes !== bytes) return `${path} is not what its name says`
  return undefined
}

/** What is there already is left as it is: a server starts on a full disk, too. */
export async function writeDurably(path: string, text: string) {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text) return
  await placeDurably(path, async (tmp) => {
    const file = await open(tmp, 'w')
    await file.writeFile(text).finally(() => file.close())
  })
}

/** Write beside, fsync, rename, fsync the folder: after a power cut the file is whole or was never there. */
async function placeDurably(path: string, fill: (tmp: string) => Promise<void>) {
  await mkdir(dirname(path), { recursive: true })
  const tmp = `${path}.${process.pid}.tmp`
  try {
    await fill(tmp)
    await sync(tmp)
    await rename(tmp, path)
  } catch (error) {
    throw Object.assign(error as Error, { path }) // a write does not know its file
  } finally {
    await rm(tmp, { force: true })
  }
  await sync(dirname(path))
}

async function sync(path: string) {
  const file = await open(path, 'r')
  await file.sync()
  await file.close()
}

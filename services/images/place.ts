// One OCI image layout on disk: the image store itself, or a place that `imgcapture -l` named. index.json names what is
// in it; it is replaced by one rename, so a version is there entirely or not at all.
import { constants, readFileSync, statSync } from 'node:fs'
import { copyFile, mkdir, open, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { ImageIndex, IndexRow } from '../../src/image/oci.ts'
import {
  digestOf,
  emptyIndex,
  indexRows,
  manifestRefs,
  parseIndex,
  renderIndex,
} from '../../src/image/oci.ts'
import type { BlobRef } from '../../src/image/version.ts'
import { makePrivate } from '../store/private-folder.ts'
import { hashFile } from './hash-file.ts'
import type { StagedBlob } from './stage.ts'

export type Place = ReturnType<typeof openPlace>

/** Nothing is read or made until it is asked for something. */
export function openPlace(path: string) {
  const blobsDir = join(path, 'blobs', 'sha256')
  const indexPath = join(path, 'index.json')
  let read: { stamp: string; index: ImageIndex; rows: IndexRow[] } | undefined

  const blobPath = (digest: Digest): string => join(blobsDir, digest.slice('sha256:'.length))

  /** Makes the layout where there is none. */
  async function make() {
    await makePrivate(path) // layers hold /etc/shadow
    await mkdir(blobsDir, { recursive: true })
    await writeFile(join(path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n')
    await stat(indexPath).catch(() => replaceIndex(emptyIndex()))
  }

  /** False when the file system that it is on is not mounted. */
  function isThere(): boolean {
    return statSync(indexPath, { throwIfNoEntry: false }) !== undefined
  }

  /** The present index.json, read again when it has been replaced. */
  function current() {
    const { ino, mtimeNs, size } = statSync(indexPath, { bigint: true })
    const stamp = `${ino} ${mtimeNs} ${size}`
    if (read?.stamp !== stamp) {
      const index = readIndex()
      read = { stamp, index, rows: indexRows(index) }
    }
    return read
  }

  function readIndex(): ImageIndex {
    try {
      return parseIndex(readFileSync(indexPath, 'utf8'))
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      throw new UserError('image store is damaged', { what: error.message, object: indexPath, status: 500 })
    }
  }

  /** A small blob: manifests, configs. Throws WireError when its content is another. */
  function readBlob(digest: Digest): Buffer {
    const bytes = readFileSync(blobPath(digest))
    if (digestOf(bytes) !== digest) throw new WireError(`blob ${digest} has other content`)
    return bytes
  }

  const blobBytes = (digest: Digest): number | undefined =>
    statSync(blobPath(digest), { throwIfNoEntry: false })?.size

  /**
   * Every blob that is needed for what the rows name, other tools' rows too. Throws UserError when a manifest cannot be
   * read: what it needs is then not known.
   */
  function neededBy(index: ImageIndex): Map<Digest, BlobRef> {
    const needed = new Map<Digest, BlobRef>()
    const waiting: BlobRef[] = index.manifests.map(({ digest, size }) => ({
      digest: digest as Digest,
      bytes: size,
    }))
    const manifests = new Set(waiting.map(({ digest }) => digest))
    // The array grows while it is read: manifests come before what they name, in the order in which they name it.
    for (const ref of waiting) {
      if (needed.has(ref.digest)) continue
      needed.set(ref.digest, ref)
      if (!manifests.has(ref.digest)) continue
      const { manifests: inner, blobs } = refsIn(ref.digest)
      for (const each of inner) manifests.add(each.digest)
      waiting.push(...inner, ...blobs)
    }
    return needed
  }

  function refsIn(digest: Digest) {
    try {
      return manifestRefs(readBlob(digest))
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      if (!isMissing && !(error instanceof WireError)) throw error
      throw new UserError('image is damaged', {
        what: (error as Error).message,
        allowed: 'rmimage of it, or its blob put back',
        object: namesOf(digest),
        status: 500,
      })
    }
  }

  const namesOf = (digest: Digest): string =>
    current()
      .rows.filter((row) => row.digest === digest)
      .map(({ name, version }) => `${name}:${version}`)
      .join(', ') || digest

  /** Moves staged blobs in; they are on disk when this returns. */
  async function takeIn(blobs: readonly StagedBlob[]) {
    for (const blob of blobs) await rename(blob.path, blobPath(blob.digest))
    await syncFolder(blobsDir)
  }

  /** Copies a blob out of another place; where the file systems can, without a second copy of its bytes. */
  async function copyIn(from: Place, { digest }: BlobRef) {
    const folder = join(path, 'staging', `${process.pid}-copy`)
    await mkdir(folder, { recursive: true })
    try {
      const next = join(folder, 'blob')
      await copyFile(from.blobPath(digest), next, constants.COPYFILE_FICLONE)
      if ((await hashFile(next)) !== digest)
        throw new UserError('blob is damaged', { what: digest, object: from.path, status: 500 })
      await syncFile(next)
      await rename(next, blobPath(digest))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  async function replaceIndex(index: ImageIndex) {
    await replaceFile(indexPath, renderIndex(index))
  }

  /** Removes the blobs that nothing in the index needs; `only` names those that may go. Answers with what was freed. */
  async function sweep(only?: Iterable<Digest>): Promise<{ blobs: number; bytes: number }> {
    const needed = neededBy(readIndex())
    const found = only === undefined ? await blobs() : [...only]
    const freed = { blobs: 0, bytes: 0 }
    for (const digest of found) {
      if (needed.has(digest)) continue
      const bytes = blobBytes(digest)
      if (bytes === undefined) continue
      await unlink(blobPath(digest))
      freed.blobs++
      freed.bytes += bytes
    }
    await syncFolder(blobsDir)
    return freed
  }

  /** Digests of all the blobs that are there. */
  async function blobs(): Promise<Digest[]> {
    const names = await readdir(blobsDir)
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}` as Digest)
  }

  return {
    path,
    lockPath: join(path, '.lock'),
    make,
    isThere,
    rows: () => current().rows,
    index: readIndex,
    blobPath,
    readBlob,
    blobBytes,
    blobs,
    neededBy,
    takeIn,
    copyIn,
    replaceIndex,
    sweep,
  }
}

/** Replaces a file in one step, which a power cut cannot undo. Its writers hold a lock: a leftover is overwritten. */
export async function replaceFile(path: string, text: string) {
  const next = `${path}.next`
  const handle = await open(next, 'w', 0o644)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(next, path).catch(async (error) => {
    await unlink(next)
    throw error
  })
  await syncFolder(join(path, '..'))
}

/** A rename is on disk only when its folder is. */
const syncFolder = syncFile
async function syncFile(path: string) {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

// The image store: an OCI image layout. index.json names the versions; it is replaced by one rename under one lock, so a
// version is there entirely or not at all, and older ones are never touched.
import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { mkdir, open, rename, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest, ImageName } from '../../src/address.ts'
import { parseImageName } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { ImageContent, ImageIndex, IndexRow } from '../../src/image/oci.ts'
import {
  configDigest,
  digestOf,
  emptyIndex,
  indexRows,
  nextVersion,
  parseImage,
  parseIndex,
  renderImage,
  renderIndex,
  withVersion,
} from '../../src/image/oci.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { makePrivate } from '../store/private-folder.ts'
import { openLayer } from './layer.ts'
import { withLock } from './lock.ts'
import type { Stage } from './stage.ts'
import { openStage, removeLeftovers } from './stage.ts'

export type Images = Awaited<ReturnType<typeof openImages>>

/** `img:3` or `img`, its newest version. */
export function parseImageReference(text: string): { name: ImageName; version: number | undefined } {
  const [name = '', version, ...more] = text.split(':')
  if (more.length > 0 || (version !== undefined && !/^[1-9]\d{0,8}$/.test(version)))
    throw new UserError('not an image', {
      what: JSON.stringify(text.slice(0, 100)),
      allowed: 'NAME or NAME:VERSION',
    })
  return { name: parseImageName(name), version: version === undefined ? undefined : Number(version) }
}

/** Opens the store, makes it when there is none, and removes what killed captures left behind. */
export async function openImages(imagesDir: string) {
  const blobsDir = join(imagesDir, 'blobs', 'sha256')
  const indexPath = join(imagesDir, 'index.json')
  const lockPath = join(imagesDir, '.lock')
  await makePrivate(imagesDir) // layers hold /etc/shadow
  await mkdir(blobsDir, { recursive: true })
  await withLock(lockPath, async () => {
    await writeFile(join(imagesDir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}\n')
    await stat(indexPath).catch(() => replaceIndex(emptyIndex()))
    await removeLeftovers(imagesDir)
  })

  const known = new Map<string, ImageVersion>() // versions are immutable: read once
  let read: { stamp: string; rows: IndexRow[] } | undefined

  const blobPath = (digest: Digest): string => join(blobsDir, digest.slice('sha256:'.length))

  /** Rows of the present index.json, read again when it has been replaced. */
  function rows(): IndexRow[] {
    const { ino, mtimeNs, size } = statSync(indexPath, { bigint: true })
    const stamp = `${ino} ${mtimeNs} ${size}`
    if (read?.stamp !== stamp) read = { stamp, rows: indexRows(readIndex()) }
    return read.rows
  }

  function readIndex(): ImageIndex {
    try {
      return parseIndex(readFileSync(indexPath, 'utf8'))
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      throw new UserError('image store is damaged', { what: error.message, object: indexPath, status: 500 })
    }
  }

  function load(row: IndexRow): ImageVersion | UserError {
    const key = `${versionName(row)} ${row.digest}`
    const version = known.get(key) ?? readVersion(row)
    if (!(version instanceof UserError)) known.set(key, version) // a damaged one may be repaired
    return version
  }

  function readVersion(row: IndexRow): ImageVersion | UserError {
    try {
      const manifest = readBlob(row.digest)
      return parseImage(row.name, row.version, manifest, readBlob(configDigest(manifest)))
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      if (!isMissing && !(error instanceof WireError)) throw error
      return new UserError('image is damaged', {
        what: (error as Error).message,
        object: versionName(row),
        status: 500,
      })
    }
  }

  function readBlob(digest: Digest): Buffer {
    const bytes = readFileSync(blobPath(digest))
    if (digestOf(bytes) !== digest) throw new WireError(`blob ${digest} has other content`)
    return bytes
  }

  /** All sound versions, by name, the newest of each name last. */
  function list(): ImageVersion[] {
    return rows()
      .map(load)
      .filter((version): version is ImageVersion => !(version instanceof UserError))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version - b.version))
  }

  /** What `list` leaves out: versions whose records are damaged. */
  const broken = (): UserError[] =>
    rows()
      .map(load)
      .filter((version): version is UserError => version instanceof UserError)

  /** That version, or the newest one. Throws UserError when its records are damaged. */
  function get(name: ImageName, version?: number): ImageVersion | undefined {
    const row = rows()
      .filter((r) => r.name === name && (version === undefined || r.version === version))
      .sort((a, b) => b.version - a.version)[0]
    const found = row && load(row)
    if (found instanceof UserError) throw found
    return found
  }

  /** Makes the next version of `name` out of staged blobs. When this returns, a power cut cannot take it away. */
  async function publish(stage: Stage, name: ImageName, content: ImageContent): Promise<ImageVersion> {
    const { config, manifest } = renderImage(content)
    await stage.writeBlob([config])
    const { digest } = await stage.writeBlob([manifest])
    return withLock(lockPath, async () => {
      for (const blob of stage.blobs) await rename(blob.path, blobPath(blob.digest))
      await syncFolder(blobsDir)
      const index = readIndex()
      const row = { name, version: nextVersion(index, name), digest }
      await replaceIndex(withVersion(index, row, manifest.length))
      const version = load(row)
      if (version instanceof UserError) throw version
      return version
    })
  }

  async function replaceIndex(index: ImageIndex) {
    const next = `${indexPath}.next` // one name: we hold the lock, and a leftover is overwritten
    const handle = await open(next, 'w', 0o644)
    try {
      await handle.writeFile(renderIndex(index))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(next, indexPath).catch(async (error) => {
      await unlink(next)
      throw error
    })
    await syncFolder(imagesDir)
  }

  /** Reads every blob of a version and names those whose content is not what their digest says. */
  async function verify(version: ImageVersion): Promise<UserError[]> {
    const { layers, manifest, kernel, modules } = version
    const refs = [{ digest: version.digest }, ...layers, manifest, kernel, modules]
    const faults: UserError[] = []
    for (const { digest } of refs) {
      const found = await hashFile(blobPath(digest)).catch((error) => (error as Error).message)
      if (found !== digest)
        faults.push(
          new UserError('blob is damaged', { what: `${digest}: ${found}`, object: versionName(version) }),
        )
    }
    return faults
  }

  return { list, broken, get, publish, verify, blobPath, openStage: () => openStage(imagesDir), openLayer }
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer)
  return `sha256:${hash.digest('hex')}`
}

/** A rename is on disk only when its folder is. */
async function syncFolder(path: string) {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

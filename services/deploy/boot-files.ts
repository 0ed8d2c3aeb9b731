// The kernels and initrds of boot-only osimages: copied from the paths that an admin names, kept by digest, so that what
// nodes boot is what was there when it was defined, whole, whatever becomes of the file.
import { createHash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../../src/address.ts'
import { isDiskFull, UserError } from '../../src/fault.ts'
import type { ReadFiles } from '../../src/image/osimage.ts'
import type { BlobRef } from '../../src/image/version.ts'
import { makePrivate } from '../store/private-folder.ts'

const MOST_BYTES = 4 * 2 ** 30
const chunkBytes = 1 << 20

/**
 * Opens the folder, makes it when there is none, and removes what no osimage needs any more. Call it before anything can be
 * defined: a file that was just kept is not named by a definition yet.
 */
export async function openBootFiles(folder: string, inUse: ReadonlySet<Digest>) {
  const staging = join(folder, 'staging')
  const blobs = join(folder, 'blobs', 'sha256')
  await rm(staging, { recursive: true, force: true })
  await makePrivate(folder) // an initrd may hold what only root could read where it came from
  for (const path of [staging, blobs]) await mkdir(path, { recursive: true })
  for (const name of await readdir(blobs))
    if (!inUse.has(`sha256:${name}` as Digest)) await rm(join(blobs, name), { force: true })

  /** Reads these files and keeps them; throws UserError naming the first that can not be had, and then keeps nothing. */
  async function keep(paths: string[]): Promise<ReadFiles> {
    const staged: { path: string; file: string; blob: BlobRef }[] = []
    try {
      for (const path of paths) {
        const file = join(staging, randomBytes(8).toString('hex'))
        staged.push({ path, file, blob: { digest: 'sha256:' as Digest, bytes: 0 } })
        staged.at(-1)!.blob = await copy(path, file)
      }
      for (const { file, blob } of staged)
        await rename(file, join(blobs, blob.digest.slice('sha256:'.length)))
      if (staged.length > 0) await syncFolder(blobs)
    } finally {
      for (const { file } of staged) await rm(file, { force: true })
    }
    return Object.fromEntries(staged.map(({ path, blob }) => [path, blob]))
  }

  return { keep }
}
export type BootFiles = Awaited<ReturnType<typeof openBootFiles>>

async function copy(path: string, to: string): Promise<BlobRef> {
  const source = await openSource(path)
  try {
    const target = await open(to, 'wx', 0o644).catch((error) =>
      refuse('the file can not be kept', path, error),
    )
    try {
      const blob = await copyBytes(source, target, path)
      await target.sync().catch((error) => refuse('the file can not be kept', path, error))
      return blob
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** Not blocking: a named pipe would hold us until somebody writes into it. */
async function openSource(path: string): Promise<FileHandle> {
  const { O_RDONLY, O_NONBLOCK } = constants
  const source = await open(path, O_RDONLY | O_NONBLOCK).catch((error) =>
    refuse('the file can not be read', path, error),
  )
  const found = await source.stat()
  const why = !found.isFile()
    ? 'not a regular file'
    : found.size === 0
      ? 'empty'
      : found.size > MOST_BYTES
        ? `${found.size} bytes`
        : undefined
  if (why === undefined) return source
  await source.close()
  throw new UserError('not a kernel or initrd', {
    what: `${path}: ${why}`,
    allowed: `a file of 1 to ${MOST_BYTES} bytes`,
  })
}

async function copyBytes(source: FileHandle, target: FileHandle, path: string): Promise<BlobRef> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(chunkBytes)
  let bytes = 0
  for (;;) {
    const { bytesRead } = await source
      .read(buffer, 0, chunkBytes)
      .catch((error) => refuse('the file can not be read', path, error))
    if (bytesRead === 0) return { digest: `sha256:${hash.digest('hex')}` as Digest, bytes }
    const part = buffer.subarray(0, bytesRead)
    hash.update(part)
    bytes += bytesRead
    if (bytes > MOST_BYTES) refuse('the file grows while it is read', path, new Error(`${bytes} bytes`))
    await target.writeFile(part).catch((error) => refuse('the file can not be kept', path, error))
  }
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

function refuse(error: string, path: string, cause: NodeJS.ErrnoException): never {
  const status = isDiskFull(cause) ? 507 : 400
  throw new UserError(error, { what: `${path}: ${cause.code ?? cause.message}`, status })
}

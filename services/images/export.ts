// `imgexport`: a version as an OCI archive (a tar of an OCI image layout), which skopeo reads as oci-archive:FILE. Beside what
// OCI knows it has our own blobs (kernel, modules, file manifest), so that it comes back as the very same version.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { UserError } from '../../src/fault.ts'
import { emptyIndex, renderIndex, withVersion } from '../../src/image/oci.ts'
import { renderTarHeader, tarEnd, tarPadding } from '../../src/image/tar-write.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Outlet } from './outlet.ts'
import type { Images } from './store.ts'
import type { WorkProgress } from './work-progress.ts'

type Needs = {
  images: Pick<Images, 'refs' | 'placeOf'>
  version: ImageVersion
  outlet: Outlet
  progress: WorkProgress
  signal: AbortSignal
}

/** Answers with the bytes of the archive; throws UserError when a blob is damaged, and the archive is then not whole. */
export async function exportImage(needs: Needs): Promise<number> {
  const { images, version, outlet, progress, signal } = needs
  const refs = images.refs(version)
  const mtime = Math.floor(Date.parse(version.createdAt) / 1000) || 0
  let written = 0
  const write = async (bytes: Buffer) => {
    written += bytes.length
    await outlet.write(bytes)
  }
  async function file(path: string, content: Buffer) {
    await write(renderTarHeader({ path, type: 'file', mode: 0o644, size: content.length, mtime }))
    await write(content)
    await write(tarPadding(content.length))
  }
  async function blob(ref: BlobRef) {
    const path = `blobs/sha256/${ref.digest.slice('sha256:'.length)}`
    await write(renderTarHeader({ path, type: 'file', mode: 0o644, size: ref.bytes, mtime }))
    for await (const chunk of checked(images.placeOf(version).blobPath(ref.digest), ref, version)) {
      signal.throwIfAborted()
      await write(chunk)
      progress.add(chunk.length)
    }
    await write(tarPadding(ref.bytes))
  }
  progress.phase(
    'blobs',
    0,
    100,
    refs.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  await file('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}\n'))
  await file('index.json', Buffer.from(renderIndex(withVersion(emptyIndex(), version, refs[0]!.bytes))))
  for (const path of ['blobs', 'blobs/sha256'])
    await write(renderTarHeader({ path, type: 'directory', mode: 0o755, mtime }))
  for (const ref of refs) await blob(ref)
  await write(tarEnd())
  return written
}

async function* checked(path: string, { digest, bytes }: BlobRef, version: ImageVersion) {
  const hash = createHash('sha256')
  let size = 0
  const damaged = (what: string) =>
    new UserError('blob is damaged', {
      what,
      allowed: 'sysclone fsck',
      object: versionName(version),
      status: 500,
    })
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Buffer)
      size += (chunk as Buffer).length
      if (size > bytes) throw damaged(`${digest} is longer than ${bytes} bytes`)
      yield chunk as Buffer
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw damaged(`${digest} is missing`)
    throw error
  }
  if (`sha256:${hash.digest('hex')}` !== digest || size !== bytes) throw damaged(digest)
}

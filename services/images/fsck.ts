// `sysclone fsck`: every blob that a version needs is read and compared with its digest.
import type { Digest } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { hashFile } from './hash-file.ts'
import type { Outlet } from './outlet.ts'
import type { Images } from './store.ts'
import type { WorkProgress } from './work-progress.ts'

type Check = { digest: Digest; bytes: number; path: string; versions: string[] }
type Needs = {
  images: Images
  versions: readonly ImageVersion[]
  damaged: readonly UserError[] // versions whose records cannot be read
  progress: WorkProgress
  signal: AbortSignal
  outlet: Outlet
}

/** Writes a JSON object a line for what is damaged; throws UserError when anything is. Answers with what was read. */
export async function checkImages(needs: Needs): Promise<string> {
  const { versions, damaged, progress, signal, outlet } = needs
  const checks = checksOf(needs)
  const total = checks.reduce((sum, { bytes }) => sum + bytes, 0)
  progress.phase('reading', 0, 100, total)
  let faults = damaged.length
  for (const { fault } of damaged)
    await outlet.write(
      `${JSON.stringify({ versions: fault.object ? [fault.object] : [], error: fault.error, what: fault.what })}\n`,
    )
  for (const check of checks) {
    signal.throwIfAborted()
    const wrong = await wrongWith(check, progress.add)
    if (wrong === undefined) continue
    faults++
    const { digest, bytes } = check
    await outlet.write(`${JSON.stringify({ versions: check.versions, digest, bytes, ...wrong })}\n`)
  }
  const read = `${checks.length} blobs of ${versions.length} versions, ${(total / 1e6).toFixed(1)} MB`
  if (faults === 0) return read
  throw new UserError(`${faults} ${faults === 1 ? 'fault' : 'faults'} in the image store`, {
    what: read,
    allowed: 'what is damaged put back from a copy (imgimport), or captured anew',
    status: 500,
  })
}

/** Each blob once, however many versions share it. */
function checksOf({ images, versions }: Needs): Check[] {
  const checks = new Map<string, Check>()
  for (const version of versions)
    for (const { digest, bytes } of images.refs(version)) {
      const path = images.placeOf(version).blobPath(digest)
      const known = checks.get(path)
      if (known) known.versions.push(versionName(version))
      else checks.set(path, { digest, bytes, path, versions: [versionName(version)] })
    }
  return [...checks.values()]
}

async function wrongWith({ digest, path }: Check, read: (bytes: number) => void) {
  try {
    const found = await hashFile(path, read)
    return found === digest ? undefined : { error: 'blob is damaged', what: `its content is ${found}` }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return { error: code === 'ENOENT' ? 'blob is missing' : 'blob cannot be read', what: code ?? message }
  }
}

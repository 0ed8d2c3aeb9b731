// `imgimport`: an image that was built or kept elsewhere becomes the next version of an osimage. What was ours comes back as
// it was: its layers, and its digest when all of its blobs came with it. What is foreign (an OCI image, a root tarball, a
// folder) is laid into layers of ours, and what a capture learns from its golden client is read from the files themselves
// and from a layout file.
import type { Digest } from '../../../src/address.ts'
import { isDiskFull, UserError, WireError } from '../../../src/fault.ts'
import { chooseManifest, parseOciConfig, parseOciManifest } from '../../../src/image/oci-choice.ts'
import { refuseOtherKind } from '../../../src/image/osimage.ts'
import type { ImageVersion } from '../../../src/image/version.ts'
import { importForeign, importRoot } from './foreign.ts'
import type { ImportNeeds, Work } from './needs.ts'
import { importOurs } from './ours.ts'
import {
  archiveFolder,
  kindOf,
  needed,
  type OciSource,
  openFile,
  openOciArchive,
  openOciFolder,
} from './source.ts'

export async function importImage(needs: ImportNeeds): Promise<ImageVersion> {
  const { images, place, source } = needs
  const kind = await kindOf(source)
  const stage = await images.openStage(place)
  const scratch = await images.openStage(place)
  const work = { ...needs, stage, scratch }
  try {
    if (kind.startsWith('root-')) refuseOtherKind(needs.image, needs.is, 'sysclone')
    if (kind === 'root-archive') return await importRoot(work, openFile(source))
    if (kind === 'root-folder') return await importRoot(work, archiveFolder(source))
    work.progress.phase('read', 0)
    const open = kind === 'oci-folder' ? openOciFolder : openOciArchive
    return await importOci(work, await open(source, scratch))
  } catch (error) {
    throw explained(error, source)
  } finally {
    await Promise.all([stage.close(), scratch.close()])
  }
}

function explained(error: unknown, source: string): unknown {
  if (isDiskFull(error))
    return new UserError('no room for the image', {
      what: source,
      allowed: 'a place with room: -l',
      status: 507,
    })
  if (error instanceof WireError)
    return new UserError('the source is damaged', { what: error.message, object: source })
  return error
}

async function importOci(work: Work, source: OciSource): Promise<ImageVersion> {
  const manifest = await chosenManifest(work, source)
  const known = parseOciManifest(manifest.content)
  const config = parseOciConfig((await needed(source, known.config.digest as Digest)).content)
  const labels = config.config?.Labels ?? {}
  refuseOtherKind(work.image, work.is, labels['sysclone.kind'] === 'diskless' ? 'diskless' : 'sysclone')
  return labels['sysclone.layout'] === undefined
    ? importForeign(work, source, known, config)
    : importOurs(work, source, manifest, known, config)
}

async function chosenManifest({ choose }: Work, source: OciSource) {
  let index = source.index
  for (let depth = 0; depth < 4; depth++) {
    const { digest, isIndex } = chooseManifest(
      index,
      depth === 0 ? choose : { ...(choose.arch && { arch: choose.arch }) },
    )
    const blob = await needed(source, digest)
    if (!isIndex) return blob
    index = blob.content
  }
  throw new UserError('the source has indexes within indexes', { what: 'more than 4 deep' })
}

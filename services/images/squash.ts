// `sysclone squash img`: the next version, with the same tree in few layers. A version that was captured again and again has
// a layer for each time; what was replaced in them takes room, and each costs an install a stream of its own.
import { growTree } from '../../src/image/tree.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { closeLayers, type LayerReader, openLayers } from './layer.ts'
import { indexLayer } from './layer-index.ts'
import { checkManifest, renderManifest } from './manifest.ts'
import type { Member } from './relay.ts'
import { relay } from './relay.ts'
import type { Stage } from './stage.ts'
import type { Images } from './store.ts'
import type { WorkProgress } from './work-progress.ts'

type Needs = { images: Images; version: ImageVersion; progress: WorkProgress; signal: AbortSignal; now: Date }

export async function squashVersion(needs: Needs): Promise<ImageVersion> {
  const { images, version, progress } = needs
  const stage = await images.openStage(version.place)
  const place = images.placeOf(version)
  const readers = await openLayers(version.layers.map(({ digest }) => place.blobPath(digest)))
  try {
    const { layers, members } = await layAnew(stage, readers, needs)
    progress.phase('publish', 98)
    const manifest = await stage.writeBlob(renderManifest(members))
    const { name, version: number, digest: _, tarBytes: __, place: ___, base: ____, ...content } = version
    return await images.publish(stage, name, {
      ...content,
      createdAt: needs.now.toISOString(),
      layers,
      manifest: { digest: manifest.digest, bytes: manifest.bytes },
      origin: `squash of ${versionName({ name, version: number })}`,
    })
  } finally {
    await closeLayers(readers)
    await stage.close()
  }
}

async function layAnew(stage: Stage, readers: LayerReader[], needs: Needs) {
  const { version, progress, signal } = needs
  progress.phase('index', 0, 35, version.tarBytes)
  const tree = growTree()
  for (const [i, reader] of readers.entries()) {
    signal.throwIfAborted()
    tree.add(await indexLayer(reader, version.layers[i]!, progress.add))
  }
  const entries = tree.entries()
  const manifest = needs.images.placeOf(version).blobPath(version.manifest.digest)
  const known = await checkManifest(manifest, versionName(version), entries)
  progress.phase(
    'layers',
    35,
    98,
    entries.reduce((sum, { content }) => sum + content.end - content.offset, 0),
  )
  const laid = await relay({ stage, entries, missing: [], readers, progress: progress.add, signal })
  // What the capture knew beside the archive is what the next capture compares with.
  const members = laid.members.map(
    ({ facts, stored }): Member => ({ facts, stored: { ...stored, ...known.get(facts.path) } }),
  )
  return { layers: laid.layers, members }
}

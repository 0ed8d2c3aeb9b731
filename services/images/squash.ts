// `sysclone squash img`: the next version, with the same tree in few layers. A version that was captured again and again has
// a layer for each time; what was replaced in them takes room, and each costs an install a stream of its own.
import { UserError } from '../../src/fault.ts'
import { parseManifestLine, renderCompareLine } from '../../src/image/compare-line.ts'
import type { TreeEntry } from '../../src/image/tree.ts'
import { growTree } from '../../src/image/tree.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { openLayer } from './layer.ts'
import { indexLayer } from './layer-index.ts'
import { readManifest, renderManifest } from './manifest.ts'
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
  const readers = await Promise.all(version.layers.map(({ digest }) => openLayer(place.blobPath(digest))))
  try {
    const { layers, members } = await layAnew(stage, readers, needs)
    progress.phase('publish', 98)
    const manifest = await stage.writeBlob([await renderManifest(members)])
    const { name, version: number, digest: _, tarBytes: __, place: ___, ...content } = version
    return await images.publish(stage, name, {
      ...content,
      createdAt: needs.now.toISOString(),
      layers,
      manifest: { digest: manifest.digest, bytes: manifest.bytes },
      origin: `squash of ${versionName({ name, version: number })}`,
    })
  } finally {
    await Promise.allSettled(readers.map((reader) => reader.close()))
    await stage.close()
  }
}

async function layAnew(stage: Stage, readers: Awaited<ReturnType<typeof openLayer>>[], needs: Needs) {
  const { version, progress, signal } = needs
  progress.phase('index', 0, 35, version.tarBytes)
  const tree = growTree()
  for (const [i, reader] of readers.entries()) {
    signal.throwIfAborted()
    tree.add(await indexLayer(reader, version.layers[i]!, progress.add))
  }
  const entries = tree.entries()
  const known = await knownOf(entries, needs)
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

/** What the manifest says beyond the layers, by path. Throws UserError when the two do not agree: something is lost. */
async function knownOf(entries: readonly TreeEntry[], { images, version }: Needs) {
  const there = new Map(entries.map((entry) => [entry.facts.path, renderCompareLine(entry.facts)]))
  const known = new Map<string, { inode?: string; ctimeNs?: string }>()
  const disagree = (path: string) =>
    new UserError('the file manifest and the layers do not agree', {
      what: `/${path}`,
      object: versionName(version),
      status: 500,
    })
  await readManifest(images, version, (line) => {
    const {
      sha256: _,
      xattrs: __,
      layer: ___,
      offset: ____,
      inode,
      ctimeNs,
      ...facts
    } = parseManifestLine(line)
    if (there.get(facts.path) !== renderCompareLine(facts)) throw disagree(facts.path)
    there.delete(facts.path)
    known.set(facts.path, {
      ...(inode !== undefined && { inode }),
      ...(ctimeNs !== undefined && { ctimeNs }),
    })
  })
  for (const path of there.keys()) throw disagree(path)
  return known
}

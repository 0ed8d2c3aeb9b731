// What was ours: its layers are kept, and what other tools dropped is made anew.
import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import type { Digest } from '../../../src/address.ts'
import { UserError } from '../../../src/fault.ts'
import type { LayerMember } from '../../../src/image/archive-index.ts'
import { escapePath } from '../../../src/image/compare-line.ts'
import { manifestRefs } from '../../../src/image/oci.ts'
import type { OciConfig, OciManifest } from '../../../src/image/oci-choice.ts'
import { supersededPattern } from '../../../src/image/superseded.ts'
import type { TreeEntry } from '../../../src/image/tree.ts'
import { growTree } from '../../../src/image/tree.ts'
import type { Arch, BlobRef, ImageVersion } from '../../../src/image/version.ts'
import { isWhiteout } from '../../../src/image/whiteout.ts'
import { closeLayers, type LayerReader, openLayers } from '../layer.ts'
import { indexLayer } from '../layer-index.ts'
import { checkManifest, renderManifest } from '../manifest.ts'
import type { Member } from '../relay.ts'
import type { StagedBlob } from '../stage.ts'
import type { Netboot, Work } from './needs.ts'
import type { OciSource } from './source.ts'
import { netbootBlobs } from './system.ts'

const compress = promisify(zstdCompress)

/** Its layers are kept. All that stands in annotations comes back too, where it came with them; else it is made anew. */
export async function importOurs(
  work: Work,
  source: OciSource,
  manifest: { blob: StagedBlob; content: Buffer },
  known: OciManifest,
  config: OciConfig,
): Promise<ImageVersion> {
  const { stage, images, image, progress } = work
  const blobs = new Map<Digest, StagedBlob>()
  for (const { digest } of manifestRefs(manifest.content).blobs) {
    const blob = await source.stageBlob(digest)
    if (blob) blobs.set(digest, blob)
  }
  const layers = known.layers.map(({ digest }) => blobs.get(digest as Digest) ?? missing(digest))
  progress.phase(
    'index',
    20,
    80,
    layers.reduce((sum, { bytes }) => sum + bytes * 3, 0),
  )
  const readers = await openLayers(layers.map(({ path }) => path))
  try {
    const { entries, members } = await treeOf(readers, config, layers, work)
    for (const blob of [...blobs.values()]) stage.adopt(blob)
    const json = JSON.parse(manifest.content.toString('utf8'))
    const isWhole = await isComplete(json, blobs, entries)
    if (isWhole) stage.adopt(manifest.blob)
    const content = isWhole
      ? manifest.content
      : await completed(json, {
          ...{ work, blobs, entries, members, readers, labels: config.config!.Labels! },
          layerPaths: layers.map(({ path }) => path),
        })
    progress.phase('publish', 98)
    return await images.publishManifest(stage, image, content)
  } finally {
    await closeLayers(readers)
  }
}

const missing = (digest: string): never => {
  throw new UserError('a blob of the image is missing', { what: digest, allowed: 'the whole image layout' })
}

async function treeOf(
  readers: readonly LayerReader[],
  config: OciConfig,
  layers: readonly { digest: Digest }[],
  { progress, signal }: Work,
) {
  const tree = growTree()
  const members: (readonly LayerMember[])[] = []
  for (const [i, reader] of readers.entries()) {
    signal.throwIfAborted()
    const diffId = (config.rootfs.diff_ids[i] ?? '') as Digest
    members.push(await indexLayer(reader, { digest: layers[i]!.digest, diffId }, progress.add))
    tree.add(members[i]!)
  }
  return { entries: tree.entries(), members }
}

const ours = ['sysclone.kernel', 'sysclone.modules', 'sysclone.manifest'] as const

/** Every annotation that names a blob has it, those of the layers are there, and the file manifest says what is in them. */
async function isComplete(
  { annotations = {}, layers }: { annotations?: Record<string, string>; layers: { annotations?: object }[] },
  blobs: ReadonlyMap<Digest, StagedBlob>,
  entries: readonly TreeEntry[],
): Promise<boolean> {
  const refs = Object.values(annotations).filter(isRef)
  const isThere = refs.every((text) => blobs.has(text.split(' ')[0] as Digest))
  const isAnnotated = layers.every((layer) => 'sysclone.tar.bytes' in (layer.annotations ?? {}))
  if (!isThere || !isAnnotated || !ours.every((key) => Object.hasOwn(annotations, key))) return false
  const manifest = blobs.get(annotations['sysclone.manifest']!.split(' ')[0] as Digest)!
  await checkManifest(manifest.path, 'the source', entries)
  return true
}

type Completion = {
  work: Work
  blobs: ReadonlyMap<Digest, StagedBlob>
  entries: readonly TreeEntry[]
  members: readonly (readonly LayerMember[])[]
  readers: readonly LayerReader[]
  layerPaths: string[]
  labels: Record<string, string>
}

/** The manifest with our annotations: other tools drop them, and the blobs that only they name. */
async function completed(json: any, needs: Completion): Promise<Buffer> {
  const { work, blobs, entries, members } = needs
  const { stage } = work
  work.progress.phase('kernel', 80)
  const isKept = (text: string) => !isRef(text) || blobs.has(text.split(' ')[0] as Digest)
  const annotations: Record<string, string> = Object.fromEntries(
    Object.entries((json.annotations ?? {}) as Record<string, string>).filter(([, text]) => isKept(text)),
  )
  annotations['org.opencontainers.image.created'] ??= work.now.toISOString()
  const laid = entries.map(({ facts, stored }): Member => ({ facts, stored }))
  const { netbootKey: _, ...netboot } = await netbootOf(needs, laid)
  for (const [name, ref] of Object.entries(netboot)) annotations[`sysclone.${name}`] ??= refText(ref)
  annotations['sysclone.manifest'] ??= refText(await stage.writeBlob(renderManifest(laid)))
  for (const [i, text] of supersededOf(members, entries).entries()) {
    delete annotations[`sysclone.superseded.${i}`]
    if (text !== '')
      annotations[`sysclone.superseded.${i}`] = refText(
        await stage.writeBlob([await compress(Buffer.from(text, 'latin1'))]),
      )
  }
  const layers = json.layers.map((layer: any, i: number) => ({
    ...layer,
    annotations: { ...layer.annotations, ...layerNotes(members[i]!) },
  }))
  const content = Buffer.from(JSON.stringify({ ...json, layers, annotations }))
  await stage.writeBlob([content])
  return content
}

const isRef = (text: string) => /^sha256:[0-9a-f]{64} \d+$/.test(text)

function netbootOf(
  { work, readers, layerPaths, labels }: Completion,
  laid: readonly Member[],
): Promise<Netboot> {
  const label = (key: string) => labels[`sysclone.${key}`] ?? ''
  const [arch, kernelRelease, layout] = [
    label('arch') as Arch,
    label('kernel.release'),
    JSON.parse(label('layout')),
  ]
  const os = { id: label('os.id'), version: label('os.version'), name: label('os.name') }
  return netbootBlobs(work, { laid, readers, layerPaths, system: { arch, os, kernelRelease, layout } })
}

/** Of each layer the text that names those of its members that later layers replace or remove. */
function supersededOf(members: readonly (readonly LayerMember[])[], entries: readonly TreeEntry[]): string[] {
  const layerOf = new Map(entries.map(({ facts, stored }) => [facts.path, stored.layer]))
  return members.map((layer, i) =>
    layer
      .filter(({ facts }) => !isWhiteout(facts.path) && layerOf.get(facts.path) !== i)
      .map(({ facts }) => `${supersededPattern(escapePath(facts.path))}\n`)
      .join(''),
  )
}

const refText = ({ digest, bytes }: BlobRef) => `${digest} ${bytes}`
function layerNotes(members: readonly LayerMember[]) {
  const whiteouts = members.filter(({ facts }) => isWhiteout(facts.path)).length
  return {
    'sysclone.tar.bytes': String((members.at(-1)?.end ?? 0) + 1024),
    'sysclone.entries': String(members.length),
    'sysclone.directories': String(members.some(({ facts }) => facts.type === 'd')),
    ...(whiteouts > 0 && { 'sysclone.whiteouts': String(whiteouts) }),
  }
}

// What is foreign: an OCI image, a root tarball or a folder, laid into layers of ours.
import type { Digest } from '../../../src/address.ts'
import { UserError } from '../../../src/fault.ts'
import type { LayerMember } from '../../../src/image/archive-index.ts'
import { indexArchive } from '../../../src/image/archive-index.ts'
import { filesystemsOf } from '../../../src/image/disks.ts'
import { makeExclude } from '../../../src/image/excludes.ts'
import type { LayoutFile } from '../../../src/image/layout-file.ts'
import { parseLayoutText } from '../../../src/image/layout-text.ts'
import { searchLines } from '../../../src/image/line-search.ts'
import type { OciConfig, OciManifest } from '../../../src/image/oci-choice.ts'
import { makePreflight, renderPreflight } from '../../../src/image/preflight.ts'
import { renderRules, rulesOf } from '../../../src/image/scrub.ts'
import { namedFiles, scrubFiles } from '../../../src/image/scrub-files.ts'
import type { TreeEntry } from '../../../src/image/tree.ts'
import { growTree } from '../../../src/image/tree.ts'
import type { BlobRef, ImageVersion } from '../../../src/image/version.ts'
import { isWhiteout } from '../../../src/image/whiteout.ts'
import { closeLayers, type LayerReader, openLayers } from '../layer.ts'
import { openLayerWriter } from '../layer-writer.ts'
import { renderManifest } from '../manifest.ts'
import { relay } from '../relay.ts'
import type { StagedBlob } from '../stage.ts'
import type { Work } from './needs.ts'
import { mustStage, notAnArchive, type OciSource, openFile } from './source.ts'
import { systemOf } from './system.ts'

type RawLayer = { blob: StagedBlob; members: readonly LayerMember[]; diffId: Digest; tarBytes: number }

export async function importForeign(
  work: Work,
  source: OciSource,
  manifest: OciManifest,
  config: OciConfig,
): Promise<ImageVersion> {
  const { progress, scratch } = work
  const raw: RawLayer[] = []
  for (const [i, { mediaType, digest }] of manifest.layers.entries()) {
    if (!/[./]tar([+.](gzip|zstd))?$/.test(mediaType))
      throw new UserError('a layer of this kind is not read', {
        what: mediaType,
        allowed: 'tar, tar+gzip, tar+zstd',
      })
    progress.phase('read', Math.floor((40 * i) / manifest.layers.length))
    const blob = await mustStage(source, digest as Digest)
    const layer = await takeLayer(work, openFile(blob.path), digest)
    if (layer.diffId !== config.rootfs.diff_ids[i])
      throw new UserError('a layer of the source is damaged', {
        what: `${digest}: its archive is ${layer.diffId}, not ${config.rootfs.diff_ids[i]}`,
      })
    await scratch.drop(blob)
    raw.push(layer)
  }
  return publishTree(work, raw, config.architecture)
}

export async function importRoot(work: Work, archive: AsyncIterable<Buffer>): Promise<ImageVersion> {
  work.progress.phase('read', 0)
  const layer = await takeLayer(work, archive, work.source)
  // In an archive of a whole system such a name is a file, and no layer can have it.
  const wrong = layer.members.find(({ facts }) => isWhiteout(facts.path))
  if (wrong)
    throw new UserError('names beginning with .wh. cannot be imported', {
      what: `/${wrong.facts.path}`,
      allowed: 'rename or remove them: in an image they mean "deleted"',
    })
  return publishTree(work, [layer], undefined)
}

/** An archive as a layer that can be read at any offset, in the scratch stage. */
async function takeLayer(
  { scratch, signal, progress }: Work,
  archive: AsyncIterable<Buffer>,
  name: string,
): Promise<RawLayer> {
  const writer = await openLayerWriter(scratch)
  const index = indexArchive()
  try {
    for await (const chunk of archive) {
      signal.throwIfAborted()
      index.push(chunk)
      await writer.write(chunk)
      progress.add(chunk.length)
    }
    index.end()
    return { ...(await writer.end()), members: index.members }
  } catch (error) {
    throw notAnArchive(name, error)
  } finally {
    await writer.close()
  }
}

async function publishTree(
  work: Work,
  raw: readonly RawLayer[],
  archName: string | undefined,
): Promise<ImageVersion> {
  const { stage, images, image, progress, signal, source, now, excludes } = work
  const tree = growTree()
  for (const { members } of raw) tree.add(members)
  const sources = await openLayers(raw.map(({ blob }) => blob.path))
  let laid: Awaited<ReturnType<typeof relay>>
  let layout: LayoutFile
  let taken: Awaited<ReturnType<typeof takenOf>>
  try {
    layout = await layoutOf(work, tree.entries(), sources)
    taken = await takenOf(work, tree.entries(), sources)
    const { entries } = taken
    progress.phase(
      'layers',
      40,
      90,
      entries.reduce((sum, { content }) => sum + content.end - content.offset, 0),
    )
    const missing = missingFolders(entries, tree.undescribed(), layout)
    laid = await relay({ stage, entries, missing, readers: sources, progress: progress.add, signal })
  } finally {
    await closeLayers(sources)
  }
  const readers = await openLayers(
    laid.layers.map(({ digest }) => stage.blobs.find((blob) => blob.digest === digest)!.path),
  )
  try {
    progress.phase('kernel', 90)
    const facts = await systemOf(work, { laid, readers, layout, archName })
    progress.phase('publish', 98)
    const manifest = await stage.writeBlob(renderManifest(laid.members))
    return await images.publish(stage, image, {
      createdAt: now.toISOString(),
      firmware: layout.firmware,
      layout: layout.layout,
      ...facts,
      layers: laid.layers,
      manifest: refOf(manifest),
      ...(excludes?.length && { excludes: [...excludes] }),
      scrub: renderRules(taken.rules),
      preflight: refOf(await stage.writeBlob([Buffer.from(renderPreflight(taken.preflightOf(layout)))])),
      origin: `import of ${source}`,
    })
  } finally {
    await closeLayers(readers)
  }
}

/** What is taken, by the rules of a capture; what names do not tell is looked for in the files. */
async function takenOf(
  { excludes = [], scrub, signal }: Work,
  all: readonly TreeEntry[],
  sources: readonly LayerReader[],
) {
  const rules = rulesOf(scrub)
  const isExcluded = makeExclude({ patterns: excludes })
  const kept = all.filter(({ facts }) => isExcluded(facts.path, facts.type) === undefined)
  const byPath = new Map(kept.map((entry) => [entry.facts.path, entry]))
  const crypttab = byPath.get('etc/crypttab')
  const { counts, unread, left } = await scrubFiles({
    files: kept.map(({ facts }) => facts),
    rules,
    named: namedFiles(crypttab?.facts.type === 'f' ? await readTable(crypttab, sources) : undefined),
    async inspect(form, paths) {
      const found = new Set<string>()
      for (const path of paths) {
        signal.throwIfAborted()
        const { facts, content } = byPath.get(path)!
        if (facts.type === 'f' && (await holds(sources[content.layer]!.streamFile(content.offset), form)))
          found.add(path)
      }
      return found
    },
  })
  const preflightOf = ({ layout }: LayoutFile) =>
    makePreflight({ processes: [], staysOut: [], refusals: [], warnings: [], layout }, rules, {
      counts,
      unread,
    })
  return {
    entries: kept.filter(({ facts }) => left(facts.path, facts.type) === undefined),
    ...{ rules, preflightOf },
  }
}

const readTable = async ({ content }: TreeEntry, sources: readonly LayerReader[]): Promise<string> =>
  (await sources[content.layer]!.readFile(content.offset, MAX_TABLE)).toString('latin1')

async function holds(file: AsyncIterable<Buffer>, form: string): Promise<boolean> {
  const search = searchLines(form)
  for await (const piece of file) if (search.push(piece)) return true
  return search.end()
}

const MAX_TABLE = 1 << 20
const refOf = ({ digest, bytes }: BlobRef): BlobRef => ({ digest, bytes })
/** What SystemImager, or who has used it, wrote into the image; the first one counts. */
const siConfs = ['etc/systemimager/autoinstallscript.conf', 'etc/systemimager/disks-layout.xml']
const mdadmConfs = ['etc/mdadm/mdadm.conf', 'etc/mdadm.conf']

/** What the person says, in YAML or in SystemImager's XML, else what is in the image. */
async function layoutOf(
  { layout, makeUuid }: Work,
  entries: readonly TreeEntry[],
  sources: readonly LayerReader[],
): Promise<LayoutFile> {
  const byPath = new Map(entries.map((entry) => [entry.facts.path, entry]))
  const isTable = (path: string) => {
    const facts = byPath.get(path)?.facts
    return facts?.type === 'f' && (facts.size ?? 0) <= MAX_TABLE
  }
  /** The first of these that is there. */
  async function read(paths: readonly string[]): Promise<{ name: string; text: string } | undefined> {
    const name = paths.find(isTable)
    if (name === undefined) return undefined
    return { name, text: Buffer.from(await readTable(byPath.get(name)!, sources), 'latin1').toString('utf8') }
  }
  const conf = layout === undefined ? await read(siConfs) : { name: 'layout', text: layout }
  if (conf === undefined)
    throw new UserError('the image says nothing of disks', {
      what: `no layout file, and no ${siConfs.map((path) => `/${path}`).join(' or ')} in it`,
      allowed: '--layout FILE',
    })
  const contentBytes = entries.reduce((sum, { facts }) => sum + (facts.size ?? 0) + 4096, 0)
  const mdadmConf = (await read(mdadmConfs))?.text ?? ''
  return parseLayoutText(conf.text, { name: conf.name, contentBytes, makeUuid, mdadmConf })
}

/** What a running system needs to mount on, and what lies in no folder that has an entry. */
function missingFolders(
  entries: readonly TreeEntry[],
  undescribed: readonly string[],
  { layout }: LayoutFile,
) {
  const types = new Map(entries.map(({ facts }) => [facts.path, facts.type]))
  const mounts = filesystemsOf(layout).flatMap(({ mountpoint }) => mountpoint ?? [])
  const wanted = new Map<string, number>()
  const want = (path: string, mode: number) => {
    const parts = path.split('/')
    for (let i = 1; i <= parts.length; i++) {
      const each = parts.slice(0, i).join('/')
      const type = types.get(each)
      if (type !== undefined && type !== 'd') return // a link: what it leads to is the image's affair
      if (type === undefined && !wanted.has(each)) wanted.set(each, i === parts.length ? mode : 0o755)
    }
  }
  for (const path of ['.', 'proc', 'sys', 'dev', 'run', ...undescribed]) want(path, 0o755)
  want('tmp', 0o1777)
  for (const mount of mounts) if (mount !== '/') want(mount.slice(1), 0o755)
  return [...wanted].map(([path, mode]) => ({ path, mode })).sort((a, b) => (a.path < b.path ? -1 : 1))
}

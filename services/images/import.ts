// `imgimport`: an image that was built or kept elsewhere becomes the next version of an osimage. What was ours comes back as
// it was: its layers, and its digest when all of its blobs came with it. What is foreign (an OCI image, a root tarball, a
// folder) is laid into layers of ours, and what a capture learns from its golden client is read from the files themselves
// and from a layout file.
import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import type { Digest, ImageName } from '../../src/address.ts'
import { isDiskFull, UserError, WireError } from '../../src/fault.ts'
import type { LayerMember } from '../../src/image/archive-index.ts'
import { indexArchive } from '../../src/image/archive-index.ts'
import { parseAutoinstallConf } from '../../src/image/autoinstall-conf.ts'
import { escapePath, renderManifestLine } from '../../src/image/compare-line.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import type { LayoutFile } from '../../src/image/layout-file.ts'
import { parseLayoutFile } from '../../src/image/layout-file.ts'
import { manifestRefs } from '../../src/image/oci.ts'
import type { OciConfig, OciManifest } from '../../src/image/oci-choice.ts'
import { chooseManifest, parseOciConfig, parseOciManifest } from '../../src/image/oci-choice.ts'
import { defaultRules, makeScrubbed } from '../../src/image/scrub.ts'
import { supersededPattern } from '../../src/image/superseded.ts'
import {
  archByName,
  archOfProgram,
  hostKeyTypesOf,
  kernelPlaces,
  kernelReleases,
  noKernel,
  osOfRelease,
  programPlaces,
} from '../../src/image/system-facts.ts'
import type { TreeEntry } from '../../src/image/tree.ts'
import { growTree } from '../../src/image/tree.ts'
import type { Arch, BlobRef, ImageVersion } from '../../src/image/version.ts'
import { isWhiteout } from '../../src/image/whiteout.ts'
import {
  archiveFolder,
  kindOf,
  notAnArchive,
  type OciSource,
  openFile,
  openOciArchive,
  openOciFolder,
} from './import-source.ts'
import { type LayerReader, openLayer } from './layer.ts'
import { indexLayer } from './layer-index.ts'
import { openLayerWriter } from './layer-writer.ts'
import { checkManifest, renderManifest } from './manifest.ts'
import { type Member, relay } from './relay.ts'
import type { Stage, StagedBlob } from './stage.ts'
import type { Images } from './store.ts'
import type { WorkProgress } from './work-progress.ts'

export type SystemFiles = { read(path: string): Promise<Buffer | undefined> }
export type Netboot = Pick<ImageVersion, 'kernel' | 'modules' | 'netbootKey' | 'initrd' | 'shim' | 'grub'>
/** As a capture does it: services/capture/modules.ts and netboot.ts. `lines` are those of a manifest. */
type Build = {
  open(lines: Iterable<string>, readers: readonly LayerReader[]): SystemFiles
  /** Stages what nodes netboot. */
  netboot(needs: {
    stage: Stage
    images: Images
    lines: readonly string[]
    layerPaths: string[]
    system: Pick<ImageVersion, 'arch' | 'os' | 'kernelRelease' | 'layout'> & { kernelPath: string }
  }): Promise<Netboot>
}
export type ImportNeeds = {
  images: Images
  image: ImageName
  source: string // a path on the server
  layout?: string // the text of a layout file
  place?: string
  choose: { ref?: string; arch?: string; kernel?: string }
  build: Build
  progress: WorkProgress
  signal: AbortSignal
  now: Date
  makeUuid: () => string
}
/** `stage` is published; `scratch` holds what is needed on the way. */
type Work = ImportNeeds & { stage: Stage; scratch: Stage }

export async function importImage(needs: ImportNeeds): Promise<ImageVersion> {
  const { images, place, source } = needs
  const kind = await kindOf(source)
  const stage = await images.openStage(place)
  const scratch = await images.openStage(place)
  const work = { ...needs, stage, scratch }
  try {
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

// ---- ours ----

async function importOci(work: Work, source: OciSource): Promise<ImageVersion> {
  const manifest = await chosenManifest(work, source)
  const known = parseOciManifest(manifest.content)
  const config = parseOciConfig((await needed(source, known.config.digest as Digest)).content)
  return config.config?.Labels?.['sysclone.layout'] === undefined
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

const compress = promisify(zstdCompress)
const MAX_JSON = 16 << 20

/** A blob that must be there, with its content: manifests and configs. */
async function needed(source: OciSource, digest: Digest): Promise<{ blob: StagedBlob; content: Buffer }> {
  const blob = await mustStage(source, digest)
  if (blob.bytes > MAX_JSON) throw new WireError(`${digest} has ${blob.bytes} bytes`)
  const parts: Buffer[] = []
  for await (const chunk of openFile(blob.path)) parts.push(chunk)
  return { blob, content: Buffer.concat(parts) }
}

async function mustStage(source: OciSource, digest: Digest): Promise<StagedBlob> {
  const blob = await source.stageBlob(digest)
  if (blob) return blob
  throw new UserError('a blob of the image is missing', { what: digest, allowed: 'the whole image layout' })
}

/** Its layers are kept. All that stands in annotations comes back too, where it came with them; else it is made anew. */
async function importOurs(
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
  const readers = await openAll(layers.map(({ path }) => path))
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
    await closeAll(readers)
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
  annotations['sysclone.manifest'] ??= refText(await stage.writeBlob([await renderManifest(laid)]))
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

// ---- foreign ----

type RawLayer = { blob: StagedBlob; members: readonly LayerMember[]; diffId: Digest; tarBytes: number }

async function importForeign(
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

async function importRoot(work: Work, archive: AsyncIterable<Buffer>): Promise<ImageVersion> {
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
  const { stage, images, image, progress, signal, source, now } = work
  const tree = growTree()
  for (const { members } of raw) tree.add(members)
  const isExcluded = makeExclude()
  const isOthers = makeScrubbed(defaultRules)
  const entries = tree
    .entries()
    .filter(({ facts }) => isExcluded(facts.path, facts.type) === undefined && isOthers(facts) === undefined)
  const sources = await openAll(raw.map(({ blob }) => blob.path))
  let laid: Awaited<ReturnType<typeof relay>>
  const layout = await layoutOf(work, tree.entries(), sources).catch(async (error) => {
    await closeAll(sources)
    throw error
  })
  try {
    progress.phase(
      'layers',
      40,
      90,
      entries.reduce((sum, { content }) => sum + content.end - content.offset, 0),
    )
    const missing = missingFolders(entries, tree.undescribed(), layout)
    laid = await relay({ stage, entries, missing, readers: sources, progress: progress.add, signal })
  } finally {
    await closeAll(sources)
  }
  const readers = await openAll(
    laid.layers.map(({ digest }) => stage.blobs.find((blob) => blob.digest === digest)!.path),
  )
  try {
    progress.phase('kernel', 90)
    const facts = await systemOf(work, { laid, readers, layout, archName })
    progress.phase('publish', 98)
    const manifest = await stage.writeBlob([await renderManifest(laid.members)])
    return await images.publish(stage, image, {
      createdAt: now.toISOString(),
      firmware: layout.firmware,
      layout: layout.layout,
      ...facts,
      layers: laid.layers,
      manifest: refOf(manifest),
      origin: `import of ${source}`,
    })
  } finally {
    await closeAll(readers)
  }
}

const refOf = ({ digest, bytes }: BlobRef): BlobRef => ({ digest, bytes })
const SI_CONF = 'etc/systemimager/autoinstallscript.conf'

/** What the person says, else what SystemImager wrote into the image. */
async function layoutOf(
  { layout, makeUuid }: Work,
  entries: readonly TreeEntry[],
  sources: readonly LayerReader[],
): Promise<LayoutFile> {
  if (layout !== undefined) return parseLayoutFile(layout, 'layout', makeUuid)
  const conf = entries.find(({ facts }) => facts.path === SI_CONF && facts.type === 'f')
  if (conf === undefined)
    throw new UserError('the image says nothing of disks', {
      what: `no layout file, and no /${SI_CONF} in it`,
      allowed: '--layout FILE',
    })
  const text = await sources[conf.content.layer]!.readFile(conf.content.offset, 1 << 20)
  const contentBytes = entries.reduce((sum, { facts }) => sum + (facts.size ?? 0) + 4096, 0)
  return parseAutoinstallConf(text.toString('utf8'), { name: SI_CONF, contentBytes, makeUuid })
}

/** What a running system needs to mount on, and what lies in no folder that has an entry. */
function missingFolders(
  entries: readonly TreeEntry[],
  undescribed: readonly string[],
  { layout }: LayoutFile,
) {
  const types = new Map(entries.map(({ facts }) => [facts.path, facts.type]))
  const mounts = layout.disks.flatMap(({ partitions }) =>
    partitions.flatMap((p) => p.filesystem?.mountpoint ?? []),
  )
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

type Laid = {
  laid: Awaited<ReturnType<typeof relay>>
  readers: readonly LayerReader[]
  layout: LayoutFile
  archName: string | undefined
}

/** What a capture learns from its golden client, read from the files; kernel and modules, staged. */
async function systemOf(work: Work, { laid, readers, layout, archName }: Laid) {
  const { build, choose, source, stage } = work
  const paths = new Set(laid.members.map(({ facts }) => facts.path))
  const files = build.open(linesOf(laid.members), readers)
  const kernelRelease = chosenRelease(kernelReleases(paths), choose.kernel)
  const arch = await archOf(files, archName)
  const osRelease = (await files.read('etc/os-release')) ?? (await files.read('usr/lib/os-release'))
  const from = (await files.read('etc/systemimager/IMAGE_RETRIEVED_FROM'))?.toString('utf8').trim()
  if (!['usr/sbin/grub-install', 'usr/sbin/grub2-install'].some((path) => paths.has(path)))
    work.progress.note('it has no grub-install: a clone of it will not be able to start from its disk')
  const os = osOfRelease(osRelease?.toString('utf8') ?? '')
  const layerPaths = laid.layers.map(({ digest }) => stage.blobs.find((blob) => blob.digest === digest)!.path)
  const system = { arch, os, kernelRelease, layout: layout.layout }
  return {
    ...(await netbootBlobs(work, { laid: laid.members, readers, layerPaths, system })),
    source: /^[\w.-]{1,64}$/.test(from ?? '')
      ? from!
      : source.slice(source.lastIndexOf('/') + 1).slice(0, 64),
    ...{ arch, os, kernelRelease },
    sshHostKeyTypes: layout.sshHostKeyTypes ?? hostKeyTypesOf((path) => paths.has(path)),
  }
}

function chosenRelease(found: readonly string[], wanted: string | undefined): string {
  if (found.length === 0) throw noKernel()
  if (wanted === undefined || found.includes(wanted)) return wanted ?? found[0]!
  throw new UserError('the image has no such kernel', { what: wanted, allowed: found.join(' ') })
}

type Bootable = {
  laid: readonly Member[]
  readers: readonly LayerReader[]
  layerPaths: string[]
  system: Pick<ImageVersion, 'arch' | 'os' | 'kernelRelease' | 'layout'>
}

/** Kernel and modules, and what else loaders fetch. Throws UserError when there is no kernel of that release. */
async function netbootBlobs({ build, stage, images }: Work, { laid, readers, layerPaths, system }: Bootable) {
  const lines = linesOf(laid)
  const files = build.open(lines, readers)
  const places = kernelPlaces(system.kernelRelease)
  for (const kernelPath of places)
    if (await files.read(kernelPath))
      return build.netboot({ stage, images, lines, layerPaths, system: { ...system, kernelPath } })
  throw new UserError('the kernel is not in the image', {
    what: system.kernelRelease,
    allowed: places.map((place) => `/${place}`).join(', '),
  })
}

const linesOf = (members: readonly Member[]): string[] =>
  members.map(({ facts, stored }) => renderManifestLine(facts, stored))

async function archOf(files: SystemFiles, archName: string | undefined): Promise<Arch> {
  for (const place of programPlaces) {
    const program = await files.read(place)
    const arch = program && archOfProgram(program)
    if (arch) return arch
  }
  const said = archName === undefined ? undefined : archByName(archName)
  if (said) return said
  throw new UserError('the architecture of the image is not known', {
    what: `no program at ${programPlaces.map((place) => `/${place}`).join(', ')}`,
    allowed: 'x86_64, aarch64, ppc64le',
  })
}

// ---- layers ----

async function openAll(paths: readonly string[]): Promise<LayerReader[]> {
  const readers: LayerReader[] = []
  try {
    for (const path of paths) readers.push(await openLayer(path))
    return readers
  } catch (error) {
    await closeAll(readers)
    throw error
  }
}
const closeAll = (readers: readonly LayerReader[]) =>
  Promise.allSettled(readers.map((reader) => reader.close()))

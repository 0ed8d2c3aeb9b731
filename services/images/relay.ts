// A tree laid anew: what is there in the end of any layers, in few layers of ours that do not overlap, directories last.
// Members are taken over byte for byte; only the headers of hard links are written anew, whose first name may have gone, and
// those of files whose ACLs no tar would restore as they stand there.
import { UserError, WireError } from '../../src/fault.ts'
import type { FileFacts, ListedFile, Stored } from '../../src/image/compare-line.ts'
import { planLayers } from '../../src/image/layers.ts'
import { changeTarHeader, renderTarHeader, tarEnd } from '../../src/image/tar-write.ts'
import type { Span, TreeEntry } from '../../src/image/tree.ts'
import { hardLinkGroups } from '../../src/image/tree.ts'
import type { Layer } from '../../src/image/version.ts'
import type { LayerReader } from './layer.ts'
import type { LayerWriter } from './layer-writer.ts'
import { openLayerWriter } from './layer-writer.ts'
import type { Stage } from './stage.ts'

export type Member = { facts: FileFacts; stored: Stored }
type Needs = {
  stage: Stage
  entries: readonly TreeEntry[]
  /** Directories that nothing describes: made as root's, 0755; a path has its own mode when it is named here. */
  missing: readonly { path: string; mode: number }[]
  readers: readonly LayerReader[] // by layer
  progress: (bytes: number) => void
  signal: AbortSignal
}
/** What is written of an entry: the member at `from`, or its headers alone as a further name of `linkTo`. */
type Copy = { entry: TreeEntry; from: Pick<Span, 'layer' | 'offset'>; end?: number; linkTo?: string }

/** Headers in the place of the member's own, which take up so many bytes. */
type NewHeaders = { headers: Buffer; instead: number }
/** By digest of attributes as they were, that of them as they are written. */
type Attributes = Map<string, string>

/** Layers, staged, and what their manifest says. */
export async function relay(needs: Needs): Promise<{ layers: Layer[]; members: Member[] }> {
  const { stage, entries, missing, signal, progress } = needs
  const copies = copiesOf(entries)
  const { target, count } = targetsOf(copies.map(({ entry }) => entry))
  const members: Member[] = []
  const attributes: Attributes = new Map()
  const writers: LayerWriter[] = []
  try {
    while (writers.length < count) writers.push(await openLayerWriter(stage))
    const put = (entry: TreeEntry, layer: number) =>
      members.push({
        facts: entry.facts,
        stored: { ...written(entry.stored, attributes), layer, offset: writers[layer]!.position() },
      })
    // First: what it lacks has no time of its own.
    const last = writers[count - 1]!
    for (const { path, mode } of missing) {
      members.push(directoryAt(path, mode, { layer: count - 1, offset: last.position() }))
      await last.write(renderTarHeader({ path, type: 'directory', mode }))
    }
    const folders: { entry: TreeEntry; parts: Buffer[] }[] = [] // a header each
    for (const copy of copies) {
      signal.throwIfAborted()
      const { entry } = copy
      const layer = target.get(entry.facts.path)!
      const parts: Buffer[] = []
      const isFolder = entry.facts.type === 'd'
      const headers = await newHeaders(needs, copy, attributes)
      if (isFolder) folders.push({ entry, parts })
      else put(entry, layer)
      let bytes = 0
      for await (const chunk of memberBytes(needs, copy, headers)) {
        bytes += chunk.length
        if (isFolder) parts.push(Buffer.from(chunk))
        else await writers[layer]!.write(chunk)
      }
      progress(bytes)
    }
    for (const { entry, parts } of innermostFirst(folders)) {
      put(entry, count - 1)
      for (const part of parts) await last.write(part)
    }
    return { layers: await finish(writers, members), members }
  } finally {
    await Promise.allSettled(writers.map((writer) => writer.close()))
  }
}

/** In the order in which they lie in the sources: each frame is decompressed once, and a file comes before its links. */
function copiesOf(entries: readonly TreeEntry[]): Copy[] {
  const links = new Map<TreeEntry, string>()
  for (const [first, ...others] of hardLinkGroups(entries))
    for (const other of others) links.set(other, first!.facts.path)
  return entries
    .map((entry): Copy => {
      const linkTo = links.get(entry)
      const { layer, offset } = entry.stored
      return linkTo === undefined
        ? { entry, from: entry.content, end: entry.content.end }
        : { entry, from: { layer, offset }, linkTo }
    })
    .sort((a, b) => a.from.layer - b.from.layer || a.from.offset - b.from.offset)
}

/** By path, the number of the layer that it goes into; directories go into the last of `count`. */
function targetsOf(entries: readonly TreeEntry[]): { target: Map<string, number>; count: number } {
  const names = new Map<string, number>()
  const keyOf = ({ content }: TreeEntry) => `${content.layer} ${content.offset}`
  for (const entry of entries) names.set(keyOf(entry), (names.get(keyOf(entry)) ?? 0) + 1)
  const files = entries.map(
    (entry): ListedFile => ({
      ...entry.facts,
      ctimeNs: '0',
      inode: keyOf(entry),
      links: names.get(keyOf(entry))!,
    }),
  )
  const plans = planLayers(files)
  const target = new Map<string, number>()
  plans.forEach((plan, i) => {
    for (const { path } of plan) target.set(path, i)
  })
  return { target, count: Math.max(1, plans.findLastIndex((plan) => plan.length > 0) + 1) }
}

/** None where they are taken over as they are. */
async function newHeaders(
  { readers }: Needs,
  { entry, from, linkTo }: Copy,
  attributes: Attributes,
): Promise<NewHeaders | undefined> {
  const { layer, offset, xattrs } = entry.stored
  // Its first name has gone: this one takes the content over.
  const isMoved = layer !== from.layer || offset !== from.offset
  const isSame = linkTo === undefined && !isMoved
  if (isSame && (xattrs === undefined || attributes.get(xattrs) === xattrs)) return undefined
  const old = await readers[from.layer]!.readHeaders(from.offset)
  const change = linkTo !== undefined ? { hardLinkTo: linkTo } : isMoved ? { path: entry.facts.path } : {}
  const made = changedHeaders(old, change, entry.facts.path)
  if (xattrs !== undefined && made.xattrs !== undefined) attributes.set(xattrs, made.xattrs)
  return isSame && made.xattrs === xattrs ? undefined : { headers: made.headers, instead: old.length }
}

function changedHeaders(old: Buffer, change: Parameters<typeof changeTarHeader>[1], path: string) {
  try {
    return changeTarHeader(old, change)
  } catch (error) {
    if (error instanceof WireError) throw new WireError(`${error.message} (${path})`)
    throw error
  }
}

function written(stored: Stored, attributes: Attributes): Stored {
  const xattrs = stored.xattrs && attributes.get(stored.xattrs)
  return xattrs === undefined ? stored : { ...stored, xattrs }
}

/** A piece is good until the next one. */
async function* memberBytes(
  { readers }: Needs,
  { from, end }: Copy,
  made: NewHeaders | undefined,
): AsyncGenerator<Buffer> {
  if (made !== undefined) yield made.headers
  if (end !== undefined) yield* readers[from.layer]!.between(from.offset + (made?.instead ?? 0), end)
}

/** As a capture has them: what is made in a folder changes its time, which its own entry sets afterwards. */
const innermostFirst = <T extends { entry: TreeEntry }>(folders: readonly T[]): T[] =>
  folders.toSorted((a, b) => (a.entry.facts.path < b.entry.facts.path ? 1 : -1))

const directoryAt = (path: string, mode: number, stored: Stored): Member => ({
  facts: { type: 'd', mode: mode.toString(8), uid: 0, gid: 0, path },
  stored,
})

async function finish(writers: readonly LayerWriter[], members: readonly Member[]): Promise<Layer[]> {
  const layers: Layer[] = []
  for (const [i, writer] of writers.entries()) {
    await writer.write(tarEnd())
    const { blob, diffId, tarBytes } = await writer.end()
    const { digest, bytes } = blob
    const entryCount = members.filter(({ stored }) => stored.layer === i).length
    layers.push({ digest, bytes, diffId, tarBytes, entryCount, directories: i === writers.length - 1 })
  }
  if (layers.length === 0) throw new UserError('there is nothing in it', { what: 'no file and no directory' })
  return layers
}

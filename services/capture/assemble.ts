// The new version out of what stays and what came: which layers it has, what of each of them counts, and the manifest.
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import type { Row } from '../../src/image/rows.ts'
import { inLayer, laterRows } from '../../src/image/rows.ts'
import { supersededPattern } from '../../src/image/superseded.ts'
import type { BlobRef, Layer } from '../../src/image/version.ts'
import type { Stage, StagedBlob } from '../images/stage.ts'
import type { Comparison } from './compare.ts'
import { readRows } from './compare.ts'
import type { LineWriter } from './lines.ts'
import { sortInto, writeLines } from './lines.ts'

/** A layer by the number that rows give it. `blob`: it is new; `path`: its file. */
export type Candidate = { layer: Layer; path: string; rows: string[]; blob?: StagedBlob }

export type Assembled = {
  layers: Layer[]
  layerPaths: string[]
  manifest: BlobRef
  rows: string // file, with the numbers of `layers`
  entries: number
}

type Needs = {
  stage: Stage
  comparison: Comparison
  candidates: Candidate[]
  blobPath: (ref: BlobRef) => string
}

export async function assemble({ stage, comparison, candidates, blobPath }: Needs): Promise<Assembled> {
  const { folder, keep } = comparison
  const merged = writeLines(join(folder, 'merged'))
  const live = candidates.map(() => 0)
  const lost = new Map<number, LineWriter>() // members that a later layer of this very capture replaces
  const supersede = ({ layer, path }: Row) => {
    const writer = lost.get(layer) ?? writeLines(join(folder, `lost-${layer}`))
    lost.set(layer, writer)
    writer.add(supersededPattern(path))
  }
  const streams = [keep, ...candidates.flatMap(({ rows }) => rows)].map(readRows)
  for (const row of laterRows(streams, supersede)) {
    live[row.layer] = live[row.layer]! + 1
    merged.add(row.line)
  }
  for (const writer of [merged, ...lost.values()]) writer.end()

  // Whiteouts keep hiding what is in the layers below.
  const isWanted = candidates.map(({ layer }, i) => live[i]! > 0 || (layer.whiteouts ?? 0) > 0)
  const wanted = candidates.filter((_, i) => isWanted[i])
  for (const { blob } of candidates.filter((_, i) => !isWanted[i])) if (blob) await stage.drop(blob)
  const layers: Layer[] = []
  for (const candidate of wanted) {
    const number = candidates.indexOf(candidate)
    const texts = [comparison.superseded(number), lost.get(number)?.path]
    layers.push(await withSuperseded(stage, candidate.layer, texts, blobPath))
  }

  const numbers = candidates.map((candidate) => wanted.indexOf(candidate))
  const rows = isWanted.every(Boolean) ? merged.path : renumbered(merged.path, numbers, folder)
  const manifest = await writeManifest(stage, rows, folder)
  return {
    layers,
    layerPaths: wanted.map(({ path }) => path),
    manifest,
    rows,
    entries: merged.count(),
  }
}

function renumbered(rows: string, numbers: readonly number[], folder: string): string {
  const writer = writeLines(join(folder, 'rows'))
  for (const { line, layer } of readRows(rows))
    writer.add(numbers[layer] === layer ? line : inLayer(line, numbers[layer]!))
  writer.end()
  return writer.path
}

/** The list of members that do not count grows with each version. */
async function withSuperseded(
  stage: Stage,
  layer: Layer,
  texts: (string | undefined)[],
  blobPath: Needs['blobPath'],
): Promise<Layer> {
  const files = texts.filter((file) => file !== undefined && existsSync(file)) as string[]
  if (files.length === 0) return layer
  const { superseded } = layer
  async function* all() {
    if (superseded) {
      const before = createZstdDecompress()
      pipeline(createReadStream(blobPath(superseded)), before).catch(() => {}) // is a fault of what is read from it
      yield* before
    }
    for (const file of files) yield* createReadStream(file)
  }
  return { ...layer, superseded: await writeCompressed(stage, Readable.from(all())) }
}

/** Lines in the order of their bytes, as `comm` wants them. */
async function writeManifest(stage: Stage, rows: string, folder: string): Promise<BlobRef> {
  const sorted = join(folder, 'manifest')
  await sortInto(sorted, undefined, createReadStream(rows), folder)
  return writeCompressed(stage, createReadStream(sorted, { highWaterMark: 1 << 18 }))
}

async function writeCompressed(stage: Stage, text: Readable): Promise<BlobRef> {
  const params = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 }
  const zstd = createZstdCompress({ params })
  const fed = pipeline(text, zstd)
  fed.catch(() => {}) // is a fault of what is read from it
  const { digest, bytes } = await stage.writeBlob(zstd)
  await fed
  return { digest, bytes }
}

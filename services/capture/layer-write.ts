// An archive as it becomes a layer's file: frame by frame, indexed on the way, the table of all frames at its end.
import { Readable } from 'node:stream'
import { release } from '../../src/bytes.ts'
import type { BlobRef, Layer } from '../../src/image/version.ts'
import { renderWhiteout } from '../../src/image/whiteout.ts'
import type { Frame } from '../../src/image/zstd-frames.ts'
import { renderSeekTable } from '../../src/image/zstd-frames.ts'
import type { BlobFile } from '../store/blob-file.ts'
import type { LayerFrame } from './frames.ts'
import { madeFrames } from './frames.ts'
import type { LayerIndex } from './layer-index.ts'
import { readLines } from './lines.ts'

/** What has come since the last time. */
export type Moved = { tarBytes: number; wireBytes: number; entries: number }

export function layerOf(staged: BlobRef, found: Omit<ReturnType<LayerIndex['end']>, 'skipped'>): Layer {
  const { diffId, tarBytes, entryCount, hasDirectories, whiteouts } = found
  const { digest, bytes } = staged
  return {
    digest,
    bytes,
    diffId,
    tarBytes,
    entryCount,
    directories: hasDirectories,
    ...(whiteouts > 0 && { whiteouts }),
  }
}

type Writing = {
  blob: Pick<BlobFile, 'write'>
  index: LayerIndex
  progress: (moved: Moved) => void
}

/** Frames of one archive, one after the other, and the table of all of them. */
export async function writeLayer(
  { blob, index, progress }: Writing,
  ...sources: AsyncIterable<LayerFrame>[]
) {
  const table: Frame[] = []
  let entries = 0
  for (const source of sources) {
    for await (const { zstd, content } of source) {
      if (content.length === 0) continue // pzstd makes a frame of nothing
      index.push(content)
      table.push({ compressed: zstd.length, content: content.length })
      await blob.write(zstd)
      progress({ tarBytes: content.length, wireBytes: zstd.length, entries: index.entries() - entries })
      entries = index.entries()
      release(zstd)
      release(content)
    }
  }
  if (table.length > 0) await blob.write(renderSeekTable(table))
}

/** Files of paths that are gone, as an archive without an end, in frames of its own: that of the golden client follows it. */
export function whiteoutFrames(files: string[]): AsyncIterable<LayerFrame> {
  function* members() {
    for (const file of files) for (const path of readLines(file)) yield renderWhiteout(path)
  }
  return madeFrames(Readable.from(members()))
}

// One layer: archived on the golden client, indexed while it is written into the store's staging folder. Beside it lies the
// list of what it is made of, so that another attempt can use what a killed one has received.
import { renameSync } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../src/fault.ts'
import { unescapePath } from '../../src/image/compare-line.ts'
import type { Seen } from '../../src/image/rows.ts'
import type { Report } from '../../src/image/tar-report.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import { tarEnd } from '../../src/image/tar-write.ts'
import type { Layer } from '../../src/image/version.ts'
import { renderWhiteout } from '../../src/image/whiteout.ts'
import type { Frame } from '../../src/image/zstd-frames.ts'
import { renderSeekTable } from '../../src/image/zstd-frames.ts'
import type { Stage, StagedBlob } from '../images/stage.ts'
import type { Running, Ssh } from '../remote/ssh.ts'
import { readList } from './compare.ts'
import type { LayerFrame } from './frames.ts'
import { madeFrames, receivedFrames } from './frames.ts'
import type { LayerIndex } from './layer-index.ts'
import { indexLayer } from './layer-index.ts'
import { readLines } from './lines.ts'

const MAX_STDERR = 1 << 20
const NAMES = 65536 // bytes of names that are sent at once

export type CapturedLayer = {
  layer: Layer
  blob: StagedBlob
  list: string // what it was to hold
  rows: string[] // what it holds: files of rows, each in the order of paths
  changed: string[] // names of files that were written to while they were read
  vanished: Seen[]
}

export type LayerNeeds = {
  ssh: Ssh
  script: string // bootfiles/capture/archive.sh
  root: string
  compress: boolean // the golden client can
  stage: Stage
  number: number
  /** Lines of the list, in the order in which they are archived; the first one says when the list was begun. */
  list: string
  whiteouts: string[] // files of paths
  freshNs: string
  progress: (moved: { tarBytes: number; wireBytes: number; entries: number }) => void // since the last time
}

export async function captureLayer(needs: LayerNeeds): Promise<CapturedLayer> {
  const { ssh, script, root, compress, stage, number, whiteouts, freshNs } = needs
  const blob = await stage.openBlob()
  const list = `${blob.path}.list`
  renameSync(needs.list, list)
  const index = indexLayer({ layer: number, listed: readList(list), rows: `${blob.path}.rows`, freshNs })
  try {
    const running = await ssh.runScript(
      script,
      [root, compress ? 'zstd' : 'plain'],
      Readable.from(namesOf(list)),
    )
    const said = collect(running.stderr, MAX_STDERR)
    const frames = (compress ? receivedFrames : madeFrames)(running.stdout)
    await writeLayer({ blob, index, progress: needs.progress }, whiteoutFrames(whiteouts), frames).catch(
      preferLoss(running),
    )
    const [exit, stderr] = [await running.exit, await said]
    const report = parseReport(stderr)
    judge(report, exit)
    const { skipped, ...found } = index.end()
    refuseGaps(skipped, report)
    const staged = await blob.end()
    return {
      layer: layerOf(staged, found),
      blob: staged,
      list,
      rows: index.rows,
      changed: report.changed,
      vanished: skipped,
    }
  } finally {
    await blob.close()
  }
}

/** A layer that only says what is gone. */
export async function whiteoutLayer(
  stage: Stage,
  whiteouts: string[],
): Promise<Pick<CapturedLayer, 'layer' | 'blob' | 'rows'>> {
  const blob = await stage.openBlob()
  const index = indexLayer({ layer: 0, listed: [], rows: `${blob.path}.rows`, freshNs: '' })
  try {
    const last = madeFrames(Readable.from([tarEnd()]))
    await writeLayer({ blob, index, progress: () => {} }, whiteoutFrames(whiteouts), last)
    const found = index.end()
    const staged = await blob.end()
    return { layer: layerOf(staged, found), blob: staged, rows: [] }
  } finally {
    await blob.close()
  }
}

export function layerOf(staged: StagedBlob, found: Omit<ReturnType<LayerIndex['end']>, 'skipped'>): Layer {
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
  blob: Awaited<ReturnType<Stage['openBlob']>>
  index: LayerIndex
  progress: LayerNeeds['progress']
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
    }
  }
  if (table.length > 0) await blob.write(renderSeekTable(table))
}

/** Names, each ended by NUL, as tar -T --null reads them. */
function* namesOf(list: string): Generator<Buffer> {
  let names = ''
  for (const { path } of readList(list)) {
    names += `${unescapePath(path)}\0`
    if (names.length < NAMES) continue
    yield Buffer.from(names, 'latin1')
    names = ''
  }
  yield Buffer.from(names, 'latin1')
}

/** An archive without an end, in frames of its own: that of the golden client follows it. */
function whiteoutFrames(files: string[]): AsyncIterable<LayerFrame> {
  function* members() {
    for (const file of files) for (const path of readLines(file)) yield renderWhiteout(path)
  }
  return madeFrames(Readable.from(members()))
}

/** When the connection breaks, its own fault says more than what a cut stream looks like: a damaged one. */
const preferLoss = (running: Running) => async (error: unknown) => {
  await Promise.race([running.exit, sleep(1000)])
  throw error
}

/** A running machine changes: files that vanish or are written to are normal, everything else is not. */
function judge(report: Report, exit: number) {
  const tolerable =
    report.exit === 0 || report.exit === 1 || (report.exit === 2 && report.vanished.length > 0)
  if (exit === 0 && tolerable && report.fatal.length === 0) return
  const what = report.fatal.slice(0, 3).join('; ') || `exit code ${exit}, tar ${report.exit ?? 'did not end'}`
  throw new UserError('archiving failed on the golden client', { what })
}

function refuseGaps(skipped: readonly Seen[], { vanished }: Report) {
  if (skipped.length <= vanished.length) return
  const said = new Set(vanished)
  const missing = skipped.map(({ path }) => unescapePath(path)).filter((path) => !said.has(path))
  throw new UserError('the archive lacks files that were listed', {
    what: missing
      .slice(0, 5)
      .map((path) => `/${path}`)
      .join(', '),
  })
}

/** All that comes, up to a limit beyond which the rest is dropped with a note that parseReport takes for a fault. */
export async function collect(stream: AsyncIterable<Buffer>, limit: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream) {
      if (size <= limit) parts.push(chunk)
      size += chunk.length
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
  }
  const text = Buffer.concat(parts).toString('latin1')
  return size > limit ? `${text}\nsysclone: more than ${limit} bytes of messages\n` : text
}

// One layer: archived on the golden client, indexed while it is written into the store's staging folder. Beside it lies the
// list of what it is made of, so that another attempt can use what a killed one has received.
import { renameSync } from 'node:fs'
import { Readable } from 'node:stream'
import { UserError } from '../../src/fault.ts'
import { unescapePath } from '../../src/image/compare-line.ts'
import type { Seen } from '../../src/image/rows.ts'
import type { Report } from '../../src/image/tar-report.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import { tarEnd } from '../../src/image/tar-write.ts'
import type { Layer } from '../../src/image/version.ts'
import type { Stage, StagedBlob } from '../images/stage.ts'
import type { Bulk, BulkRun } from '../remote/openssh.ts'
import { readList } from './compare.ts'
import { madeFrames } from './frames.ts'
import { makeLayerApart } from './layer-apart.ts'
import { indexLayer } from './layer-index.ts'
import type { Moved } from './layer-write.ts'
import { layerOf, whiteoutFrames, writeLayer } from './layer-write.ts'
import { preferSaid } from './node-fault.ts'

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
  bulk: Pick<Bulk, 'run'>
  script: string // bootfiles/capture/archive.sh
  root: string
  compress: boolean // the golden client can
  stage: Stage
  number: number
  /** Lines of the list, in the order in which they are archived; the first one says when the list was begun. */
  list: string
  whiteouts: string[] // files of paths
  bytes: number // about so many come
  freshNs: string
  progress: (moved: Moved) => void
}

export async function captureLayer(needs: LayerNeeds): Promise<CapturedLayer> {
  const { bulk, script, root, compress, stage, number, whiteouts, freshNs } = needs
  const path = stage.newPath()
  const list = `${path}.list`
  renameSync(needs.list, list)
  let running: BulkRun | undefined
  // The thread starts while the login is made.
  const apart = makeLayerApart(
    { path, list, rows: `${path}.rows`, number, freshNs, compress, whiteouts },
    { reads: () => void running?.handOver(), progress: needs.progress },
  )
  try {
    running = await bulk.run({
      script,
      lines: [root, compress ? 'zstd' : 'plain'],
      input: () => Readable.from(namesOf(list)),
      bytes: needs.bytes,
    })
    apart.read(running)
    const said = collect(running.stderr, MAX_STDERR)
    await apart.written().catch(preferSaid(running.exit))
    const [exit, stderr] = [await running.exit, await said]
    const report = parseReport(stderr)
    judge(report, exit)
    const { found, blob, rows } = await apart.close()
    const { skipped, ...more } = found
    refuseGaps(skipped, report)
    const staged = { ...blob, path }
    stage.adopt(staged)
    return {
      layer: layerOf(staged, more),
      blob: staged,
      list,
      rows,
      changed: report.changed,
      vanished: skipped,
    }
  } finally {
    await running?.handOver()
    await apart.stop()
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

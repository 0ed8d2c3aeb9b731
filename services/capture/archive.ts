// Everything that is to be fetched, as layers: those of files first, two at a time, then the one with the directories.
// Files that are written to while they are read are read again, with the last layer, and if need be once more.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { escapePath } from '../../src/image/compare-line.ts'
import type { Seen } from '../../src/image/rows.ts'
import { cutListLine } from '../../src/image/rows.ts'
import type { Stage } from '../images/stage.ts'
import type { Comparison } from './compare.ts'
import { cutPlans, readList, readRows, wayTo } from './compare.ts'
import type { CapturedLayer, LayerNeeds } from './layer.ts'
import { captureLayer, whiteoutLayer } from './layer.ts'
import { readLines, readLinesBackwards, writeLines } from './lines.ts'
import { freshFrom } from './listing.ts'

const PARALLEL = 2 // archives at once: compression there and decompression here then overlap
const MAX_READS = 3 // of one file

export type Archived = {
  layers: Pick<CapturedLayer, 'layer' | 'blob' | 'rows'>[]
  changed: string[] // paths of files that were written to at their last reading too
  retried: number
  vanished: string[] // paths
}

export type ArchiveNeeds = Pick<LayerNeeds, 'bulk' | 'script' | 'root' | 'compress' | 'progress'> & {
  stop: () => void // ends all that runs on the golden client
  stage: Stage
  comparison: Comparison
  listed: string // the whole list
  rows: string[] // what it was compared with
  firstNumber: number
  beginNs: string // of the list
}

export async function archiveAll(needs: ArchiveNeeds): Promise<Archived> {
  const { comparison, stage } = needs
  const plans = cutPlans(comparison)
  const layers: Archived['layers'] = []
  const vanished: string[] = []
  let marks = [comparison.whiteouts.replaced] // whiteouts that the next layer is to hold
  let retried = 0
  const fetch = openFetch(needs)

  /** Lines of what is to be read again. */
  function take(captured: CapturedLayer[]): string[] {
    layers.push(...captured)
    const gone = captured.flatMap((layer) => layer.vanished.map(({ path }) => path))
    for (const path of gone) vanished.push(path)
    marks = goneBefore(gone, needs, vanished.length)
    return captured.flatMap((layer) => linesToRepeat(layer, comparison.groupOf))
  }

  const { bytes } = comparison.fetched
  const share = bytes / Math.max(1, plans.files.length)
  const first = plans.files.map((file, i) => () => fetch([readLines(file)], i === 0 ? marks : [], share))
  let again = take(await inParallel(first, needs.stop))
  if (first.length === 0) marks = [comparison.whiteouts.replaced]
  marks.push(comparison.whiteouts.removed)
  let reads = first.length > 0 ? 1 : 0
  let lists: Iterable<string>[] = plans.isLast
    ? [
        again,
        readLines(plans.few),
        innermostFirst(withParents(readLines(plans.directories), again, needs.listed), comparison.folder),
      ]
    : [again]
  for (let isLast = plans.isLast; isLast || (again.length > 0 && reads < MAX_READS); isLast = false) {
    retried += again.length
    again = take([await fetch(lists, marks, first.length > 0 ? 0 : bytes)])
    lists = [again]
    reads += 1
  }
  if (marks.some((file) => statSync(file).size > 0)) layers.push(await whiteoutLayer(stage, marks))
  return { layers, changed: again.map((line) => cutListLine(line).path), retried, vanished }
}

/**
 * What lies in a directory comes before it. Between `usr/lib` and `usr/lib/x` the order of paths has `usr/lib-y`, at which
 * tar sets the time of `usr/lib`, and making `usr/lib/x` would then change it.
 */
function* innermostFirst(directories: Iterable<string>, folder: string): Generator<string> {
  const writer = writeLines(join(folder, 'directories-in-order'))
  for (const line of directories) writer.add(line)
  writer.end()
  yield* readLinesBackwards(writer.path)
}

/** The directories, with those on the way to the files: these are laid in them, and that changes their times. */
function* withParents(directories: Iterable<string>, files: string[], listed: string): Generator<string> {
  const parents = new Set(files.flatMap((line) => wayTo(cutListLine(line).path)))
  const missing: Seen[] = []
  if (parents.size > 0)
    for (const seen of readList(listed)) if (seen.type === 'd' && parents.has(seen.path)) missing.push(seen)
  for (const line of directories) {
    const { path } = cutListLine(line)
    while (missing.length > 0 && missing[0]!.path < path) yield missing.shift()!.line
    if (missing[0]?.path === path) missing.shift()
    yield line
  }
  for (const { line } of missing) yield line
}

/** Fetches one layer after the other, with numbers of their own. */
function openFetch({ firstNumber, beginNs, comparison, ...needs }: ArchiveNeeds) {
  let number = firstNumber
  return (lists: Iterable<string>[], whiteouts: string[], bytes: number): Promise<CapturedLayer> => {
    const own = number++
    const writer = writeLines(join(comparison.folder, `list-${own}`))
    writer.add(`begin ${beginNs.slice(0, -9)}.${beginNs.slice(-9)}`) // another attempt must know it
    for (const lines of lists) for (const line of lines) writer.add(line)
    writer.end()
    const freshNs = freshFrom(beginNs)
    return captureLayer({ ...needs, number: own, list: writer.path, whiteouts, bytes, freshNs })
  }
}

/** A few at a time; the failure that came first ends the others by `stop`. */
async function inParallel<T>(work: (() => Promise<T>)[], stop: () => void): Promise<T[]> {
  const results: T[] = []
  const failures: unknown[] = []
  let next = 0
  async function worker() {
    while (next < work.length && failures.length === 0) {
      const own = next++
      results[own] = await work[own]!()
    }
  }
  const end = (error: unknown) => {
    failures.push(error)
    stop()
  }
  await Promise.all(Array.from({ length: PARALLEL }, () => worker().catch(end)))
  if (failures.length > 0) throw failures[0]
  return results
}

/** Of files that were written to, with all of their names, in the order of paths. */
function linesToRepeat({ changed, list, rows }: CapturedLayer, groupOf: Comparison['groupOf']): string[] {
  if (changed.length === 0 || rows.length === 0) return []
  const names = new Set(changed.map(escapePath))
  const groups = new Set<string>()
  for (const seen of readList(list)) if (names.has(seen.path) && seen.links !== '1') groups.add(groupOf(seen))
  const found: Seen[] = []
  for (const seen of readList(list))
    if (seen.type !== 'd' && (names.has(seen.path) || (seen.links !== '1' && groups.has(groupOf(seen)))))
      found.push(seen)
  return found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)).map(({ line }) => line)
}

/** A file of the paths that an older layer still holds: they need whiteouts. */
function goneBefore(paths: string[], { rows, comparison }: ArchiveNeeds, serial: number): string[] {
  if (paths.length === 0) return []
  const wanted = new Set(paths)
  const writer = writeLines(join(comparison.folder, `gone-${serial}`))
  for (const file of rows) for (const { path } of readRows(file)) if (wanted.delete(path)) writer.add(path)
  writer.end()
  return [writer.path]
}

// The list of a golden client beside the version before: what is to be fetched, and what stays where it is.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import { escapePath, parseListLine } from '../../src/image/compare-line.ts'
import { contentBytes, cutLayers, isSmall, layerCount, weightOf } from '../../src/image/cut-layers.ts'
import type { Row, Seen } from '../../src/image/rows.ts'
import { cutListLine, cutRow, laterRows } from '../../src/image/rows.ts'
import { supersededPattern } from '../../src/image/superseded.ts'
import type { Change, Groups } from '../../src/image/tree-changes.ts'
import { ancestorsOf, compareTrees, isReplaced, openRemoved, torn } from '../../src/image/tree-changes.ts'
import { isWhiteout } from '../../src/image/whiteout.ts'
import type { LineWriter } from './lines.ts'
import { readLines, writeLines } from './lines.ts'

/** What of the golden client the comparison depends on. */
export type World = {
  mounts: { path: string; weak: boolean }[] // '/', '/boot/efi': weak ones keep neither inodes nor ctimes
  excluded: (path: string, type: string) => string | undefined
}

/** Files of lines, each in the order of paths, in `folder`. Layer numbers are those of all layers known so far. */
export type Comparison = {
  folder: string
  fetch: string // lines of the list
  keep: string // rows
  superseded: (layer: number) => string | undefined // patterns for members of that layer
  whiteouts: { replaced: string; removed: string } // paths
  isBased: boolean // there was something to compare with
  weight: number // of what is to be fetched
  fetched: { entries: number; files: number; directories: number; bytes: number }
  kept: number
  removed: number // paths that need a whiteout
  left: Map<string, number> // by the reason
  groupOf: (seen: Seen) => string
}

type Needs = {
  listed: string // sorted
  rows: string[] // sorted rows; later ones count more
  world: World
  folder: string
}

/**
 * Compares, and again when hard links would be torn apart, or when a layer that holds directories would make something in
 * a directory that is not in it: the time of that one would be the time of the installation.
 */
export function compareList({ listed, rows, world, folder }: Needs): Comparison {
  const groupOf = groupsOf(world)
  const isBased = rows.length > 0
  const forced: { groups: Set<string>; directories: Set<string> | 'all' } = {
    groups: new Set(),
    directories: new Set(),
  }
  for (let round = 0; ; round++) {
    const groups: Groups = { kept: new Set(), moved: new Set() }
    const outcome = openOutcome(join(folder, `compared-${round}`))
    const old = laterRows(
      rows.map(readRows),
      outcome.supersede,
      (later, before) => !isReplaced(before, later),
    )
    const rules = { excluded: whyExcluded(world), isWeak: weakPaths(world), groupOf, forced }
    for (const change of compareTrees(readList(listed), old, rules, groups)) outcome.take(change)
    outcome.end()
    const split = torn(groups)
    const above = isBased && forced.directories !== 'all' ? outcome.missingAbove() : []
    if ((split.size === 0 && above.length === 0) || round === MOST_ROUNDS)
      return { ...outcome.found(), isBased, groupOf }
    for (const group of split) forced.groups.add(group)
    if (above === 'all') forced.directories = above
    else if (forced.directories !== 'all') for (const path of above) forced.directories.add(path)
    rmSync(outcome.folder, { recursive: true })
  }
}
const MOST_ROUNDS = 4

/** Whether the tree is what the rows say, entirely: looks until the first difference, and writes nothing. */
export function isUnchanged({
  listed,
  rows,
  world,
}: Omit<Needs, 'folder' | 'rows'> & { rows: string }): boolean {
  const groups: Groups = { kept: new Set(), moved: new Set() }
  const forced = { groups: new Set<string>(), directories: new Set<string>() }
  const rules = {
    ...{ excluded: whyExcluded(world), isWeak: weakPaths(world), groupOf: groupsOf(world), forced },
  }
  for (const change of compareTrees(readList(listed), readRows(rows), rules, groups))
    if (change.do === 'fetch' || change.do === 'drop') return false
  return true
}

export function* readRows(path: string): Generator<Row> {
  for (const line of readLines(path)) yield cutRow(line)
}

/** The list without its first and last line, which sort before all others, and without what was listed twice. */
export function* readList(path: string): Generator<Seen> {
  let last: string | undefined
  for (const line of readLines(path)) {
    if (/^(begin|end)\b/.test(line)) continue
    const seen = cutListLine(line)
    if (seen.path !== last) yield seen
    last = seen.path
  }
}

const whyExcluded =
  ({ excluded }: World) =>
  ({ path, type }: Seen): string | undefined =>
    type === 's' ? SOCKETS : excluded(path, type)

export const SOCKETS = 'sockets'

const lies = (path: string, mount: string) => mount === '' || path === mount || path.startsWith(`${mount}/`)
const mountPath = (mount: { path: string }) => escapePath(mount.path.replace(/^\//, ''))

function weakPaths({ mounts }: World): (path: string) => boolean {
  const weak = mounts.filter((mount) => mount.weak).map(mountPath)
  return weak.length === 0 ? () => false : (path) => weak.some((mount) => lies(path, mount))
}

/** Inode numbers are unique in one file system only. */
function groupsOf({ mounts }: World): (seen: Seen) => string {
  const longestFirst = mounts.map(mountPath).sort((a, b) => b.length - a.length)
  return ({ path, inode }) => `${longestFirst.findIndex((mount) => lies(path, mount))}:${inode}`
}

const MOST_NAMES = 5
const MOST_DIRECTORIES = 200_000 // beyond, all of them are fetched: there is no need to remember which

/** The directories above a path, the root too. */
export const wayTo = (path: string): string[] => (path === '.' ? [] : [...ancestorsOf(path), '.'])

function openOutcome(folder: string) {
  mkdirSync(folder)
  const file = (name: string) => writeLines(join(folder, name))
  const [fetch, keep, replaced, removed] = [file('fetch'), file('keep'), file('replaced'), file('removed')]
  const superseded = new Map<number, LineWriter>()
  const left = new Map<string, number>()
  const fetched = { entries: 0, files: 0, directories: 0, bytes: 0 }
  const gone = openRemoved()
  const refused: string[] = []
  const directories = new Set<string>() // that are fetched
  const above = new Set<string>() // directories on the way to them, and to files as long as these are few
  let weight = 0

  function supersede({ layer, path }: Row) {
    const writer = superseded.get(layer) ?? file(`superseded-${layer}`)
    superseded.set(layer, writer)
    writer.add(supersededPattern(path))
  }
  function take(change: Change) {
    if (change.do === 'leave') left.set(change.why, (left.get(change.why) ?? 0) + 1)
    else if (change.do === 'keep') keep.add(change.row.line)
    else if (change.do === 'drop') {
      supersede(change.row)
      if (gone.removed(change.row)) removed.add(change.row.path)
    } else fetchIt(change.seen, change.before)
  }
  function fetchIt(seen: Seen, before: Row | undefined) {
    if (isWhiteout(seen.path) && refused.push(`/${seen.path}`) > MOST_NAMES) return
    parseListLine(seen.line) // what it says is used from here on
    fetch.add(seen.line)
    weight += weightOf(seen)
    fetched.entries += 1
    fetched.files += seen.type === 'f' ? 1 : 0
    fetched.directories += seen.type === 'd' ? 1 : 0
    fetched.bytes += contentBytes(seen)
    if (directories.size > MOST_DIRECTORIES) return
    if (seen.type === 'd') directories.add(seen.path)
    if (seen.type === 'd' || isSmall(weight)) for (const path of wayTo(seen.path)) above.add(path)
    if (before === undefined) return
    supersede(before)
    if (!isReplaced(before, seen)) return
    replaced.add(seen.path)
    gone.replaced(seen.path)
  }
  function end() {
    for (const writer of [fetch, keep, replaced, removed, ...superseded.values()]) writer.end()
  }
  function found() {
    refuseWhiteouts(refused)
    return {
      folder,
      fetch: fetch.path,
      keep: keep.path,
      superseded: (layer: number) => superseded.get(layer)?.path,
      whiteouts: { replaced: replaced.path, removed: removed.path },
      weight,
      fetched,
      kept: keep.count(),
      removed: removed.count(),
      left,
    }
  }
  /** What the layer with the directories lacks of the way to what it holds. */
  function missingAbove(): string[] | 'all' {
    if (directories.size > MOST_DIRECTORIES) return 'all'
    return directories.size === 0 ? [] : [...above].filter((path) => !directories.has(path))
  }
  return { folder, supersede, take, end, found, missingAbove }
}

/** OCI layers use these names for "this path is gone": such a file would delete its neighbour when unpacked. */
function refuseWhiteouts(refused: string[]) {
  if (refused.length === 0) return
  throw new UserError('names beginning with .wh. cannot be captured', {
    what: refused.slice(0, MOST_NAMES).join(', ') + (refused.length > MOST_NAMES ? ', ...' : ''),
    allowed: 'rename or remove them: in an image they mean "deleted"',
  })
}

/**
 * Cuts what is to be fetched: layers of files, and the last one, which holds the directories, and the files too when they
 * are few and lie over another version.
 */
export function cutPlans({ fetch, folder, weight, isBased, groupOf }: Comparison) {
  const small = isBased && isSmall(weight)
  const count = small ? 0 : layerCount(weight)
  const files = Array.from({ length: count }, (_, i) => writeLines(join(folder, `files-${i}`)))
  const few = writeLines(join(folder, 'few'))
  const directories = writeLines(join(folder, 'directories'))
  const layerOf = cutLayers({ weight, count }, groupOf)
  for (const line of readLines(fetch)) {
    const seen = cutListLine(line)
    const writer = seen.type === 'd' ? directories : small ? few : files[layerOf(seen)]!
    writer.add(line)
  }
  for (const writer of [...files, few, directories]) writer.end()
  return {
    files: files.filter((writer) => writer.count() > 0).map((writer) => writer.path),
    few: few.path,
    directories: directories.path,
    isLast: few.count() + directories.count() > 0,
  }
}

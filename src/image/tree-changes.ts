// What a capture has to fetch: the list of files as they are now beside the rows of the version before. Both come in the
// order of paths and pass by once. A file is as it was when its compare line, its ctime and its inode are: every change,
// even of an attribute that find cannot see, gives a new ctime.
import type { Row, Seen } from './rows.ts'

export type Change =
  | { do: 'keep'; row: Row; seen: Seen }
  | { do: 'fetch'; seen: Seen; before: Row | undefined }
  | { do: 'drop'; row: Row } // it is there no more, or excluded now
  | { do: 'leave'; seen: Seen; why: string } // excluded

export type Rules = {
  /** Why a file stays out; undefined: it is captured. */
  excluded(seen: Seen): string | undefined
  /** File systems that keep neither inode numbers nor ctimes (vfat). */
  isWeak(path: string): boolean
  /** What tells the files of one inode from all others; asked for files with several names alone. */
  groupOf(seen: Seen): string
  /** Groups of hard links, and directories by path, that are fetched although nothing of them has changed. */
  forced: { groups: ReadonlySet<string>; directories: ReadonlySet<string> | 'all' }
}

export function* compareTrees(
  listed: Iterable<Seen>,
  rows: Iterable<Row>,
  rules: Rules,
  groups: Groups,
): Generator<Change> {
  const old = rows[Symbol.iterator]()
  let row = old.next()
  const replaced = openReplaced()
  for (const seen of listed) {
    for (; !row.done && row.value.path < seen.path; row = old.next()) yield { do: 'drop', row: row.value }
    const before = !row.done && row.value.path === seen.path ? row.value : undefined
    if (before !== undefined) row = old.next()
    const several = seen.links !== '1' && seen.type !== 'd'
    const why = rules.excluded(seen)
    if (why !== undefined) {
      yield { do: 'leave', seen, why }
      if (before !== undefined) {
        if (several) groups.moved.add(rules.groupOf(seen))
        yield { do: 'drop', row: before }
      }
      continue
    }
    const same =
      before !== undefined &&
      isSame(seen, before, rules) &&
      !(several && rules.forced.groups.has(rules.groupOf(seen))) &&
      !(seen.type === 'd' && isForced(seen.path, rules.forced.directories)) &&
      !replaced.covers(seen.path)
    if (several) (same ? groups.kept : groups.moved).add(rules.groupOf(seen))
    if (same) {
      yield { do: 'keep', row: before, seen }
      continue
    }
    if (before !== undefined && isReplaced(before, seen)) replaced.add(seen.path)
    yield { do: 'fetch', seen, before }
  }
  for (; !row.done; row = old.next()) yield { do: 'drop', row: row.value }
}

/** Groups of hard links of which some names stay and some are fetched: a second comparison must fetch them whole. */
export type Groups = { kept: Set<string>; moved: Set<string> }
export const torn = ({ kept, moved }: Groups): Set<string> =>
  new Set([...kept].filter((group) => moved.has(group)))

const isForced = (path: string, directories: ReadonlySet<string> | 'all'): boolean =>
  directories === 'all' || directories.has(path)

function isSame(seen: Seen, row: Row, { isWeak }: Rules): boolean {
  if (seen.compare !== row.compare) return false
  return (seen.ctimeNs === row.ctimeNs && seen.inode === row.inode) || isWeak(seen.path)
}

/** A folder in the place of something else, or something else in the place of a folder. */
export const isReplaced = (before: { type: string }, after: { type: string }): boolean =>
  before.type !== after.type && (before.type === 'd' || after.type === 'd')

/** A set of paths that also answers for all that lies below them. */
function openReplaced() {
  const paths = new Set<string>()
  const covers = (path: string) => paths.size > 0 && ancestorsOf(path).some((above) => paths.has(above))
  return { add: (path: string) => void paths.add(path), covers }
}

/** `a/b` and `a` of `a/b/c`, the nearest first; not the root. */
export function ancestorsOf(path: string): string[] {
  const found: string[] = []
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
    found.push(path.slice(0, at))
  return found
}

/**
 * The paths that an older layer holds and this version does not, as few as say it: of a folder that is gone, the folder
 * alone. To be asked in the order of paths.
 */
export function openRemoved() {
  const above = new Set<string>() // folders that are gone, or are none any more
  /** True when a whiteout is to be written for it. */
  function removed({ path, type }: { path: string; type: string }): boolean {
    if (above.size > 0 && ancestorsOf(path).some((folder) => above.has(folder))) return false
    if (type === 'd') above.add(path)
    return true
  }
  return { removed, replaced: (path: string) => void above.add(path) }
}

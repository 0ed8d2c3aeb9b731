// What differs between two trees, path by path.
import type { FileFacts, Stored } from './compare-line.ts'

export type What = 'type' | 'content' | 'target' | 'device' | 'mode' | 'owner' | 'xattr' | 'time'
export type Difference =
  | { path: string; change: 'added' | 'removed'; type: FileFacts['type'] }
  | { path: string; change: 'changed'; type: FileFacts['type']; what: What[] }

type File = FileFacts & Pick<Stored, 'sha256' | 'xattrs'>

// One row a kind of change: whether it is there. What a change of type changes besides is not said.
const rows: [What, (a: File, b: File) => boolean][] = [
  ['content', (a, b) => a.type === 'f' && contentDiffers(a, b)],
  ['target', (a, b) => a.target !== b.target],
  ['device', (a, b) => a.rdev !== b.rdev],
  ['mode', (a, b) => a.mode !== b.mode && a.type !== 'l'],
  ['owner', (a, b) => a.uid !== b.uid || a.gid !== b.gid],
  ['xattr', (a, b) => a.xattrs !== b.xattrs],
  ['time', (a, b) => a.mtimeNs !== b.mtimeNs],
]

/** Undefined: nothing differs. `a` is the older one. */
export function differenceOf(a: File, b: File): Difference | undefined {
  if (a.type !== b.type) return { path: b.path, change: 'changed', type: b.type, what: ['type'] }
  const what = rows.filter(([, differs]) => differs(a, b)).map(([name]) => name)
  return what.length === 0 ? undefined : { path: b.path, change: 'changed', type: b.type, what }
}

/** Where a digest is missing (a file of nothing but holes, by the terabyte) size and time tell. */
function contentDiffers(a: File, b: File): boolean {
  if (a.size !== b.size) return true
  if (a.sha256 !== undefined && b.sha256 !== undefined) return a.sha256 !== b.sha256
  return a.mtimeNs !== b.mtimeNs
}

/** By path, in the order of LC_ALL=C: paths are one character a byte. */
export const byPath = (a: { path: string }, b: { path: string }): number =>
  a.path < b.path ? -1 : a.path > b.path ? 1 : 0

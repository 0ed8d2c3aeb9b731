// Which files of a tree are identities and secrets, by name and where names do not say it by content, and which of them stay
// where they are.
import { bytewise } from './compare-line.ts'
import type { Counts, SomeFiles } from './preflight.ts'
import { addFile, countFiles } from './preflight.ts'
import type { ScrubRules } from './scrub.ts'
import { contentOf, makeClassify, scrubFacts, staysThere } from './scrub.ts'
import type { ScrubName } from './scrub-table.ts'

/** Paths are relative to the root, one character a byte. */
export type NamedFile = { path: string; type: string; size?: number | undefined }

export type Inspect = (content: string, paths: string[]) => Promise<ReadonlySet<string>>

export type Scrubbed = {
  counts: Counts
  /** Files that may be of a row and were too large to look into: as if they were of none. */
  unread: SomeFiles
  /** Why a file stays on the golden client; undefined: it may be taken. */
  left(path: string, type: string): string | undefined
}

type Needs = {
  /** Which of these files hold a line of that form, an extended regular expression. */
  inspect: Inspect
  rules: ScrubRules
  /** Paths that are of a row on this machine, as the key files that its crypttab names. */
  named?: Partial<Record<ScrubName, readonly string[]>>
}

/** Bytes of a file that is looked into. No key is as long, but one may stand at the end of a bundle or of a log. */
export const MAX_INSPECTED = 64 << 20
/** All files up to this are looked into, and of the larger ones the smallest, so many bytes of them in all. */
const SMALL = 1 << 20
const MAX_LARGE = 512 << 20

export async function scrubFiles({
  files,
  ...needs
}: Needs & { files: Iterable<NamedFile> }): Promise<Scrubbed> {
  const scrub = openScrub(needs)
  for (const file of files) scrub.see(file)
  return scrub.end()
}

/** To be shown all files one by one; of those that are nothing nothing is kept. `end` looks into those that may be something. */
export function openScrub(needs: Needs) {
  const { rules } = needs
  const classify = classifier(needs)
  const certain: Counts = new Map()
  const possible: Candidate[] = []
  function see({ path, type, size = 0 }: NamedFile) {
    const names = type === 'd' ? [] : classify({ path, type })
    if (names.length === 0) return
    const isSure = (name: ScrubName) => contentOf(name) === undefined || isNamed(needs, name, path)
    for (const name of names.filter(isSure)) addFile(certain, name, path)
    const unsure = names.filter((name) => !isSure(name)).filter(isNews(names.filter(isSure)))
    if (unsure.length > 0) possible.push({ path, size, names: unsure })
  }

  async function end(): Promise<Scrubbed> {
    const { candidates, unread } = readable(possible)
    const found = await inspectAll(needs, candidates)
    // What another row of identities and secrets names already is no key in another place: that row says what is done.
    const others = found.get('other-private-keys')
    for (const [name, paths] of found)
      if (name !== 'other-private-keys' && scrubFacts(name).kind !== 'data')
        for (const path of paths) others?.delete(path)
    for (const [name, paths] of found) for (const path of paths) addFile(certain, name, path)

    function left(path: string, type: string): string | undefined {
      const name = classify({ path, type }).find(
        (each) =>
          staysThere(each, rules[each]) &&
          (contentOf(each) === undefined ||
            isNamed(needs, each, path) ||
            found.get(each)?.has(path) === true),
      )
      return name === undefined ? undefined : `scrub: ${name}:${rules[name]}`
    }
    return { counts: certain, unread, left }
  }
  return { see, end }
}

type Candidate = { path: string; size: number; names: ScrubName[] }

/** A secret of another kind, as a host key, is no key in another place. */
const isNews =
  (sure: readonly ScrubName[]) =>
  (name: ScrubName): boolean =>
    name !== 'other-private-keys' || sure.every((each) => scrubFacts(each).kind === 'data')

/** What is looked into, by row; what is too large for that. */
function readable(possible: readonly Candidate[]) {
  const candidates = new Map<ScrubName, string[]>()
  const unread: SomeFiles = { count: 0, names: [] }
  let left = MAX_LARGE
  for (const { path, size, names } of possible.toSorted((a, b) => a.size - b.size)) {
    if (size > SMALL) left -= size
    if (size > MAX_INSPECTED || left < 0) countFiles(unread, path)
    else for (const name of names) pathsOf(candidates, name).push(path)
  }
  return { candidates, unread }
}

function pathsOf(candidates: Map<ScrubName, string[]>, name: ScrubName): string[] {
  const paths = candidates.get(name) ?? []
  candidates.set(name, paths)
  return paths
}

/** What a machine itself names: the key files of its crypttab. */
export function namedFiles(crypttab: string | undefined): NonNullable<Needs['named']> {
  const keys = (crypttab ?? '').split('\n').map((line) => line.trim().split(/\s+/)[2] ?? '')
  const files = keys.filter((path) => /^\/(?!dev\/|proc\/)/.test(path))
  return { 'disk-keys': files.map((path) => bytewise(path.slice(1))) }
}

const isNamed = ({ named = {} }: Needs, name: ScrubName, path: string) => named[name]?.includes(path) === true

function classifier({ named = {} }: Needs) {
  const byName = makeClassify()
  const more = Object.entries(named) as [ScrubName, readonly string[]][]
  return (file: NamedFile): ScrubName[] => {
    const names = byName(file)
    for (const [name, paths] of more) if (paths.includes(file.path) && !names.includes(name)) names.push(name)
    return names
  }
}

/** Which of the candidates are what their names say; files of all rows that ask for one content are looked into at once. */
async function inspectAll(needs: Needs, candidates: ReadonlyMap<ScrubName, string[]>) {
  const byContent = Map.groupBy(candidates.keys(), (name) => contentOf(name)!)
  const found = new Map<ScrubName, Set<string>>()
  await Promise.all(
    [...byContent].map(async ([content, names]) => {
      const paths = new Set(names.flatMap((name) => candidates.get(name)!))
      const hits = await needs.inspect(content, [...paths])
      for (const name of names)
        found.set(name, new Set(candidates.get(name)!.filter((path) => hits.has(path))))
    }),
  )
  return found
}

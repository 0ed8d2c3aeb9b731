// Which files of a tree are identities and secrets, by name and where names do not say it by content, and which of them stay
// where they are.
import { bytewise } from './compare-line.ts'
import type { Counts } from './preflight.ts'
import { addFile } from './preflight.ts'
import type { ScrubName, ScrubRules } from './scrub.ts'
import { contentOf, makeClassify, scrubFacts, staysThere } from './scrub.ts'

/** Paths are relative to the root, one character a byte. */
export type NamedFile = { path: string; type: string; size?: number | undefined }

export type Inspect = (content: string, paths: string[]) => Promise<ReadonlySet<string>>

export type Scrubbed = {
  counts: Counts
  /** Why a file stays on the golden client; undefined: it may be taken. */
  left(path: string, type: string): string | undefined
}

type Needs = {
  files: Iterable<NamedFile>
  /** Which of these files hold a line of that form, an extended regular expression. */
  inspect: Inspect
  rules: ScrubRules
  /** Paths that are of a row on this machine, as the key files that its crypttab names. */
  named?: Partial<Record<ScrubName, readonly string[]>>
}

export const MAX_INSPECTED = 1 << 20 // bytes of a file that is looked into: no key is longer

export async function scrubFiles(needs: Needs): Promise<Scrubbed> {
  const { files, rules } = needs
  const classify = classifier(needs)
  const certain: Counts = new Map()
  const candidates = new Map<ScrubName, string[]>()
  for (const file of files)
    for (const name of file.type === 'd' ? [] : classify(file)) {
      if (contentOf(name) === undefined || isNamed(needs, name, file.path)) addFile(certain, name, file.path)
      else if ((file.size ?? 0) <= MAX_INSPECTED) {
        const paths = candidates.get(name) ?? []
        candidates.set(name, paths)
        paths.push(file.path)
      }
    }
  const found = await inspectAll(needs, candidates)
  // What another row of identities and secrets names already is no key in another place: that row says what is done.
  const others = found.get('other-private-keys')
  for (const path of others ?? []) {
    const isOfAnother = (name: ScrubName) =>
      name !== 'other-private-keys' &&
      scrubFacts(name).kind !== 'data' &&
      (contentOf(name) === undefined || isNamed(needs, name, path) || found.get(name)?.has(path) === true)
    if (classify({ path, type: 'f' }).some(isOfAnother)) others?.delete(path)
  }
  for (const [name, paths] of found) for (const path of paths) addFile(certain, name, path)

  function left(path: string, type: string): string | undefined {
    const name = classify({ path, type }).find(
      (each) =>
        staysThere(each, rules[each]) &&
        (contentOf(each) === undefined || isNamed(needs, each, path) || found.get(each)?.has(path) === true),
    )
    return name === undefined ? undefined : `scrub: ${name}:${rules[name]}`
  }
  return { counts: certain, left }
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

// The look at a golden client before its capture: which of its files are identities and secrets, by name and where names
// do not say it by content, which never leaves that machine.
import { Readable } from 'node:stream'
import { bytewise } from '../../src/image/compare-line.ts'
import type { Counts } from '../../src/image/preflight.ts'
import { addFile } from '../../src/image/preflight.ts'
import type { Probe } from '../../src/image/probe.ts'
import type { ScrubName, ScrubRules } from '../../src/image/scrub.ts'
import { contentOf, makeClassify, staysThere } from '../../src/image/scrub.ts'
import type { Ssh } from '../remote/ssh.ts'
import { collect } from './layer.ts'

/** Paths are relative to the root, one character a byte. */
export type NamedFile = { path: string; type: string; size?: number | undefined }

export type Scrubbed = {
  counts: Counts
  /** Why a file stays on the golden client; undefined: it may be taken. */
  left(path: string, type: string): string | undefined
}

type Needs = {
  ssh: Pick<Ssh, 'runScript'>
  script: string // bootfiles/capture/inspect.sh
  root: string
  files: Iterable<NamedFile>
  rules: ScrubRules
  /** Paths that are of a row on this machine, as the key files that its crypttab names. */
  named?: Partial<Record<ScrubName, readonly string[]>>
}

const MAX_INSPECTED = 1 << 20 // bytes of a file that is looked into: no key is longer
const MAX_NAMES = 64 << 20

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
  // What another row names already is no key in another place.
  const others = found.get('other-private-keys')
  for (const [name, paths] of found)
    if (name !== 'other-private-keys') for (const path of paths) others?.delete(path)
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

/** What the machine itself names: the key files of its crypttab. */
export function namedFiles({ layout }: Probe): NonNullable<Needs['named']> {
  const keys = (layout.crypttab ?? '').split('\n').map((line) => line.trim().split(/\s+/)[2] ?? '')
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
      const hits = await inspect(needs, content, [...paths])
      for (const name of names)
        found.set(name, new Set(candidates.get(name)!.filter((path) => hits.has(path))))
    }),
  )
  return found
}

async function inspect({ ssh, script, root }: Needs, content: string, paths: string[]): Promise<Set<string>> {
  const input = Readable.from([Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1')])
  const running = await ssh.runScript(script, [root, content], input)
  const [stdout, stderr] = await Promise.all([
    collect(running.stdout, MAX_NAMES),
    collect(running.stderr, 65_536),
  ])
  const exit = await running.exit
  if (exit !== 0) throw new Error(`inspect.sh ended with ${exit}: ${stderr.slice(0, 300)}`)
  const asked = new Set(paths)
  return new Set(stdout.split('\0').filter((path) => asked.has(path)))
}

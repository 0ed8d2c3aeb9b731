// Files that may not be changed, or only be added to: they are captured, and a clone has them without that.
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { bytewise, unescapePath } from '../../src/image/compare-line.ts'
import { parsePreflight } from '../../src/image/preflight.ts'
import { cutListLine } from '../../src/image/rows.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Images } from '../images/store.ts'
import type { Ssh } from '../remote/ssh.ts'
import { ask } from './ask.ts'
import { readLines } from './lines.ts'

const MAX_SAID = 16 << 20
/** What flags.sh says of one file system: when there are as many there may be more. */
const MOST_NAMES = 1000
const NAMES = 65_536 // bytes of names that are sent at once

type Golden = {
  ssh: Pick<Ssh, 'runScript'>
  script: string // bootfiles/capture/flags.sh
  root: string
}

/**
 * All of them: this reads every inode.
 * @returns '/etc/resolv.conf (i)', as lsattr says it: i immutable, a append-only; undefined: lsattr is not there
 */
export const flaggedFiles = (golden: Golden, mountpoints: readonly string[]): Promise<string[] | undefined> =>
  flagged(golden, mountpoints, [])

/**
 * The same, when it is known which there were: these are asked about, and what has changed since, as to set or to clear a
 * flag gives a file another ctime.
 * @param before what flaggedFiles gave
 * @param changed a file of lines of the list
 */
export const flaggedSince = (golden: Golden, before: readonly string[], changed: string) =>
  flagged(golden, [], namesOf(before, changed))

/** What is known from the version before, of the same machine; undefined: not everything. */
export function flaggedBefore(images: Images, base: ImageVersion | undefined, node: string) {
  if (base?.preflight === undefined || base.source !== node) return undefined
  try {
    const { flagged } = parsePreflight(readFileSync(images.blobPath(base.preflight.digest), 'utf8'))
    const isWhole = flagged && flagged.length < MOST_NAMES && !flagged.some((name) => name.includes('\ufffd'))
    return isWhole ? flagged : undefined // such a name was no UTF-8, and cannot be asked about
  } catch {
    return undefined // it is damaged, or from another time: it is looked at again
  }
}

async function flagged(
  { ssh, script, root }: Golden,
  mountpoints: readonly string[],
  names: Iterable<Buffer>,
): Promise<string[] | undefined> {
  const said = await ask(ssh, script, [root, ...mountpoints, ''], MAX_SAID, Readable.from(names))
  if (said === '') return undefined
  const found = new Set<string>()
  let mount = ''
  for (const line of said.split('\n')) {
    const [, flag, path] = /^([ia]) \.(.*)$/.exec(line) ?? []
    if (line.startsWith('at ')) mount = line.slice(3).replace(/\/$/, '')
    else if (flag !== undefined) found.add(`${`${mount}${path}` || '/'} (${flag})`)
  }
  return [...found].sort()
}

/** Names as flags.sh reads them, in pieces. */
function* namesOf(before: readonly string[], changed: string): Generator<Buffer> {
  let names = before.map((name) => `.${bytewise(name.replace(/ \([ia]\)$/, ''))}\0`).join('')
  for (const line of readLines(changed)) {
    const { path, type } = cutListLine(line)
    if (type !== 'f' && type !== 'd') continue
    names += path === '.' ? '.\0' : `./${unescapePath(path)}\0`
    if (names.length < NAMES) continue
    yield Buffer.from(names, 'latin1')
    names = ''
  }
  yield Buffer.from(names, 'latin1')
}

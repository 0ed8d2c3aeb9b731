// What a layer holds, read while its archive passes by: the rows of the manifest, and the digest of the archive. The
// members must come in the order in which they were asked for.
import { createHash } from 'node:crypto'
import { renameSync } from 'node:fs'
import type { Digest } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import { escapePath, renderManifestLine, type Stored } from '../../src/image/compare-line.ts'
import { readHashedTar } from '../../src/image/content-hash.ts'
import type { Seen } from '../../src/image/rows.ts'
import type { TarEntry } from '../../src/image/tar.ts'
import { isWhiteout } from '../../src/image/whiteout.ts'
import { readLinesBackwards, writeLines } from './lines.ts'

export type IndexNeeds = {
  layer: number
  listed: Iterable<Seen>
  /** Two files of rows are made from it: of what was listed as a directory, and of all else. */
  rows: string
  /** A ctime from here on says nothing: the file may change again without another one. */
  freshNs: string
}
export type LayerIndex = ReturnType<typeof indexLayer>

export function indexLayer({ layer, listed, rows, freshNs }: IndexNeeds) {
  const plan = listed[Symbol.iterator]()
  const [files, directories] = [writeLines(`${rows}.files`), writeLines(`${rows}.directories`)]
  const firsts = new Map<string, { entry: TarEntry; stored: Stored; waiting: number }>() // of files with several names
  const skipped: Seen[] = []
  const archive = createHash('sha256')
  let tarBytes = 0
  let whiteouts = 0
  const tar = readHashedTar((entry, sha256) => {
    if (isWhiteout(entry.facts.path)) whiteouts += 1
    else addRow(entry, sha256)
  })

  function addRow(entry: TarEntry, sha256: string | undefined) {
    const seen = findListed(entry.facts.path)
    const { xattrs, offset } = entry
    const ctimeNs = isBefore(entry.ctimeNs, freshNs) ? entry.ctimeNs : undefined
    const own = { layer, offset, inode: seen.inode, ...(ctimeNs === undefined ? {} : { ctimeNs }) }
    const first = entry.hardLinkTo === undefined ? undefined : firstOf(entry.hardLinkTo, entry)
    const found = first?.stored ?? {
      ...(sha256 === undefined ? {} : { sha256 }),
      ...(xattrs === undefined ? {} : { xattrs }),
    }
    const facts = first === undefined ? entry.facts : { ...first.entry.facts, path: entry.facts.path }
    const stored = { ...found, ...own }
    if (first === undefined && seen.links !== '1' && seen.type === 'f')
      firsts.set(entry.facts.path, { entry, stored, waiting: Number(seen.links) - 1 })
    const writer = seen.type === 'd' ? directories : files
    writer.add(renderManifestLine(facts, stored))
  }

  /** What was listed and does not come has vanished since. */
  function findListed(path: string): Seen {
    const written = escapePath(path)
    for (let next = plan.next(); !next.done; next = plan.next()) {
      if (next.value.path === written) return next.value
      skipped.push(next.value)
    }
    throw new UserError('the golden client sent a file that was not asked for', { what: path })
  }

  function firstOf(path: string, entry: TarEntry) {
    const first = firsts.get(path)
    if (first === undefined)
      throw new UserError('a hard link came before its file', {
        what: entry.facts.path,
        allowed: 'another capture: it was linked meanwhile',
      })
    first.waiting -= 1
    if (first.waiting <= 0) firsts.delete(path) // all names have come: nothing waits for it any more
    return first
  }

  function push(bytes: Buffer) {
    archive.update(bytes)
    tarBytes += bytes.length
    tar.push(bytes)
  }
  /** Throws WireError when the archive is not whole. */
  function end() {
    tar.end()
    for (let next = plan.next(); !next.done; next = plan.next()) skipped.push(next.value)
    files.end()
    directories.end()
    turnRound(directories.path)
    return {
      diffId: `sha256:${archive.digest('hex')}` as Digest,
      tarBytes,
      entryCount: files.count() + directories.count() + whiteouts,
      whiteouts,
      hasDirectories: directories.count() > 0,
      skipped,
    }
  }
  return {
    push,
    end,
    boundary: tar.boundary,
    entries: () => files.count() + directories.count(),
    rows: [files.path, directories.path],
  }
}

/** Directories come with the innermost first; their rows are in the order of paths. */
function turnRound(path: string) {
  const inOrder = writeLines(`${path}.in-order`)
  for (const line of readLinesBackwards(path)) inOrder.add(line)
  inOrder.end()
  renameSync(inOrder.path, path)
}

/** Times are decimal texts of nanoseconds, of one length for these three centuries. */
export function isBefore(time: string | undefined, limit: string): boolean {
  if (time === undefined) return false
  return time.length < limit.length || (time.length === limit.length && time < limit)
}

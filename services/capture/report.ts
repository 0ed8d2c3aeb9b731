// The report of a capture, which is kept with its version: in numbers what was captured, left out, read again.
import type { CaptureReport } from '../../src/image/capture-report.ts'
import { named } from '../../src/image/capture-report.ts'
import { unescapePath } from '../../src/image/compare-line.ts'
import type { ImageKind, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Archived } from './archive.ts'
import type { Assembled } from './assemble.ts'
import type { Comparison } from './compare.ts'

type Done = {
  node: string
  kind: ImageKind
  startedAt: number // milliseconds since 1970
  endedAt: number
  movedBytes: number
  base: ImageVersion | undefined
  salvaged: { layer: { bytes: number } }[]
  comparison: Comparison
  archived: Archived
  assembled: Assembled
}

export function reportOf(done: Done): CaptureReport {
  const { node, kind, startedAt, endedAt, movedBytes, base, salvaged, comparison, archived, assembled } = done
  const { fetched, kept, removed, left } = comparison
  const resumed = {
    layers: salvaged.length,
    bytes: salvaged.reduce((sum, { layer }) => sum + layer.bytes, 0),
  }
  const fresh = new Set(archived.layers.map(({ layer }) => layer.digest))
  return {
    node,
    kind,
    ...(base && { base: versionName(base) }),
    startedAt: new Date(startedAt).toISOString(),
    seconds: (endedAt - startedAt) / 1000,
    entries: assembled.entries,
    fetched: { entries: fetched.entries, files: fetched.files, bytes: Math.round(fetched.bytes) },
    unchanged: kept,
    removed,
    left: Object.fromEntries([...left].sort(([a], [b]) => (a < b ? -1 : 1))),
    changed: named(archived.changed.map(unescapePath)),
    retried: archived.retried,
    vanished: named(archived.vanished.map(unescapePath)),
    ...(salvaged.length > 0 && { resumed }),
    movedBytes,
    storedBytes: assembled.layers
      .filter(({ digest }) => fresh.has(digest))
      .reduce((sum, layer) => sum + layer.bytes, 0),
  }
}

/** What a person is to know at once; undefined: nothing. */
export function summary({ changed, vanished }: CaptureReport): string | undefined {
  const say = ({ names, count }: CaptureReport['changed'], what: string) =>
    count === 0 ? [] : [`${what}: ${names.slice(0, 5).join(', ')}${count > 5 ? ', ...' : ''}`]
  return (
    [...say(changed, 'still written to while read'), ...say(vanished, 'vanished while it ran')].join('; ') ||
    undefined
  )
}

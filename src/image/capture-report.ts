// What a capture did, in numbers: kept with the version that it made, and shown by `lsimage IMG:N --report`.
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { WireError } from '../fault.ts'

/** Some names of many: `count` says how many there are. */
export type Named = { count: number; names: string[] }

export type CaptureReport = {
  node: string
  kind: 'sysclone' | 'diskless'
  base?: string // 'img:2'; absent: everything was fetched
  startedAt: string // ISO 8601
  seconds: number
  entries: number // in the version
  fetched: { entries: number; files: number; bytes: number } // of content
  unchanged: number // entries that stayed where they are
  removed: number // paths of the base that are gone
  left: Record<string, number> // entries that stayed out, by the reason
  changed: Named // were still being written to when they were read for the last time
  retried: number // files that were read again because they had been written to meanwhile
  vanished: Named // were listed and gone when they were to be read
  resumed?: { layers: number; bytes: number } // received by an earlier attempt
  movedBytes: number // over the wire, of archives
  storedBytes: number // of new layers in the store
}

const MOST_NAMES = 1000

export const named = (names: readonly string[]): Named => ({
  count: names.length,
  names: names.slice(0, MOST_NAMES).map(printable),
})

/** Names are one character a byte. What is UTF-8 is shown as such. */
export function printable(name: string): string {
  const bytes = Buffer.from(name, 'latin1')
  const text = bytes.toString('utf8')
  return (text.includes('\ufffd') ? name : text).replace(/[\x00-\x1f\x7f-\x9f]/g, '?')
}

const count = Type.Integer({ minimum: 0 })
const List = Type.Object({ count, names: Type.Array(Type.String()) })
const Report = Type.Object({
  node: Type.String(),
  kind: Type.Union([Type.Literal('sysclone'), Type.Literal('diskless')]),
  base: Type.Optional(Type.String()),
  startedAt: Type.String(),
  seconds: Type.Number(),
  entries: count,
  fetched: Type.Object({ entries: count, files: count, bytes: Type.Number() }),
  unchanged: count,
  removed: count,
  left: Type.Record(Type.String(), count),
  changed: List,
  retried: count,
  vanished: List,
  resumed: Type.Optional(Type.Object({ layers: count, bytes: count })),
  movedBytes: count,
  storedBytes: count,
})

/** Throws WireError when it is none. */
export function parseCaptureReport(json: string): CaptureReport {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw new WireError('capture report: not JSON')
  }
  if (!Value.Check(Report, value)) throw new WireError('capture report: out of shape')
  return value as CaptureReport
}

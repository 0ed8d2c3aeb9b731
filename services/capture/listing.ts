// The list of the golden client's files and the rows of the version before, both as files sorted by path.
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { isDiskFull, UserError, WireError } from '../../src/fault.ts'
import { inNanoseconds, isSocketLine, unescapePath } from '../../src/image/compare-line.ts'
import { cutListLine } from '../../src/image/rows.ts'
import { readLines, sortInto } from './lines.ts'

const MAX_LIST = 8 * 2 ** 30 // some fifty million files
const PATH_OF_LIST = 11 // its field, from 1
const PATH_OF_ROW = 8
const MAX_LINE = 64 << 10
const SURE_NS = 1_000_000_000n

/** Sorts what list.sh prints. Its first line, `begin TIME`, and its last one, `end`, have no path and come first. */
export async function sortList(file: string, source: Readable, folder: string): Promise<void> {
  await sortInto(file, PATH_OF_LIST, listStream(source), folder)
  const [first, second] = readLines(file)
  if (first === undefined || beginNs(first) === undefined)
    throw new WireError('file list: its beginning is missing')
  if (second !== 'end') throw new WireError('file list: its end is missing')
}

/** Sorts a manifest blob. */
export async function sortRows(file: string, manifest: string, folder: string): Promise<void> {
  const plain = createZstdDecompress()
  const source = pipeline(createReadStream(manifest), plain)
  source.catch(() => {}) // its fault is one of the sorted stream too
  await sortInto(file, PATH_OF_ROW, plain, folder).catch((error) => {
    if (isDiskFull(error)) throw error // it is not the manifest's fault
    throw new UserError('the manifest of the version before cannot be read', {
      what: (error as Error).message,
    })
  })
}

/** Whole lines, with their times in nanoseconds. */
export function listStream(source: Readable): Readable {
  let bytes = 0
  let rest = ''
  const limit = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length
      if (bytes > MAX_LIST)
        return done(
          new UserError('the golden client says too much', { what: `more than ${MAX_LIST} bytes of list` }),
        )
      const text = rest + chunk.toString('latin1')
      const end = text.lastIndexOf('\n') + 1
      rest = text.slice(end)
      if (rest.length > MAX_LINE)
        return done(new WireError(`file list: a line of more than ${MAX_LINE} characters`))
      done(null, Buffer.from(inNanoseconds(text.slice(0, end)), 'latin1'))
    },
    flush(done) {
      done(null, Buffer.from(inNanoseconds(rest), 'latin1'))
    },
  })
  pipeline(source, limit).catch(() => {})
  return limit
}

/** When a list was begun, by the clock of its machine; undefined when it does not say so. */
export function beginOf(list: string): string | undefined {
  const [first = ''] = readLines(list)
  return beginNs(first)
}

function beginNs(line: string): string | undefined {
  const [, seconds, fraction = ''] = /^begin (\d{1,12})(?:\.(\d{1,9}))?$/.exec(line) ?? []
  return seconds && `${seconds}${fraction.padEnd(9, '0')}`
}

/** A ctime from here on may be followed by changes that give the same one: clocks of file systems are coarse. */
export const freshFrom = (beginNs: string): string => String(BigInt(beginNs) - SURE_NS)

/** The files of a sorted list, by name: nothing else of a line is looked at. */
export function* readList(list: string): Generator<{ path: string; type: string; size: number | undefined }> {
  for (const line of readLines(list)) {
    if (line === 'end' || line.startsWith('begin ') || isSocketLine(line)) continue
    const { path, type, size } = cutListLine(line)
    yield { path: unescapePath(path), type, size: size === '-' ? undefined : Number(size) }
  }
}

// The list of the golden client's files and the rows of the version before, both as files sorted by path.
import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import { isDiskFull, UserError, WireError } from '../../src/fault.ts'
import { inNanoseconds, isSocketLine, unescapePath } from '../../src/image/compare-line.ts'
import type { Probe } from '../../src/image/probe.ts'
import { cutListLine } from '../../src/image/rows.ts'
import type { Running, Ssh } from '../remote/ssh.ts'
import { readLines, sortInto } from './lines.ts'
import { preferSaid } from './node-fault.ts'

const MAX_LIST = 8 * 2 ** 30 // some fifty million files
const PATH_OF_LIST = 11 // its field, from 1
const PATH_OF_ROW = 8
const MAX_LINE = 64 << 10
const SURE_NS = 1_000_000_000n

export type RunningList = { lines: Readable; running: Running }

/**
 * Starts list.sh. `lines` are whole ones, their times in nanoseconds.
 * @param script bootfiles/capture/list.sh
 */
export async function runList(
  { ssh, script, root }: { ssh: Pick<Ssh, 'runScript'>; script: string; root: string },
  { compress, mountpoints }: Pick<Probe, 'compress' | 'mountpoints'>,
): Promise<RunningList> {
  const running = await ssh.runScript(script, [root, compress ? 'zstd' : 'plain', ...mountpoints])
  return { lines: wholeLines(running.stdout, compress ? [createZstdDecompress()] : []), running }
}

/** Sorts what list.sh prints. Its first line, `begin TIME`, and its last one, `end`, have no path and come first. */
export async function sortList(file: string, { lines }: RunningList, folder: string): Promise<void> {
  await sortInto(file, PATH_OF_LIST, lines, folder).catch((error) => {
    throw damaged(error)
  })
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

function wholeLines(source: Readable, unpack: Transform[]): Readable {
  const limit = limitLines()
  pipeline([source, ...unpack, limit]).catch(() => {}) // is a fault of what is read from it
  return limit
}

/** The lines one by one, `begin` and `end` among them. A lost connection is said as such, and not as a list that was cut. */
export async function* eachLine({ lines, running }: RunningList): AsyncGenerator<string> {
  let rest = ''
  try {
    for await (const chunk of lines) {
      const whole = (rest + (chunk as Buffer).toString('latin1')).split('\n')
      rest = whole.pop()!
      yield* whole
    }
  } catch (error) {
    await preferSaid(running.exit)(damaged(error as Error))
  }
}

/** zlib's own faults: the golden client, or who speaks for it, sent something else. */
const damaged = (error: NodeJS.ErrnoException): Error =>
  /^Z(STD)?_/.test(error.code ?? '') ? new WireError(`file list: ${error.message}`) : error

function limitLines(): Transform {
  let bytes = 0
  let rest = ''
  return new Transform({
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

// Files of lines on their way through a capture: lists of millions of files are read and written in pieces and never
// held whole. All of it is synchronous: these files lie in the page cache, and a job has a process of its own. They are open
// only while a piece is read or written: who stops midway has nothing to close, and no deleted file takes room on the disk.
import { spawn } from 'node:child_process'
import { appendFileSync, closeSync, openSync, readSync, statSync, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { UserError } from '../../src/fault.ts'

const PIECE = 1 << 18
const MAX_LINE = 64 << 10 // two paths of 4 KiB, escaped, are shorter
const NEWLINE = 0x0a

/**
 * The lines of a file, as latin1 strings, without their ends. A last line that has no end is left out: it was cut. Each is a
 * string of its own: of a piece that was cut by `split`, a word that somebody keeps would keep the whole piece.
 */
export function* readLines(path: string): Generator<string> {
  const buffer = Buffer.allocUnsafe(PIECE)
  let rest = ''
  for (let position = 0; ; ) {
    const length = readPiece(path, buffer, position)
    if (length === 0) return
    position += length
    let from = 0
    for (let end = endOfLine(buffer, from, length); end >= 0; end = endOfLine(buffer, from, length)) {
      const line = buffer.toString('latin1', from, end)
      yield rest === '' ? line : rest + line
      rest = ''
      from = end + 1
    }
    rest += buffer.toString('latin1', from, length)
    if (rest.length > MAX_LINE)
      throw new UserError('a line is too long', { what: `${rest.length} characters`, object: path })
  }
}

/** The same, the last line first. All lines have ends. */
export function* readLinesBackwards(path: string): Generator<string> {
  const buffer = Buffer.allocUnsafe(PIECE)
  const { size } = statSync(path)
  let rest = '' // of a line whose beginning is still to be read
  for (let end = size - 1; end > 0; ) {
    const length = readPiece(path, buffer.subarray(0, Math.min(PIECE, end)), Math.max(0, end - PIECE))
    end -= length
    let to = length
    for (let at = beginOfLine(buffer, to); at > 0; at = beginOfLine(buffer, to)) {
      yield buffer.toString('latin1', at, to) + rest
      rest = ''
      to = at - 1
    }
    rest = buffer.toString('latin1', 0, to) + rest
  }
  if (size > 0) yield rest
}

/** Where the line ends that begins at `from`; -1: not before `length`. */
function endOfLine(buffer: Buffer, from: number, length: number): number {
  const at = buffer.indexOf(NEWLINE, from)
  return at < length ? at : -1
}

/** Where the line begins that ends at `to`; 0: it may begin before the buffer. */
const beginOfLine = (buffer: Buffer, to: number): number =>
  to === 0 ? 0 : buffer.lastIndexOf(NEWLINE, to - 1) + 1

function readPiece(path: string, buffer: Buffer, position: number): number {
  const file = openSync(path, 'r')
  try {
    return readSync(file, buffer, 0, buffer.length, position)
  } finally {
    closeSync(file)
  }
}

export type LineWriter = ReturnType<typeof writeLines>

/** Writes lines to a new file; they are in it when `end` has returned. */
export function writeLines(path: string) {
  writeFileSync(path, '', { flag: 'wx', mode: 0o600 })
  let parts: string[] = []
  let size = 0
  let count = 0
  function flush() {
    appendFileSync(path, Buffer.from(parts.join(''), 'latin1'))
    parts = []
    size = 0
  }
  function add(line: string) {
    parts.push(line, '\n')
    size += line.length + 1
    count += 1
    if (size >= PIECE) flush()
  }
  return { path, add, end: flush, count: () => count }
}

/** Sorts what comes by one field (from 1; undefined: by the whole line), bytes as they are, into a file. */
export async function sortInto(file: string, field: number | undefined, source: Readable, folder: string) {
  const key = field === undefined ? [] : ['-t', '\t', '-k', `${field},${field}`, '-s']
  const args = [...key, '-S', '48M', '--parallel=2', '-T', folder, '-o', file]
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' }
  const sort = spawn('sort', args, { env, stdio: ['pipe', 'ignore', 'pipe'] })
  let said = ''
  sort.stderr.on('data', (chunk) => {
    said = (said + chunk).slice(0, 500)
  })
  const ended = new Promise<number | null>((resolve, reject) =>
    sort.once('error', reject).once('close', resolve),
  )
  const fed = pipeline(source, sort.stdin).catch((error) => error as Error)
  const code = await ended
  if (/No space left on device|Disk quota exceeded/.test(said)) throw fullDisk(said.trim())
  if (code !== 0)
    throw new UserError('sorting failed on this server', { what: said.trim() || `exit code ${code}` })
  const broken = await fed
  if (broken) throw broken
}

/** As the system says it of our own files: a program has only words for it. */
const fullDisk = (said: string): Error => Object.assign(new Error(said), { code: 'ENOSPC' })

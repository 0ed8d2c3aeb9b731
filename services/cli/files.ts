// Files that the command line reads for its user: the server never sees their paths.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { UserError } from '../../src/fault.ts'
import { readFiles } from '../../src/noderange.ts'

/** A text file, or what comes from the standard input when `path` is `-`. */
export function readText(path: string): string {
  const bytes = readBytes(path)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UserError('not a text', { what: 'bytes that are no UTF-8', object: path })
  }
}

export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path === '-' ? 0 : path)
  } catch (error) {
    throw new UserError('the file can not be read', {
      what: error instanceof Error ? error.message : String(error),
      object: path,
    })
  }
}

/** A noderange with the names that stand in its `^files`. */
export const noderangeOf = (typed: string): string => readFiles(typed, readText)

/** One line of the standard input. A terminal asks for it and does not show what is typed. */
export async function readHiddenLine(what: string): Promise<string> {
  const terminal = process.stdin.isTTY === true
  if (terminal) process.stderr.write(`${what}: `)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal })
  const line = await new Promise<string | undefined>((resolve) => {
    lines.once('line', resolve)
    lines.once('close', () => resolve(undefined)) // Ctrl-C too
  })
  lines.close()
  process.stdin.destroy() // who writes on must not keep us waiting
  if (terminal) process.stderr.write('\n')
  if (line) return line
  throw new UserError(`${what}: the standard input has no first line`, {
    what: line === undefined ? 'it is empty' : 'the line is empty',
    allowed: `${what}= takes it away`,
  })
}

// Files that the command line reads for its user: the server never sees their paths.
import { readFileSync } from 'node:fs'
import { UserError } from '../../src/fault.ts'
import { readFiles } from '../../src/noderange.ts'

/** A text file, or what comes from the standard input when `path` is `-`. */
export function readText(path: string): string {
  let bytes: Buffer
  try {
    bytes = readFileSync(path === '-' ? 0 : path)
  } catch (error) {
    throw new UserError('the file can not be read', {
      what: error instanceof Error ? error.message : String(error),
      object: path,
    })
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new UserError('not a text', { what: 'bytes that are no UTF-8', object: path })
  }
}

/** A noderange with the names that stand in its `^files`. */
export const noderangeOf = (typed: string): string => readFiles(typed, readText)

// What a machine says on its serial port: the ramdisk's progress lines among everything that firmware and kernel print.
//   sysclone: PHASE PERCENT% TEXT
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs'

export type Progress = { phase: string; percent: number; text: string }

/** The last progress line of a console text. A line that is still being written does not count. */
export function lastProgress(text: string): Progress | undefined {
  const lines = text.matchAll(/sysclone: ([a-z][a-z0-9-]*) (\d{1,3})%(?: ([^\r\n]*))?[\r\n]/g)
  const [, phase, percent, more] = [...lines].at(-1) ?? []
  if (phase === undefined || Number(percent) > 100) return undefined
  return { phase, percent: Number(percent), text: (more ?? '').replace(/[^\x20-\x7e]/g, '').trimEnd() }
}

const windowBytes = 256 * 1024

/** Reads a console log from `from` on, at most the last 256 KiB of it. */
export function readConsole(path: string, from = 0): string {
  if (!existsSync(path)) return ''
  const file = openSync(path, 'r')
  try {
    const size = fstatSync(file).size
    const start = Math.max(from, size - windowBytes)
    const bytes = Buffer.alloc(Math.max(0, size - start))
    const read = readSync(file, bytes, 0, bytes.length, start)
    return bytes.toString('latin1', 0, read)
  } finally {
    closeSync(file)
  }
}

// Files of lines, read in pieces: what is at the seam of two pieces is as whole as the rest.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readLines, readLinesBackwards, writeLines } from '../../services/capture/lines.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sysclone-lines-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Lines of many lengths, empty ones too, each of its own text; more than two pieces of 256 KiB. */
function someLines(seed: number): string[] {
  let state = seed
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state % below
  }
  return Array.from({ length: 12_000 }, (_, i) => {
    const length = [0, 1, 40, 120, 900][next(5)]! && next(120)
    return length === 0 ? '' : `${i}\t\xff${'x'.repeat(length)}`
  })
}

const write = (name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text, 'latin1')
  return path
}
const ended = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('')

describe('files of lines', () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('are read from both ends (%i)', (seed) => {
    const lines = someLines(seed)
    const path = write(`both-${seed}`, ended(lines))
    expect([...readLines(path)]).toEqual(lines)
    expect([...readLinesBackwards(path)]).toEqual(lines.toReversed())
  })

  test.each([0, 1, 2, 3])('a newline that is %i bytes behind the seam of two pieces', (behind) => {
    const lines = ['a'.repeat(60_000), 'b'.repeat(60_000), 'c'.repeat(60_000), 'd'.repeat(60_000)]
    const begun = ended(lines).length
    lines.push('e'.repeat((1 << 18) - begun + behind - 1), '', 'f')
    const path = write(`seam-${behind}`, ended(lines))
    expect([...readLines(path)]).toEqual(lines)
    expect([...readLinesBackwards(path)]).toEqual(lines.toReversed())
  })

  test('an empty file has none, one of a newline has one that is empty', () => {
    for (const read of [readLines, readLinesBackwards]) {
      expect([...read(write(`none-${read.name}`, ''))]).toEqual([])
      expect([...read(write(`one-${read.name}`, '\n'))]).toEqual([''])
    }
  })

  test('a line that was cut is left out', () => {
    expect([...readLines(write('cut', 'whole\ncut'))]).toEqual(['whole'])
  })

  test('a line longer than two paths is refused by name, not gathered', () => {
    const path = write('long', `${'x'.repeat(1 << 20)}\n`)
    expect(() => [...readLines(path)]).toThrow(/a line is too long.*characters/s)
  })

  test('what is written is what is read', () => {
    const lines = someLines(99)
    const writer = writeLines(join(folder, 'written'))
    for (const line of lines) writer.add(line)
    writer.end()
    expect(writer.count()).toBe(lines.length)
    expect([...readLines(writer.path)]).toEqual(lines)
  })

  test('a word that is kept of each line keeps its line, not the piece that it was read with', async () => {
    const path = write('kept', ended(Array.from({ length: 200_000 }, (_, i) => `${'y'.repeat(100)}${i}`)))
    const kept: string[] = []
    let count = 0
    for (const line of readLines(path)) if (count++ % 2000 === 0) kept.push(line.slice(50))
    const before = await usedHeap()
    const bytes = kept.reduce((sum, word) => sum + word.length, 0)
    kept.length = 0
    const freed = before - (await usedHeap())
    expect(bytes).toBeGreaterThan(5000)
    expect(freed).toBeLessThan(2 << 20) // 100 words; 80 pieces of 256 KiB would be 20 MiB
  })
})

/** What can still be reached. */
async function usedHeap(): Promise<number> {
  const { setFlagsFromString } = await import('node:v8')
  const { runInNewContext } = await import('node:vm')
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}

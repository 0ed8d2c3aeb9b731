// Tables: columns as wide as their widest cell, and on a terminal no wider than it. What does not fit is cut, and a cut
// cell ends in `~`. Elsewhere than on a terminal nothing is cut: programs read it.
import type { Print } from './print.ts'

const GAP = '  '
const CUT = '~'
const LEAST = 4 // characters that a column keeps, however narrow the terminal

/** The lines of a table; without rows none. The last column is not padded. */
export function tableOf(
  { isTty, columns }: Pick<Print, 'isTty' | 'columns'>,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  if (rows.length === 0) return []
  const all = head.length > 0 ? [head, ...rows] : rows
  const natural = all[0]!.map((_, column) => widest(all, (row) => widthOf(row[column] ?? '')))
  const widths = isTty ? fitted(natural, columns) : natural
  return all.map((row) =>
    row
      .map((cell, column) => padded(cut(cell, widths[column]!), widths[column]!))
      .join(GAP)
      .trimEnd(),
  )
}

/** Of rows of any number: as arguments of one function a hundred thousand are too many. */
export const widest = <T>(rows: readonly T[], widthIn: (row: T) => number): number =>
  rows.reduce((most, row) => Math.max(most, widthIn(row)), 0)

/** Takes from the widest column, a character at a time, until all fit or none can give more. */
function fitted(natural: readonly number[], columns: number): number[] {
  const widths = [...natural]
  let over = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - columns
  for (; over > 0; over--) {
    const most = widths.indexOf(Math.max(...widths))
    if (widths[most]! <= LEAST) break
    widths[most]! -= 1
  }
  return widths
}

const cut = (cell: string, width: number) =>
  widthOf(cell) > width ? `${[...cell].slice(0, width - CUT.length).join('')}${CUT}` : cell
const padded = (cell: string, width: number) => cell + ' '.repeat(Math.max(0, width - widthOf(cell)))
/** In characters, not in units of UTF-16. */
const widthOf = (cell: string) => [...cell].length

/** Day and time in the time zone of the person who reads it. */
export function timeText(time: number): string {
  const date = new Date(time)
  const two = (number: number) => String(number).padStart(2, '0')
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join('-')
  return `${day} ${date.toTimeString().slice(0, 8)}`
}

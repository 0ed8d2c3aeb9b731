// Definitions as a table (RFC 4180): the first line names the type of object, then the attributes. An empty cell is an
// attribute without a value.
import type { Definition, Unplaced } from './definition.ts'
import { openCollection, refuse, setAttribute, typeOf } from './definition.ts'

type Row = { line: number; cells: string[] }

export function parseCsv(text: string): Definition[] {
  const [head, ...rows] = rowsOf(text.replace(/^\ufeff/, ''))
  if (!head) return []
  const [kind = '', ...attributes] = head.cells.map((cell) => cell.trim())
  const type = typeOf(kind, head.line)
  const twice = attributes.find((name, i) => attributes.indexOf(name) < i)
  if (twice !== undefined) refuse(head.line, 'the column is given twice', twice)
  const { all, begin } = openCollection()
  for (const { line, cells } of rows) {
    if (cells.length !== head.cells.length)
      refuse(
        line,
        'another number of cells than in the first line',
        `${cells.length}`,
        `${head.cells.length}`,
      )
    const definition = begin(type, cells[0]!.trim(), line)
    for (const [i, attribute] of attributes.entries())
      setAttribute(definition, attribute, cells[i + 1]!, line)
  }
  return all
}

/** Rows with something in them. */
function rowsOf(text: string): Row[] {
  const rows: Row[] = []
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y
  let line = 1
  let row: Row = { line, cells: [] }
  while (cell.lastIndex < text.length || row.cells.length > 0) {
    const match = cell.exec(text)
    if (!match) refuse(line, 'quotes do not match', text.split('\n')[line - 1] ?? '')
    const [said, quoted, plain = '', end] = match
    row.cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'))
    line += said.split('\n').length - 1
    if (end === ',') continue
    if (row.cells.length > 1 || row.cells[0] !== '') rows.push(row)
    row = { line, cells: [] }
    if (end === '') break
  }
  return rows
}

/** All of one type; a column for each attribute that one of them has. */
export function renderCsv(type: string, definitions: readonly Unplaced[]): string {
  const attributes = [...new Set(definitions.flatMap(({ attrs }) => Object.keys(attrs)))].sort()
  const rows = definitions.map(({ name, attrs }) => [name, ...attributes.map((each) => attrs[each] ?? '')])
  return [[type, ...attributes], ...rows].map((cells) => `${cells.map(quote).join(',')}\n`).join('')
}

const quote = (cell: string) => (/[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)

// Lines of file lists and manifests, cut as little as a comparison needs: millions of them pass through, and nothing of
// them is kept. Paths stay as they are written, with `\134 \011 \012`.
import { WireError } from '../fault.ts'

/** A line of list.sh. */
export type Seen = {
  line: string
  ctimeNs: string
  inode: string
  links: string // '1' of nearly all
  compare: string // the compare line
  type: string
  size: string
  path: string
}

export function cutListLine(line: string): Seen {
  const fields = line.split('\t')
  if (fields.length !== 12) throw new WireError(`file list: ${fields.length} fields where 12 are due`)
  const [ctimeNs, inode, links, type] = fields as [string, string, string, string]
  const compare = line.slice(ctimeNs.length + inode.length + links.length + 3)
  return { line, ctimeNs, inode, links, compare, type, size: fields[7]!, path: fields[10]! }
}

/** A line of a manifest. */
export type Row = {
  line: string
  compare: string
  type: string
  path: string
  layer: number
  ctimeNs: string // '-': unknown
  inode: string
}

export function cutRow(line: string): Row {
  const fields = line.split('\t')
  if (fields.length !== 15) throw new WireError(`manifest: ${fields.length} fields where 15 are due`)
  const stored = fields.slice(9).reduce((sum, field) => sum + field.length + 1, 0)
  return {
    line,
    compare: line.slice(0, line.length - stored),
    type: fields[0]!,
    path: fields[7]!,
    layer: Number(fields[11]),
    ctimeNs: fields[13]!,
    inode: fields[14]!,
  }
}

/** The line with another number of the layer. */
export function inLayer(line: string, layer: number): string {
  const fields = line.split('\t')
  fields[11] = String(layer)
  return fields.join('\t')
}

/**
 * Several streams of rows, each in the order of paths, as one. Of rows with one path that of the later stream counts,
 * unless `counts` says that it does not beside the one before it; the others are told to `superseded`.
 */
export function* laterRows(
  streams: Iterable<Row>[],
  superseded: (row: Row) => void,
  counts: (later: Row, before: Row) => boolean = () => true,
): Generator<Row> {
  const cursors = streams.map((stream) => stream[Symbol.iterator]())
  const heads = cursors.map(headOf)
  for (;;) {
    const path = leastPath(heads)
    if (path === undefined) return
    let found: Row | undefined
    heads.forEach((head, i) => {
      if (head?.path !== path) return
      heads[i] = headOf(cursors[i]!)
      const isLater = found === undefined || counts(head, found)
      if (found !== undefined) superseded(isLater ? found : head)
      if (isLater) found = head
    })
    yield found!
  }
}

function leastPath(heads: (Row | undefined)[]): string | undefined {
  let least: string | undefined
  for (const head of heads)
    if (head !== undefined && (least === undefined || head.path < least)) least = head.path
  return least
}

function headOf<T>(cursor: Iterator<T>): T | undefined {
  const { value, done } = cursor.next()
  return done ? undefined : value
}

// Members of a layer that later layers replace or remove: the text that `tar -X` reads, so that each path is unpacked
// once and layers stay independent of each other. It is meant for
//   tar -x --no-recursion --anchored --wildcards -X FILE
// A name without special characters costs tar one look into a table, whatever their number. `\` takes the meaning from the
// next character; a blank at the end, which tar would cut off, stands in brackets; a newline is said as "one character
// that is none of the others". Read with LC_ALL=C, where a character is a byte.
import { unescapePath } from './compare-line.ts'

const newline = '[^\x01-\x09\x0b-\xff]'

/** The pattern for one member; `path` is written as in a file list. */
export function supersededPattern(path: string): string {
  const name = unescapePath(path)
  const escaped = name.replace(/[\\*?[]/g, '\\$&').replaceAll('\n', newline)
  return escaped.replace(/[ \t\v\f\r]$/, '[$&]')
}

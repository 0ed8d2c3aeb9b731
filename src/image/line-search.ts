// Whether a file has a line of some form, as `grep -aE` says it of a golden client's: for files that come piece by piece.
// A file may be one line of any length, so of a long one only the end is kept.

const LONG_LINE = 64 << 10
const KEPT = 4 << 10 // what is looked for is shorter

export type LineSearch = { push(piece: Buffer): boolean; end(): boolean }

/** @param form an extended regular expression, with `[:space:]` as its only class. `push` and `end` say whether it was found. */
export function searchLines(form: string): LineSearch {
  const test = new RegExp(form.replaceAll('[:space:]', '\\t-\\r '))
  let rest = ''
  let isFound = false
  function push(piece: Buffer): boolean {
    if (isFound) return true
    const lines = (rest + piece.toString('latin1')).split('\n')
    rest = lines.pop()!
    isFound = lines.some((line) => test.test(line))
    // What is kept of it does not begin a line: a NUL stands before it.
    if (!isFound && rest.length > LONG_LINE) {
      isFound = test.test(rest)
      rest = `\0${rest.slice(-KEPT)}`
    }
    return isFound
  }
  return { push, end: () => isFound || test.test(rest) }
}

// What GNU tar and find (LC_ALL=C) say on stderr while the machine keeps running, sorted into what is normal there and
// what must not pass.

export type Report = {
  vanished: string[] // names; were listed, then removed before they were read
  changed: string[] // were written to while they were read
  fatal: string[]
  exit?: number // of the archiver itself
}

const table: [RegExp, 'vanished' | 'changed' | 'nothing'][] = [
  [/^tar: (.*): (Cannot stat|Cannot open|Cannot readlink): No such file or directory$/, 'vanished'],
  [/^tar: (.*): File removed before we read it$/, 'vanished'],
  [/^tar: (.*): socket ignored$/, 'vanished'], // it was a file when it was listed
  [/^tar: (.*): file changed as we read it$/, 'changed'],
  [/^tar: (.*): File shrank by \d+ bytes?; padding with zeros$/, 'changed'],
  [/^tar: Exiting with failure status due to previous errors$/, 'nothing'],
  [/^(?:find|stat): .*: No such file or directory$/, 'nothing'],
  [/^stat: cannot statx? .*: No such file or directory$/, 'nothing'],
  [/^sysclone: find exit 1$/, 'nothing'],
]

export function parseReport(stderr: string): Report {
  const report: Report = { vanished: [], changed: [], fatal: [] }
  for (const line of stderr.split('\n').filter((text) => text !== '')) {
    const exit = /^sysclone: tar exit (\d+)$/.exec(line)
    if (exit !== null) {
      report.exit = Number(exit[1])
      continue
    }
    const row = table.find(([pattern]) => pattern.test(line))
    if (row === undefined) report.fatal.push(line)
    else if (row[1] !== 'nothing') report[row[1]].push(unquote(row[0].exec(line)![1]!))
  }
  return report
}

const letters: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

/** A name as GNU tar writes it in messages: what is not printable ASCII as `\ooo` or a letter of C. One character a byte. */
function unquote(text: string): string {
  return text.replace(/\\([0-7]{3}|.)/g, (_, what: string) =>
    what.length === 3 ? String.fromCharCode(Number.parseInt(what, 8)) : (letters[what] ?? what),
  )
}

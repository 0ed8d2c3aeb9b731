// What a command says: results per object on stdout, faults on stderr, and the exit code that follows from them.
import { type Fault, renderFault } from '../../src/fault.ts'

export type Io = {
  out(text: string): void
  err(text: string): void
  isTty: boolean
  columns: number
  noColor?: boolean
}
export type Tone = 'plain' | 'good' | 'bad' | 'dim' | 'strong'
const colours: Record<Exclude<Tone, 'plain'>, number> = { good: 32, bad: 31, dim: 2, strong: 1 }
export type Result = { object: string; text: string } | { object: string; fault: Fault }
export type Print = ReturnType<typeof openPrint>

export function openPrint({ out, err, isTty, columns, noColor = false }: Io) {
  let failed = false
  /** Many lines are written at once. */
  const line = (text: string | readonly string[]) =>
    out(
      [text]
        .flat()
        .map((each) => `${harmless(each)}\n`)
        .join(''),
    )

  /** `object: error (what; allowed)`; the command fails. */
  function fault(each: Fault) {
    failed = true
    err(`${harmless(renderFault(each))}\n`)
  }

  function perObject(results: Result[], { json }: { json?: boolean | undefined }) {
    if (json) printJson(Object.fromEntries(results.map(({ object, ...result }) => [object, result])))
    for (const result of results) {
      if ('fault' in result) fault({ ...result.fault, object: result.object })
      else if (!json) line(`${result.object}: ${result.text}`)
    }
  }

  /** One line, cut to the terminal and in colour there. */
  function tinted(text: string, tone: Tone) {
    if (!isTty) return line(text)
    const [start, end] = noColor || tone === 'plain' ? ['', ''] : [`\x1b[${colours[tone]}m`, '\x1b[0m']
    out(`${start}${harmless(text).slice(0, columns)}${end}\n`)
  }

  const printJson = (value: unknown) => out(`${JSON.stringify(value, undefined, 2)}\n`)

  /** Beside the output, for who looks at it. */
  const note = (text: string) => err(`${harmless(text)}\n`)

  return {
    line,
    note,
    fault,
    perObject,
    tinted,
    json: printJson,
    raw: out,
    isTty,
    columns,
    /** The command ends with exit code 1, without another word. */
    fail: () => {
      failed = true
    },
    exitCode: () => (failed ? 1 : 0),
  }
}

/** Text that came over the network must not move the cursor of the terminal that shows it. */
export const harmless = (text: string) => text.replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '?')

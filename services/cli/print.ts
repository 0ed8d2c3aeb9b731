// What a command says: results per object on stdout, faults on stderr, and the exit code that follows from them.
import { type Fault, renderFault } from '../../src/fault.ts'

export type Io = { out(text: string): void; err(text: string): void; isTty: boolean; columns: number }
export type Result = { object: string; text: string } | { object: string; fault: Fault }
export type Print = ReturnType<typeof openPrint>

export function openPrint({ out, err, isTty, columns }: Io) {
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

  const printJson = (value: unknown) => out(`${JSON.stringify(value, undefined, 2)}\n`)

  return {
    line,
    fault,
    perObject,
    json: printJson,
    raw: out,
    isTty,
    columns,
    exitCode: () => (failed ? 1 : 0),
  }
}

/** Text that came over the network must not move the cursor of the terminal that shows it. */
const harmless = (text: string) => text.replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '?')

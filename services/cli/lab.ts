import { join } from 'node:path'
import type { Command } from 'commander'
import { faultOf, renderFault } from '../../src/fault.ts'
import { demoTable, runDemo } from '../lab/demo.ts'
import { openDisplay } from '../lab/display.ts'

/** `sysclone lab demo`: the whole job in QEMU, in a network of its own. */
export function lab(program: Command) {
  const command = program.command('lab').description('machines in QEMU, in a network of their own')
  command
    .command('demo')
    .description('capture a golden client, clone it onto a BIOS and a UEFI machine, look at the clones')
    .option('--json', 'print what was done and found as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      // Not exitCode: a build that was stopped half-way must not keep us; the kernel ends its commands with us.
      process.exit(await demo(json === true))
    })
}

async function demo(json: boolean): Promise<number> {
  const abort = new AbortController()
  // A second Ctrl-C changes nothing: the clean-up is under way and takes seconds.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of signals) process.on(name, () => abort.abort(new Error(`stopped by ${name}`)))
  const display = openDisplay(json ? process.stderr : process.stdout)
  try {
    const result = await runDemo({ ...demoSettings(), display, signal: abort.signal })
    if (json) await written(`${JSON.stringify(result, undefined, 2)}\n`)
    else for (const line of ['', ...demoTable(result.steps)]) display.say(line)
    return 0
  } catch (error) {
    if (abort.signal.aborted) display.say(String(abort.signal.reason.message))
    else display.say(renderFault(faultOf(error)))
    return abort.signal.aborted ? 130 : 1
  }
}

const written = (text: string) => new Promise((resolve) => process.stdout.write(text, resolve))

/** What the demo takes from its surroundings; the tests in QEMU use the same. */
export function demoSettings() {
  return {
    cache: process.env.SYSCLONE_CACHE || '/var/cache/sysclone',
    sysclone: [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      join(import.meta.dirname, 'main.ts'),
    ],
  }
}

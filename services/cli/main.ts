// The command line: `sysclone COMMAND ...`, or a link to this file that is named like the command.
import { enableCompileCache } from 'node:module'
import { basename, join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { faultOf, UserError } from '../../src/fault.ts'
import { openApi } from './api.ts'
import type { Needs } from './needs.ts'
import { openPrint } from './print.ts'

type Register = (program: Command, needs: Needs) => void

// Each is loaded when it is used: `nodeset` need not wait for what `serve` is made of.
const commands: Record<string, () => Promise<Register>> = {
  serve: async () => (await import('./serve.ts')).serve,
  bootfiles: async () => (await import('./bootfiles.ts')).bootfiles,
  lab: async () => (await import('./lab.ts')).lab,
  mkdef: async () => (await import('./mkdef.ts')).mkdef,
  lsdef: async () => (await import('./lsdef.ts')).lsdef,
  chdef: async () => (await import('./chdef.ts')).chdef,
  rmdef: async () => (await import('./rmdef.ts')).rmdef,
  import: async () => (await import('./import.ts')).importFile,
  export: async () => (await import('./export.ts')).exportFile,
  noderange: async () => (await import('./noderange.ts')).noderange,
  completion: async () => (await import('./completion.ts')).completion,
  imgcapture: async () => (await import('./imgcapture.ts')).imgcapture,
  key: async () => (await import('./key.ts')).key,
  lsimage: async () => (await import('./lsimage.ts')).lsimage,
  cpimage: async () => (await import('./cpimage.ts')).cpimage,
  rmimage: async () => (await import('./rmimage.ts')).rmimage,
  imgexport: async () => (await import('./imgexport.ts')).imgexport,
  imgimport: async () => (await import('./imgimport.ts')).imgimport,
  squash: async () => (await import('./squash.ts')).squash,
  diff: async () => (await import('./diff.ts')).diff,
  cat: async () => (await import('./cat.ts')).cat,
  fsck: async () => (await import('./fsck.ts')).fsck,
  gc: async () => (await import('./gc.ts')).gc,
  'import-cluster': async () => (await import('./import-cluster.ts')).importCluster,
  jobs: async () => (await import('./jobs.ts')).jobs,
  audit: async () => (await import('./audit.ts')).audit,
  nodeset: async () => (await import('./nodeset.ts')).nodeset,
  explain: async () => (await import('./explain.ts')).explain,
  discovered: async () => (await import('./discovered.ts')).discovered,
  adopt: async () => (await import('./adopt.ts')).adopt,
  watch: async () => (await import('./watch.ts')).watch,
}

async function main(): Promise<number> {
  const args = wordsOf(process.argv)
  const cacheDir = process.env.SYSCLONE_CACHE || '/var/cache/sysclone'
  // Types are taken off and code is compiled once, not by each process anew: a server needs 130 MB less memory for it.
  enableCompileCache(join(cacheDir, 'compiled'))
  const print = openPrint({
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isTty: process.stdout.isTTY === true,
    columns: process.stdout.columns ?? 80,
    noColor: Boolean(process.env.NO_COLOR),
  })
  const needs: Needs = { api, print, interrupted, cacheDir }
  const program = new Command('sysclone')
    .description('Capture one good Linux machine, clone it onto any number of machines over the network')
    .exitOverride()
    .showHelpAfterError('(--help shows how it is used)')
  // What completes all commands must know them all.
  const isAlone = Object.hasOwn(commands, args[0] ?? '') && args[0] !== 'completion'
  const wanted = isAlone ? [args[0]!] : Object.keys(commands)
  for (const name of wanted) (await commands[name]!())(program, needs)
  try {
    await program.parseAsync(args, { from: 'user' })
    return print.exitCode()
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2 // it has said why
    for (const fault of error instanceof UserError ? error.faults : [faultOf(error)]) print.fault(fault)
    return 1
  }
}

/** What was typed after `sysclone`; the name of a link counts as typed. */
function wordsOf([, path = '', ...words]: string[]): string[] {
  const name = basename(path)
  return Object.hasOwn(commands, name) ? [name, ...words] : words
}

function api(server: string | undefined) {
  const user = process.env.SUDO_USER || process.env.USER
  return openApi(server ?? (process.env.SYSCLONE_SERVER || '/run/sysclone/api.sock'), user)
}

function interrupted(): AbortSignal {
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  return controller.signal
}

// `lsdef | head`: nobody reads on, and that is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
// Not process.exit: what was written to a pipe must leave first.
process.exitCode = await main()

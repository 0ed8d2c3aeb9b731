// What every command gets from main.ts, and the options that all commands share that talk to a server.
import { type Command, InvalidArgumentError } from 'commander'
import type { Api } from './api.ts'
import type { Print } from './print.ts'

export type Needs = {
  /** The API of the server that --server names, else that of the environment, else the usual one. */
  api(server: string | undefined): Api
  print: Print
  /** Where built things are kept between runs. */
  cacheDir: string
  /** Aborted by Ctrl-C; asking for it means that the command ends itself then. */
  interrupted(): AbortSignal
}
export type Shared = { server?: string; json?: boolean }

export function serverCommand(program: Command, usage: string, description: string): Command {
  return program
    .command(usage)
    .description(description)
    .option('--server <socket>', "the server's socket (default: SYSCLONE_SERVER, /run/sysclone/api.sock)")
    .option('--json', 'print the result as JSON')
}

/** How many rows of a list. */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!/^[1-9]\d{0,5}$/.test(text) || count > 100_000) throw new InvalidArgumentError('Allowed: 1 to 100000.')
  return count
}

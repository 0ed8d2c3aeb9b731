import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { type Config, parseConfig } from '../../src/config.ts'
import { UserError } from '../../src/fault.ts'
import { buildBootfiles } from '../loaders/build.ts'
import { startServer } from '../serve.ts'
import { openLog } from './log.ts'
import type { Needs } from './needs.ts'

/** `sysclone serve --config FILE`: the server, in the foreground until it is told to stop. */
export function serve(program: Command, { cacheDir }: Needs) {
  program
    .command('serve')
    .description('run the server: DHCP, TFTP, HTTP, image database')
    .requiredOption('--config <file>', 'the configuration (YAML)')
    .option('--verbose', 'log every packet and transfer')
    .action(async ({ config: file, verbose }: { config: string; verbose?: boolean }) => {
      const config = await readConfig(file)
      const pretty = process.stdout.isTTY === true
      const log = openLog({ pretty, all: verbose === true })
      await buildBootfiles({ stateDir: config.stateDir, cacheDir, arch: 'x86_64' })
      const server = await startServer({ config, log })
      const stopped = Promise.withResolvers<void>()
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.resolve())
      await stopped.promise
      await server.close()
    })
}

async function readConfig(file: string): Promise<Config> {
  const text = await readFile(file, 'utf8').catch((error: Error) => {
    throw new UserError('the configuration can not be read', { what: error.message, object: file })
  })
  return parseConfig(text, file)
}

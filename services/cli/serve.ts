import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { type Config, parseConfig, placeOfNetworks } from '../../src/config.ts'
import { UserError } from '../../src/fault.ts'
import { subnetText } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import { buildBootfiles } from '../loaders/build.ts'
import { checkOwnLoaders, keepOwnLoaders } from '../loaders/own.ts'
import { handedDescriptors } from '../net/handed.ts'
import { startServer } from '../serve.ts'
import { openLog } from './log.ts'
import type { Needs } from './needs.ts'

type Options = { config: string; check?: boolean; coexist?: boolean; verbose?: boolean }

/** `sysclone serve --config FILE`: the server, in the foreground until it is told to stop. */
export function serve(program: Command, { cacheDir, print }: Needs) {
  program
    .command('serve')
    .description('run the server: DHCP, TFTP, HTTP, image database')
    .requiredOption('--config <file>', 'the configuration (YAML)')
    .option('--check', 'only read and check the configuration: every fault is shown, nothing is started')
    .option('--coexist', 'start even when another DHCP server answers on a network of ours')
    .option('--verbose', 'log every packet and transfer')
    .action(async ({ config: file, check, coexist, verbose }: Options) => {
      const config = await readConfig(file)
      if (check) await checkOwnLoaders(config.loaders)
      if (check) return print.line(`${file}: good; it serves ${config.networks.map(networkText).join(', ')}`)
      const pretty = process.stdout.isTTY === true
      const log = openLog({ pretty, all: verbose === true })
      const { stateDir } = config
      const { lacking } = await buildBootfiles({ stateDir, cacheDir, arch: 'x86_64', fetch: 'try' })
      if (lacking !== undefined) print.line(lackingText(lacking))
      await keepOwnLoaders(stateDir, config.loaders)
      // As main.ts does for this process: those that are started now read it from here.
      process.env.NODE_COMPILE_CACHE ??= join(cacheDir, 'compiled')
      const server = await startServer({
        ...{ config, log, coexist: coexist === true },
        handed: handedDescriptors(process.env, process.pid),
      })
      const stopped = Promise.withResolvers<void>()
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.resolve())
      await stopped.promise
      await server.close()
    })
}

const lackingText = (why: string) =>
  `no loaders for netboot=shim, ipxe and pxe, they could not be fetched: ${why}; later: sysclone bootfiles build`

const networkText = ({ interface: device, subnet }: Network) =>
  `${subnetText(subnet)}${device === undefined ? '' : ` on ${device}`}`

async function readConfig(file: string): Promise<Config> {
  const text = await readFile(file, 'utf8').catch((error: Error) => {
    throw new UserError('the configuration can not be read', { what: error.message, object: file })
  })
  return { ...parseConfig(text, file), networksAt: placeOfNetworks(text, resolve(file)) }
}

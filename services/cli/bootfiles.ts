import type { Command } from 'commander'
import { buildBootfiles } from '../loaders/build.ts'
import type { Needs } from './needs.ts'

/** `sysclone bootfiles build`: what nodes load, made here from Debian packages; a server that runs takes it at its next start. */
export function bootfiles(program: Command, { cacheDir, print }: Needs) {
  const command = program.command('bootfiles').description('loaders and the ramdisk, as nodes load them')
  command
    .command('build')
    .description('build what is missing or out of date')
    .option('--state-dir <folder>', 'stateDir of the configuration', '/var/lib/sysclone')
    .action(async ({ stateDir }: { stateDir: string }) => {
      const { arch, ramdisk, loaders } = await buildBootfiles({ stateDir, cacheDir, arch: 'x86_64' })
      for (const [name, { bytes }] of Object.entries({ [`ramdisk of ${arch}`]: ramdisk, ...loaders }))
        print.line(`${name}: ${bytes} bytes`)
    })
}

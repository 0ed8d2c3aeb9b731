import { Argument, type Command } from 'commander'
import type { Arch } from '../../src/image/version.ts'
import { archs, buildBootfiles } from '../loaders/build.ts'
import type { Needs } from './needs.ts'

/** `sysclone bootfiles build [ARCH]`: what nodes load, made here from Debian packages; a server that runs takes it at its next start. */
export function bootfiles(program: Command, { cacheDir, print }: Needs) {
  const command = program.command('bootfiles').description('loaders and the ramdisk, as nodes load them')
  command
    .command('build')
    .description('build what is missing or out of date; a server that runs takes it at its next start')
    .addArgument(new Argument('[arch]', 'the processor of the nodes').choices(archs).default('x86_64'))
    .option('--state-dir <folder>', 'stateDir of the configuration', '/var/lib/sysclone')
    .option('--fresh', 'fetch packages anew, for what Debian has mended since')
    .action(async (arch: Arch, { stateDir, fresh }: { stateDir: string; fresh?: boolean }) => {
      const fetch = fresh ? 'always' : 'once'
      const { ramdisk, loaders } = await buildBootfiles({ stateDir, cacheDir, arch, fetch })
      if (ramdisk) print.line(`ramdisk of ${arch}: ${ramdisk.bytes} bytes`)
      for (const [name, { bytes }] of Object.entries(loaders)) print.line(`${name}: ${bytes} bytes`)
    })
}

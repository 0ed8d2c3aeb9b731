import type { Command } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `rmimage img:2`, `rmimage img`. */
export function rmimage(program: Command, { api, print }: Needs) {
  serverCommand(program, 'rmimage', 'remove versions of osimages that nobody needs')
    .argument('<images...>', 'img:2 is that version, img all of them')
    .option('--force', 'also those that nodes were installed with, and run')
    .action(async (images: string[], { server, json, force = false }: Shared & { force?: boolean }) => {
      const { results } = await api(server).delete('/images', { images, force })
      print.perObject(results, { json })
    })
}

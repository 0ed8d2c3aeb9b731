import type { Command } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `cpimage img:2 new`: a version under a further name. */
export function cpimage(program: Command, { api, print }: Needs) {
  serverCommand(program, 'cpimage', 'give a version of an osimage a further name; nothing is copied')
    .argument('<image>', 'img, its newest version, or img:2')
    .argument('<name>', 'the name of an osimage that has no version yet')
    .option(
      '--next',
      'make it the next version of an osimage that has some (also of its own: back to what was)',
    )
    .action(async (from: string, to: string, { server, json, next = false }: Shared & { next?: boolean }) => {
      const { image } = await api(server).post('/images/copy', { from, to, next })
      if (json) print.json({ image })
      else print.line(`${from}: copied as ${image}`)
    })
}

import type { Command } from 'commander'
import { runImageJob } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `squash img`: the next version, with the same tree in few layers. */
export function squash(program: Command, needs: Needs) {
  serverCommand(program, 'squash', 'make the next version of an osimage: the same tree in few layers')
    .argument('<image>', 'img, its newest version, or img:3')
    .action(async (image: string, options: Shared) => {
      const work = { work: 'squash', path: '/images/squash', body: { image } }
      const result = await runImageJob(needs, options, work)
      if (options.json) needs.print.json({ image: result })
      else needs.print.line(`${image}: squashed as ${result}`)
    })
}

import type { Command } from 'commander'
import { runImageJob } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `gc`: what is in the image store and no version needs. */
export function gc(program: Command, needs: Needs) {
  serverCommand(
    program,
    'gc',
    'remove what no version of an osimage needs; captures and installs may run',
  ).action(async (options: Shared) => {
    const result = await runImageJob(needs, options, { work: 'gc', path: '/images/gc', body: {} })
    if (options.json) needs.print.json({ result })
    else needs.print.line(result)
  })
}

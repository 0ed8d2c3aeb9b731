import { resolve } from 'node:path'
import type { Command } from 'commander'
import { toStdout } from './cat.ts'
import { runImageJob, withSocket } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `imgexport img:3 FILE`: an OCI archive. */
export function imgexport(program: Command, needs: Needs) {
  serverCommand(
    program,
    'imgexport',
    'write a version of an osimage as an OCI archive (skopeo: oci-archive:FILE)',
  )
    .argument('<image>', 'img, its newest version, or img:3')
    .argument('<file>', 'a file that is not there yet; - is the standard output')
    .action(async (image: string, file: string, options: Shared) => {
      const run = (out: string, quiet: boolean) =>
        runImageJob(needs, options, { work: 'export', path: '/images/export', body: { image, out }, quiet })
      if (file === '-') return void (await withSocket(toStdout, (out) => run(out, true)))
      const result = await run(resolve(file), false)
      if (options.json) needs.print.json({ image, file: resolve(file) })
      else needs.print.line(`${image}: exported to ${file}, ${result}`)
    })
}

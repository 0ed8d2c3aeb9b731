import type { Command } from 'commander'
import { UserError } from '../../src/fault.ts'
import { jsonLines, runImageJob, withSocket } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Damage = { versions: string[]; error: string; what: string; digest?: string }

/** `fsck [IMAGE...]`: reads every blob; exit code 1 when one is damaged. */
export function fsck(program: Command, needs: Needs) {
  serverCommand(program, 'fsck', 'read every byte of the image store and compare it with its digest')
    .argument('[images...]', 'only these: img is all its versions, img:2 that one')
    .action(async (images: string[], options: Shared) => {
      const { print } = needs
      const { rows, take } = jsonLines<Damage>()
      let result: string | undefined
      let failed: unknown
      await withSocket(take, async (out) => {
        const body = { out, ...(images.length > 0 && { images }) }
        result = await runImageJob(needs, options, { work: 'fsck', path: '/images/fsck', body })
      }).catch((error) => {
        failed = error
      })
      if (failed !== undefined && !(failed instanceof UserError && rows.length > 0)) throw failed
      if (options.json) print.json({ damaged: rows, ...(result !== undefined && { result }) })
      for (const { versions, error, what, digest } of options.json ? [] : rows)
        print.fault({
          error,
          what: digest ? `${digest}: ${what}` : what,
          object: versions.join(' ') || 'image store',
        })
      if (rows.length > 0) print.fail()
      else if (!options.json) print.line(`sound: ${result}`)
    })
}

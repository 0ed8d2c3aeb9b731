import type { Command } from 'commander'
import { runImageJob, withSocket } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `cat img:3 /etc/fstab`: to the standard output, byte for byte. */
export function cat(program: Command, needs: Needs) {
  serverCommand(program, 'cat', 'print a file of a version of an osimage')
    .argument('<image>', 'img, its newest version, or img:3')
    .argument('<path>', 'of a regular file; where a symbolic link leads is said')
    .action(async (image: string, path: string, options: Shared) => {
      await withSocket(toStdout, (out) =>
        runImageJob(needs, options, {
          work: 'cat',
          path: '/images/cat',
          body: { image, path, out },
          quiet: true,
        }),
      )
    })
}

/** As fast as who reads it. */
export const toStdout = (chunk: Buffer): Promise<void> =>
  new Promise((done, failed) => {
    process.stdout.write(chunk, (error) => (error ? failed(error) : done()))
  })

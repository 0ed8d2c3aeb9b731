import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { UserError } from '../../src/fault.ts'
import { parseLayoutText } from '../../src/image/layout-text.ts'
import { runImageJob } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Options = Shared & { layout?: string; l?: string; ref?: string; arch?: string; kernel?: string }

/** `imgimport SOURCE IMG`. */
export function imgimport(program: Command, needs: Needs) {
  serverCommand(
    program,
    'imgimport',
    'make the next version of an osimage of what was built or kept elsewhere',
  )
    .argument(
      '<source>',
      'an export, an OCI archive or image layout, a root tarball, an unpacked system or SystemImager image',
    )
    .argument('<image>', 'name of the osimage')
    .option('--layout <file>', 'the disks of a clone, for what was not captured; README has an example')
    .option('-l <place>', 'keep the version in this folder of the server, not in its image store')
    .option('--ref <name>', 'which image, of an image layout with several')
    .option('--arch <arch>', 'for which architecture, of an image for several: x86_64, aarch64, ppc64le')
    .option(
      '--kernel <release>',
      'which kernel nodes netboot, of an image with several (default: the newest)',
    )
    .action(async (source: string, image: string, options: Options) => {
      const { layout, l: place, ref, arch, kernel } = options
      const body = {
        ...{ image, source: resolve(source) },
        ...(layout !== undefined && { layout: readLayout(layout) }),
        ...(place !== undefined && { place: resolve(place) }),
        ...(ref !== undefined && { ref }),
        ...(arch !== undefined && { arch }),
        ...(kernel !== undefined && { kernel }),
      }
      const result = await runImageJob(needs, options, { work: 'import', path: '/images/import', body })
      if (options.json) needs.print.json({ image: result })
      else needs.print.line(`${source}: imported as ${result}`)
    })
}

/** Read and judged here: all its faults are named with their lines before anything is begun. */
function readLayout(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UserError('the layout file cannot be read', {
      what: (error as NodeJS.ErrnoException).code ?? '',
      object: file,
    })
  }
  parseLayoutText(text, { name: file, contentBytes: 0, makeUuid: randomUUID })
  return text
}

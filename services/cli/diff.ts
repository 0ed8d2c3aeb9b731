import type { Command } from 'commander'
import { jsonLines, runImageJob, withSocket } from './image-job.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import type { Print, Tone } from './print.ts'

type Row = { path: string; change: 'added' | 'removed' | 'changed'; type: string; what?: string[] }
type Options = Shared & { times?: boolean }

/** `diff img:2 img:3`: by path; exit code 0 also when they differ. */
export function diff(program: Command, needs: Needs) {
  serverCommand(program, 'diff', 'what differs between two versions of osimages')
    .argument('<from>', 'img:2; img is the newest')
    .argument('<to>', 'img:3')
    .option('--times', 'also files of which nothing but the time differs')
    .action(async (from: string, to: string, options: Options) => {
      const { rows, take } = jsonLines<Row>()
      await withSocket(take, (out) =>
        runImageJob(needs, options, {
          work: 'diff',
          path: '/images/diff',
          body: { from, to, out },
          quiet: true,
        }),
      )
      const shown = rows.filter(({ what }) => options.times || what?.join() !== 'time')
      if (options.json) needs.print.json(shown)
      else show(needs.print, shown)
    })
}

const marks: Record<Row['change'], [string, Tone]> = {
  added: ['+', 'good'],
  removed: ['-', 'bad'],
  changed: ['~', 'plain'],
}

/** `+ /etc/new`, `- /etc/old`, `~ /etc/passwd (content, mode)` */
function show(print: Print, rows: Row[]) {
  for (const { path, change, type, what } of rows) {
    const [mark, tone] = marks[change]
    const kind = type === 'd' ? '/' : ''
    print.tinted(
      `${mark} ${path}${path.endsWith('/') ? '' : kind}${what ? ` (${what.join(', ')})` : ''}`,
      tone,
    )
  }
}

import type { Command } from 'commander'
import type { Job } from '../../src/job.ts'
import { type Needs, parseCount, type Shared, serverCommand } from './needs.ts'
import { tableOf, timeText } from './table.ts'

type Options = Shared & { last: number; running?: boolean }

/** `sysclone jobs`: captures and work on images that run, and how the last ones ended. */
export function jobs(program: Command, { api, print }: Needs) {
  serverCommand(
    program,
    'jobs',
    'captures and work on images that run, and how the last ones ended, oldest first',
  )
    .option('--running', 'only those that run')
    .option('--last <count>', 'how many of the newest', parseCount, 20)
    .action(async ({ server, json, last, running }: Options) => {
      const all: Job[] = (await api(server).get('/jobs', { last: String(last) })).jobs
      const shown = all.filter(({ state }) => !running || state === 'running')
      if (json) return print.json(shown)
      print.line(
        tableOf(
          print,
          ['JOB', 'KIND', 'NODE', 'IMAGE', 'STATE', 'STARTED', 'TOOK', 'RESULT'],
          shown.map(cells),
        ),
      )
    })
}

const cells = ({ id, kind, node, image, uses, state, startedAt, endedAt, result, fault }: Job): string[] => [
  id,
  kind,
  node ?? '',
  uses?.join(' ') ?? image ?? '',
  state,
  timeText(startedAt),
  endedAt === undefined ? '' : tookText(endedAt - startedAt),
  fault ? [fault.error, fault.what, fault.allowed].filter(Boolean).join('; ') : (result ?? ''),
]

/** `1:02:03`, `2:03` */
function tookText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60]
  const two = (number: number) => String(number).padStart(2, '0')
  return `${hours > 0 ? `${hours}:${two(minutes)}` : minutes}:${two(seconds % 60)}`
}

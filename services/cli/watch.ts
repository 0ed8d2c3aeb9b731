import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { UserError } from '../../src/fault.ts'
import { type Line, makeTimeline } from '../../src/timeline.ts'
import type { Seen } from './api.ts'
import { noderangeOf } from './files.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Options = Shared & { since?: number; follow: boolean; things?: string }

const AGAIN_MS = 1000

/** `watch [RANGE]`: what happens to machines, as it happens, over every restart of the server. */
export function watch(program: Command, { api, print, interrupted }: Needs) {
  serverCommand(program, 'watch', 'show what happens to machines as it happens, one line an event')
    .argument('[noderange]', 'only these nodes')
    .option('--since <when>', 'begin then: 90s, 10m, 2h, 3d ago, or 2026-01-31T12:00', parseSince)
    .option('--no-follow', 'end with what has happened up to now')
    .addOption(new Option('--things <list>', 'only these: dhcp,tftp,http,node,capture,image,job,serve,admin'))
    .action(async (typed: string | undefined, options: Options) => {
      const { server, json, since, follow, things } = options
      const signal = interrupted()
      const query = {
        ...{ nodes: typed === undefined ? undefined : noderangeOf(typed), things },
        ...(!follow && { follow: 'no' }),
      }
      let start = since ?? (follow ? undefined : 0)
      let lastId: string | undefined
      const line = makeTimeline()
      const show = json ? showJson : ({ event }: Seen) => showLine(line(event))
      for (let connected = false; !signal.aborted; ) {
        try {
          const from = lastId === undefined && start !== undefined ? { since: String(start) } : {}
          const events = await api(server).eventsAfter({ ...query, ...from }, signal, lastId)
          if (connected) print.note('the server is back')
          connected = true
          start ??= Date.now() // what comes until the first event, even over a restart
          for await (const seen of events) {
            lastId = seen.id
            show(seen)
          }
          if (!follow) return
        } catch (error) {
          if (signal.aborted) return
          // The first time it is told; later the server is being restarted.
          if (!connected || !isLost(error)) throw error
        }
        print.note('the server is away; waiting for it')
        while (!signal.aborted && !(await isBack(server)))
          await sleep(AGAIN_MS, undefined, { signal }).catch(() => {})
      }
    })

  /** Looks without a word until somebody listens again. */
  async function isBack(server: string | undefined): Promise<boolean> {
    return api(server)
      .get('/networks')
      .then(
        () => true,
        () => false,
      )
  }

  const showJson = ({ event }: Seen) => print.raw(`${JSON.stringify(event)}\n`)

  let width = 8
  function showLine(line: Line | undefined) {
    if (!line) return
    const { time, sinceMs, who, thing, text, tone } = line
    width = Math.min(40, Math.max(width, who.length))
    const since = sinceMs === undefined ? '' : `+${(sinceMs / 1000).toFixed(1)}s`
    const clock = new Date(time).toTimeString().slice(0, 8)
    print.tinted(`${clock} ${since.padStart(8)}  ${who.padEnd(width)} ${thing.padEnd(7)} ${text}`, tone)
  }
}

/** Nobody listens, or the connection was cut. */
const isLost = (error: unknown) =>
  error instanceof UserError
    ? error.fault.error === 'the server does not answer'
    : typeof (error as NodeJS.ErrnoException).code === 'string'

/** `10m` ago, or a date; in milliseconds since 1970. */
function parseSince(text: string): number {
  const units: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 }
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (count !== undefined) return Math.max(0, Date.now() - Number(count) * units[unit!]! * 1000)
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text).getTime() : Number.NaN
  if (Number.isNaN(time) || time < 0) throw new InvalidArgumentError('Allowed: 90s, 10m, 2h, 3d, or a date.')
  return time
}

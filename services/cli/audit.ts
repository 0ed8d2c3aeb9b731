import { type Command, InvalidArgumentError } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'

type Options = Shared & { object?: string; last: number }
type Attrs = Record<string, string>
type Entry = { time: number; who: string; what: string; object: string; before?: Attrs; after?: Attrs }

/** `sysclone audit`: who changed what, and from what to what. */
export function audit(program: Command, { api, print }: Needs) {
  serverCommand(program, 'audit', 'who changed what and when, oldest first')
    .option('--object <name>', 'only changes of this node, group, or osimage')
    .option('--last <count>', 'how many of the newest changes', parseCount, 50)
    .action(async ({ server, json, object, last }: Options) => {
      const { entries } = await api(server).get('/audit', { object, last: String(last) })
      if (json) return print.json(entries)
      for (const entry of entries as Entry[]) print.line(entryText(entry))
    })
}

function parseCount(text: string): number {
  const count = Number(text)
  if (!/^[1-9]\d{0,5}$/.test(text) || count > 100_000) throw new InvalidArgumentError('Allowed: 1 to 100000.')
  return count
}

/** `2026-11-22 06:40:01 local:root chdef node n1 ip: 10.0.0.5 -> 10.0.0.7` */
function entryText({ time, who, what, object, before = {}, after = {} }: Entry): string {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  const changed = names.filter((name) => before[name] !== after[name] || after[name] === '(hidden)')
  const show = (value: string | undefined) => (value ? value : '-')
  const changes = changed.map((name) => `${name}: ${show(before[name])} -> ${show(after[name])}`)
  return [dateText(new Date(time)), who, what, object, changes.join(', ')].filter(Boolean).join(' ')
}

/** In the time zone of the person who reads it. */
function dateText(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0')
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${day} ${time.toTimeString().slice(0, 8)}`
}

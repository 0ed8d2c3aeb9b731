import type { Command } from 'commander'
import { type Needs, parseCount, type Shared, serverCommand } from './needs.ts'
import { tableOf, timeText } from './table.ts'

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
      print.line(tableOf(print, [], (entries as Entry[]).map(cells)))
    })
}

/** `2026-11-22 06:40:01  local:root  chdef node  n1  ip: 10.0.0.5 -> 10.0.0.7` */
function cells({ time, who, what, object, before = {}, after = {} }: Entry): string[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
  const changed = names.filter((name) => before[name] !== after[name] || after[name] === '(hidden)')
  const show = (value: string | undefined) => (value ? value : '-')
  const changes = changed.map((name) => `${name}: ${show(before[name])} -> ${show(after[name])}`)
  return [timeText(time), who, what, object, changes.join(', ')]
}

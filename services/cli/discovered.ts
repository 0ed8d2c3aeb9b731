import type { Command } from 'commander'
import type { Stranger } from '../../src/boot/strangers.ts'
import { columns } from './explain-text.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `discovered`: unknown machines that wait at a screen with a code. Looking changes nothing. */
export function discovered(program: Command, { api, print }: Needs) {
  serverCommand(program, 'discovered', 'unknown machines that wait to be adopted (discovery: hold)').action(
    async ({ server, json }: Shared) => {
      const { machines, holding } = await api(server).get('/discovered')
      if (json) return print.json(machines)
      if (!holding) print.note('discovery is off: no network of the configuration has discovery: hold')
      if (machines.length > 0) print.line(columns([head, ...machines.map(row)]))
    },
  )
}

const head = ['CODE', 'MAC', 'MACHINE', 'ADDRESS', 'FIRST', 'LAST', 'UUID', 'SERIAL']

const row = ({
  code,
  mac,
  machine,
  secureBoot,
  address,
  firstSeen,
  lastSeen,
  uuid,
  serial,
}: Stranger): string[] => [
  ...[
    code,
    mac,
    `${machine ?? '-'}${secureBoot ? ', Secure Boot' : ''}`,
    address ?? '-',
    ago(firstSeen),
    ago(lastSeen),
    uuid ?? '-',
    serial ?? '-',
  ],
]

/** `40s`, `12m`, `3h`: how long ago. */
function ago(time: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - time) / 1000))
  if (seconds < 120) return `${seconds}s`
  return seconds < 7200 ? `${Math.round(seconds / 60)}m` : `${Math.round(seconds / 3600)}h`
}

// The autoinstall script: one complete, readable shell script per deployment. It writes out the plan, the library and
// the phases, all of them as they are, and runs the phases one after the other.
import type { Fault } from '../fault.ts'
import { renderFault, UserError } from '../fault.ts'
import type { InstallPlan } from './plan.ts'

/** The texts of bootfiles/ramdisk; `phases` by file name ('10-check.sh'). */
export type ScriptTexts = { lib: string; phases: Record<string, string> }

export function renderScript({ plan, layouts, lib, phases }: InstallPlan & ScriptTexts): string {
  const files = [
    ['plan', plan],
    ...Object.entries(layouts).map(([disk, text]) => [`layouts/${disk}`, text]),
    ['lib.sh', lib],
    ...Object.entries(phases)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, text]) => [`phases/${name}`, text]),
  ]
  return [
    '#!/bin/sh',
    '# sysclone autoinstall: made by the server for exactly this machine and this attempt.',
    'set -eu',
    'INSTALLER=${INSTALLER-/run/sysclone/install}',
    'export INSTALLER',
    'rm -rf "$INSTALLER"',
    'mkdir -p "$INSTALLER/layouts" "$INSTALLER/phases"',
    'chmod 700 "$INSTALLER"',
    ...files.map(([name, text]) => hereDocument(name!, text!)),
    '. "$INSTALLER/lib.sh"',
    'run_phases',
    '',
  ].join('\n')
}

const END = 'END-OF-SYSCLONE-FILE'

/** Quoted, so that the shell leaves every byte of the text alone. */
function hereDocument(name: string, text: string): string {
  if (!/^[\w./-]+$/.test(name)) throw new UserError('script: not a file name', { what: JSON.stringify(name) })
  const body = text.endsWith('\n') ? text : `${text}\n`
  if (body.split('\n').includes(END) || body.includes('\0'))
    throw new UserError('script: cannot be carried', { what: `${name} holds a line ${END} or a null byte` })
  return `cat > "$INSTALLER/${name}" <<'${END}'\n${body}${END}`
}

/** A script that shows why this machine is not installed, on every console, and touches nothing. */
export function renderRefusal(fault: Fault): string {
  const line = renderFault(fault).replace(/[^\x20-\x7e]/g, '?')
  return ['#!/bin/sh', `reason=${quote(line)}`, ...SHOW, ''].join('\n')
}

const SHOW = [
  'echo "sysclone: refused: $reason"',
  '[ ! -c /dev/kmsg ] || printf \'<3>sysclone: refused: %s\\n\' "$reason" > /dev/kmsg',
  'exit 1',
]

/** Single quotes keep every character but themselves. */
const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`

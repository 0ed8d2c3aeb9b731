// The one log: JSON lines for machines, one short line an event for a person at a terminal.
import pino from 'pino'
import type { Event } from '../../src/events.ts'
import { harmless } from './print.ts'

const problems = new Set([
  'serve.exit',
  'serve.fail',
  'node.refuse',
  'job.fail',
  'tftp.fail',
  'http.fail',
  'dhcp.nak',
  'dhcp.conflict',
  'dhcp.rogue',
  'dhcp.warn',
])
// What a busy network says all day long.
const chatter = new Set(['dhcp.discover', 'dhcp.ignore', 'http.blob', 'http.file', 'tftp.start'])

/** @param pretty lines for a person; else JSON lines. @param all also what a busy network says all day long. */
export function openLog({ pretty, all }: { pretty: boolean; all: boolean }): (event: Event) => void {
  const logger = pino({ base: null, level: all ? 'debug' : 'info', timestamp: false }, gatherLines())
  return (event) => {
    const level = problems.has(event.type) ? 'warn' : chatter.has(event.type) ? 'debug' : 'info'
    if (!pretty) return logger[level]({ ...event, time: new Date(event.time).toISOString() })
    if (level !== 'debug' || all) process.stdout.write(`${renderEvent(event)}\n`)
  }
}

/** What is said within one turn is written at once: a write for each line of a rack that starts would be felt. */
function gatherLines(): pino.DestinationStream {
  const out = pino.destination(1)
  let text = ''
  function flush() {
    const lines = text
    text = ''
    if (lines !== '') out.write(lines)
  }
  process.once('exit', flush)
  return {
    write(line) {
      if (text === '') setImmediate(flush)
      text += line
    },
  }
}

/** `12:00:01 node.progress node=n1 phase=copy percent=40` */
export function renderEvent({ time, type, ...fields }: Event): string {
  const words = Object.entries(fields).map(([name, value]) => `${name}=${quoteWord(String(value))}`)
  return [new Date(time).toTimeString().slice(0, 8), type, ...words].join(' ')
}

// Text from the network must not move the cursor of the terminal that shows it. JSON leaves some that can as they are.
const quoteWord = (text: string) => (/^[\w.:/@+,-]+$/.test(text) ? text : harmless(JSON.stringify(text)))

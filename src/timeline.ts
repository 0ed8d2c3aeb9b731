// The event stream as a person watches it: one line an event, joined by machine, with the time since its boot began.
import { type BootState, placeStep, type Turn } from './boot/record.ts'
import type { Event, EventType } from './events.ts'

export type Tone = 'plain' | 'good' | 'bad' | 'dim'
export type Line = {
  time: number // ms since 1970
  sinceMs?: number // since the boot of that machine began
  who: string // node, MAC or job; '' for the server itself
  thing: string // 'dhcp', 'tftp' ...
  text: string
  tone: Tone
}

type Fields = Record<string, string | number | undefined>
type Row = [tone: Tone, text: (fields: Fields) => string]
const words = (...parts: (string | number | undefined | false)[]) =>
  parts.filter((part) => part !== undefined && part !== false && part !== '').join(' ')
const size = (bytes: string | number | undefined) =>
  bytes === undefined ? '' : `(${sizeText(Number(bytes))})`
const asker = ({ client, arch }: Fields) => words(client, arch)
const of = (kind: string | number | undefined) => (kind === undefined || kind === '' ? '' : `[${kind}]`)

// One row per type of event; a type without a row shows its fields.
const rows: Partial<Record<EventType, Row>> = {
  'dhcp.discover': ['dim', (e) => words('asks for an address:', asker(e))],
  'dhcp.offer': ['plain', (e) => words('offered', e.address, e.file !== undefined && `and ${e.file}`)],
  'dhcp.ack': [
    'plain',
    (e) => words('has', e.address, asker(e) && `(${asker(e)})`, e.file !== undefined && `and ${e.file}`),
  ],
  'dhcp.nak': ['bad', (e) => words('refused', e.address, e.why)],
  'dhcp.ignore': ['dim', (e) => words('not answered:', e.why)],
  'dhcp.release': ['dim', (e) => words('gave back', e.address)],
  'dhcp.decline': ['bad', (e) => words('found somebody else at', e.address)],
  'machine.found': ['good', (e) => words('waits to be adopted, code', e.code)],
  'tftp.start': ['dim', (e) => words('asks for', e.file, size(e.bytes), of(e.kind))],
  'tftp.done': [
    'plain',
    (e) => words(e.why === 'aborted' ? 'broke off' : 'got', e.file, size(e.bytes), of(e.kind)),
  ],
  'tftp.fail': ['bad', (e) => words(e.file, e.why)],
  'http.text': ['plain', (e) => words('got', e.file, of(e.kind))],
  'http.file': ['plain', (e) => words('got', e.file, size(e.bytes))],
  'http.blob': ['plain', (e) => words('got', String(e.digest).slice(0, 19), size(e.bytes))],
  'http.fail': ['bad', (e) => words(e.file, e.why)],
  'node.start': ['plain', (e) => words('begins to install, attempt', e.attempt)],
  'node.refuse': ['bad', (e) => words('refused:', e.why)],
  'node.progress': ['plain', (e) => words(e.phase, `${e.percent}%`, e.text)],
  'node.log': ['dim', (e) => words(e.text)],
  'node.finish': ['plain', (e) => words('finished:', e.result, e.why)],
  'node.state': ['plain', (e) => words(e.from, '->', e.to, e.why !== undefined && `(${e.why})`)],
  'capture.progress': ['plain', (e) => words('capture', e.image, e.phase, `${e.percent}%`, e.text, e.note)],
  'capture.done': ['good', (e) => words('captured', `${e.image}:${e.version}`, size(e.bytes))],
  'image.progress': ['plain', (e) => words(e.kind, e.image, e.phase, `${e.percent}%`, e.note)],
  'job.start': ['dim', (e) => words(e.kind, 'starts')],
  'job.done': ['good', (e) => words(e.kind, 'done', e.result)],
  'job.fail': ['bad', (e) => words(e.kind, 'failed:', e.why)],
  'serve.start': ['dim', (e) => words(e.process, 'started')],
  'serve.exit': ['bad', (e) => words(e.process, 'ended', e.signal ?? `with code ${e.code}`)],
  'serve.fail': ['bad', (e) => words(e.process, e.why, e.what)],
  'admin.change': ['plain', (e) => words(e.who, e.what, e.object)],
}

const good = new Set(['installed', 'booted'])
const bad = new Set(['failed', 'held', 'expired'])

/** @param most machines whose boots are remembered; the one that was quiet longest is forgotten first */
export function makeTimeline(most = 20_000) {
  const boots = new Map<string, BootState & { began: number }>()
  const progress = new Map<string, string>()

  /** `undefined`: nothing new, as one more percent. */
  function line(event: Event): Line | undefined {
    const { time, type, node, mac, deployment: _, job, ...fields } = event as Event & Fields
    const who = String(node ?? mac ?? (fields as Fields).peer ?? '')
    if (type.endsWith('.progress') && !isNews(String(job ?? who), fields)) return undefined
    const [tone, text] = rows[type] ?? ['plain', others]
    const began = beganOf(String(mac ?? node ?? ''), event)
    return {
      ...{
        time,
        who,
        thing: type.slice(0, type.indexOf('.')),
        text: text(fields),
        tone: toneOf(event, tone),
      },
      ...(began !== undefined && { sinceMs: time - began }),
    }
  }

  /** Each phase, and each tenth of the way. */
  function isNews(key: string, { phase, percent }: Fields): boolean {
    const step = `${phase} ${Math.floor(Number(percent) / 10)}`
    if (progress.get(key) === step) return false
    remember(progress, key, step)
    return true
  }

  function beganOf(key: string, event: Event): number | undefined {
    const turn = turnOf(event)
    if (key === '') return undefined
    const boot = boots.get(key) ?? boots.get(event.node ?? '')
    const place = turn && placeStep(boot, turn)
    if (!place) return boot?.began
    const began = place.begins || !boot ? event.time : boot.began
    remember(boots, key, { ...place.boot, began })
    // What names the node alone, as the progress of its install, belongs to the boot of its machine.
    if (event.node !== undefined) remember(boots, event.node, { ...place.boot, began })
    return began
  }

  function remember<T>(map: Map<string, T>, key: string, value: T) {
    map.delete(key)
    map.set(key, value)
    if (map.size > most) map.delete(map.keys().next().value!)
  }

  return line
}

/** What an event says of the boot of its machine. */
function turnOf(event: Event): Turn | undefined {
  const { time, type } = event
  const { client } = event as { client?: 'firmware' | 'ipxe' | 'os' }
  if (type === 'dhcp.discover' && client) return { time, kind: 'dhcp', type: 'discover', client }
  if (type === 'dhcp.ack' && client) return { time, kind: 'dhcp', type: 'request', client }
  if (type === 'tftp.start' || type === 'http.text' || type === 'http.file') return { time, kind: 'file' }
  return undefined
}

function toneOf({ type, ...event }: Event, usual: Tone): Tone {
  const { to, result } = event as { to?: string; result?: string }
  if (type === 'node.state') return good.has(to ?? '') ? 'good' : bad.has(to ?? '') ? 'bad' : usual
  if (type === 'node.finish') return result === 'ok' ? 'good' : 'bad'
  return usual
}

const others = (fields: Fields) =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ')

/** `123 B`, `4.5 KB`, `1.2 GB`: powers of 1000. */
export function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`
  const power = Math.min(4, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** power).toFixed(1)} ${['B', 'KB', 'MB', 'GB', 'TB'][power]}`
}

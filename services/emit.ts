// One stream of events. In the children of the supervisor an event goes up by IPC; the supervisor writes the one log.
import type { Common, Emit, EventFields, EventType } from '../src/events.ts'

export type { Emit } from '../src/events.ts'

/** An emitter that stamps the time and hands each event to `sink`, which must not throw. */
export function makeEmit(
  sink: (event: { time: number; type: EventType } & Record<string, unknown>) => void,
): Emit {
  return <T extends EventType>(type: T, fields: EventFields<T>) => sink({ time: Date.now(), type, ...fields })
}

type Fields = Common & { peer?: string | number }
type Limit = {
  what: string
  perMinute: number
  of(type: EventType, fields: Fields): boolean
  /** Each has so many of its own, and all together have `inAll`. */
  by?(fields: Fields): string
  inAll?: number
}
const failures: ReadonlySet<EventType> = new Set(['tftp.fail', 'http.fail'])
const answers: ReadonlySet<EventType> = new Set([
  ...(['dhcp.discover', 'dhcp.offer', 'dhcp.ack', 'dhcp.nak', 'dhcp.release', 'dhcp.decline'] as const),
])
const transfers: ReadonlySet<EventType> = new Set([
  ...(['tftp.start', 'tftp.done', 'http.text', 'http.file', 'http.blob'] as const),
])
/** What any machine of the network can cause without end is said so often a minute and no more: log and memory last. */
const limits: Limit[] = [
  { what: 'transfers that failed', perMinute: 1000, of: (type) => failures.has(type) },
  {
    what: 'DHCP of machines that nobody defined',
    perMinute: 1000,
    of: (type, { node }) => node === undefined && answers.has(type),
  },
  // A boot has some dozens, and so have ten thousand nodes that are switched on at once; somebody may speak in their names.
  {
    what: 'DHCP of nodes',
    perMinute: 120,
    inAll: 200_000,
    of: (type) => answers.has(type),
    by: ({ mac, node }) => mac ?? node ?? '',
  },
  // A boot has some dozens; a loader that is sent in circles has thousands.
  {
    what: 'transfers of one machine',
    perMinute: 600,
    of: (type) => transfers.has(type),
    by: ({ peer }) => String(peer),
  },
]

/** Says how much was left out when the next such event comes. */
export function limitEvents(emit: Emit, now: () => number = () => performance.now()): Emit {
  const windows = limits.map((limit) => ({
    ...{ ...limit, until: Number.NEGATIVE_INFINITY, said: new Map<string, number>(), all: 0, left: 0 },
  }))
  return (type, fields) => {
    const window = windows.find(({ of }) => of(type, fields))
    if (!window) return emit(type, fields)
    const { what, perMinute, inAll = Number.POSITIVE_INFINITY, by } = window
    if (now() >= window.until) {
      const count = window.left
      Object.assign(window, { until: now() + 60_000, said: new Map(), all: 0, left: 0 })
      if (count > 0) emit('serve.quiet', { what, count })
    }
    const key = by?.(fields) ?? ''
    const said = (window.said.get(key) ?? 0) + 1
    window.said.set(key, said)
    if (said > perMinute || window.all >= inAll) return void window.left++
    window.all++
    emit(type, fields)
  }
}

// The event stream as main knows it: told to whoever watches at once, stored a moment later, and read again by those who
// come back. Nothing waits for the database: events that it does not take in time are watched but not kept.
import type { Event } from '../../src/events.ts'
import type { EventRows, KeptEvent } from '../store/events.ts'

export type Listener = (kept: KeptEvent) => void

const FLUSH_MS = 500
const FLUSH_COUNT = 1000
const PAGE = 500
const usualWaiting = 10_000

type Needs = {
  rows: EventRows
  /** Called once when events can not be stored, until they can again. */
  failed(error: unknown): void
  now?: () => number
  mostWaiting?: number
}

export async function openEventLog({ rows, failed, now = Date.now, mostWaiting = usualWaiting }: Needs) {
  const listeners = new Set<Listener>()
  let last = (await rows.ends())?.last ?? 0
  let waiting: KeptEvent[] = []
  let writing = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let isFailing = false

  function publish(event: Event) {
    last = Math.max(last + 1, now() * 1000)
    const kept = { id: last, event }
    if (waiting.length < mostWaiting) waiting.push(kept)
    if (waiting.length >= FLUSH_COUNT) void flush()
    else timer ??= setTimeout(() => void flush(), FLUSH_MS)
    for (const listener of listeners) listener(kept)
  }

  /** Resolves when everything that was published before is stored, or could not be. */
  function flush(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    writing = writing.then(write)
    return writing
  }

  async function write() {
    const some = waiting
    if (some.length === 0) return
    waiting = []
    try {
      await rows.add(some)
      isFailing = false
    } catch (error) {
      if (!isFailing) failed(error)
      isFailing = true
    }
  }

  function subscribe(listener: Listener) {
    listeners.add(listener)
    return () => void listeners.delete(listener)
  }

  /** What came after that id, in order, up to now. */
  async function* after(id: number): AsyncGenerator<KeptEvent> {
    await flush()
    for (let from = id; ; ) {
      const page = await rows.after(from, PAGE)
      yield* page
      if (page.length < PAGE) return
      from = page.at(-1)!.id
    }
  }

  /** Whether nothing that came after that id is forgotten; an id that was not given out yet is nobody's. */
  async function knowsAfter(id: number): Promise<boolean> {
    await flush()
    const ends = await rows.ends()
    return id <= Math.max(last, now() * 1000) && (ends === undefined || id >= ends.first - 1)
  }

  return { publish, subscribe, after, knowsAfter, lastOf: rows.lastOf, close: flush }
}
export type EventLog = Awaited<ReturnType<typeof openEventLog>>

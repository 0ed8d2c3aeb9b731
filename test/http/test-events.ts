// The event stream for tests of the admin API: the real log over the test's database, and a set of who listens.
import { makeEmit } from '../../services/emit.ts'
import { type EventLog, type Listener, openEventLog } from '../../services/record/event-log.ts'
import type { Store } from '../../services/store/store.ts'
import type { Event } from '../../src/events.ts'

export async function testEvents({ events: rows }: Pick<Store, 'events'>) {
  const log = await openEventLog({ rows, failed: () => {} })
  const listeners = new Set<(event: Event) => void>()
  const emit = makeEmit((event) => {
    log.publish(event as Event)
  })
  log.subscribe(({ event }) => {
    for (const listener of listeners) listener(event)
  })
  const watchers = new Set<Listener>()
  const events: EventLog = {
    ...log,
    subscribe(listener) {
      const stop = log.subscribe(listener)
      watchers.add(listener)
      return () => {
        stop()
        watchers.delete(listener)
      }
    },
  }
  return { events, emit, listeners, watchers }
}

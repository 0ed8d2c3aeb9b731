// One stream of events. In the children of the supervisor an event goes up by IPC; the supervisor writes the one log.
import type { Emit, EventFields, EventType } from '../src/events.ts'

export type { Emit } from '../src/events.ts'

/** An emitter that stamps the time and hands each event to `sink`, which must not throw. */
export function makeEmit(
  sink: (event: { time: number; type: EventType } & Record<string, unknown>) => void,
): Emit {
  return <T extends EventType>(type: T, fields: EventFields<T>) => sink({ time: Date.now(), type, ...fields })
}

const failures: ReadonlySet<EventType> = new Set(['tftp.fail', 'http.fail'])
const failuresPerMinute = 1000

/** Failures that any machine of the network can cause without end are said so often a minute and no more: log and memory last. */
export function limitFailures(emit: Emit, now: () => number = Date.now): Emit {
  let [until, said] = [0, 0]
  return (type, fields) => {
    if (failures.has(type)) {
      if (now() >= until) [until, said] = [now() + 60_000, 0]
      said += 1
      if (said > failuresPerMinute) return
    }
    emit(type, fields)
  }
}

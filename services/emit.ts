// One stream of events. In the children of the supervisor an event goes up by IPC; the supervisor writes the one log.
import type { Emit, EventFields, EventType } from '../src/events.ts'

export type { Emit } from '../src/events.ts'

/** An emitter that stamps the time and hands each event to `sink`, which must not throw. */
export function makeEmit(
  sink: (event: { time: number; type: EventType } & Record<string, unknown>) => void,
): Emit {
  return <T extends EventType>(type: T, fields: EventFields<T>) => sink({ time: Date.now(), type, ...fields })
}

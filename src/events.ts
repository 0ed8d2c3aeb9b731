// The one stream of events: log, `watch`, progress displays and metrics all read it.
// One row per type: the fields it carries beside the common ones.
export const eventTable = {
  'serve.start': ['process'],
  'serve.exit': ['process', 'code', 'signal'],
  'serve.fail': ['process', 'why', 'what'],
  'serve.quiet': ['what', 'count'], // events of that kind were too many within a minute: so many were not said
  'dhcp.discover': ['client', 'arch'],
  'dhcp.offer': ['address', 'file', 'client', 'arch'],
  'dhcp.ack': ['address', 'file', 'client', 'arch', 'leaseSeconds'],
  'dhcp.nak': ['address', 'why'],
  'dhcp.ignore': ['why'],
  'dhcp.release': ['address'],
  'dhcp.decline': ['address'],
  'dhcp.conflict': ['address', 'why'],
  'dhcp.rogue': ['address', 'why'],
  'dhcp.warn': ['why'],
  'machine.found': ['address', 'arch', 'code'],
  'tftp.start': ['file', 'peer', 'bytes', 'kind'],
  'tftp.done': ['file', 'peer', 'bytes', 'kind', 'why'],
  'tftp.fail': ['file', 'peer', 'why', 'kind'],
  'http.text': ['file', 'peer', 'kind'],
  'http.file': ['file', 'peer', 'bytes'],
  'http.blob': ['digest', 'peer', 'bytes'],
  'http.fail': ['file', 'peer', 'why'],
  'node.start': ['peer', 'attempt'],
  'node.refuse': ['peer', 'why'],
  'node.progress': ['phase', 'percent', 'bytes', 'text'],
  'node.log': ['text'],
  'node.finish': ['result', 'why'],
  'node.state': ['from', 'to', 'why'],
  'capture.progress': [
    'image',
    'phase',
    'percent',
    'bytes',
    'files',
    'totalFiles',
    'rate',
    'secondsLeft',
    'text',
    'note', // something a person is to know, said once
  ],
  'capture.done': ['image', 'version', 'bytes', 'text'],
  'image.progress': ['kind', 'image', 'phase', 'percent', 'bytes', 'note'],
  'job.start': ['kind'],
  'job.done': ['kind', 'result'],
  'job.fail': ['kind', 'why'],
  'admin.change': ['who', 'what', 'object'],
} as const satisfies Record<string, readonly string[]>

export type EventType = keyof typeof eventTable
/** Fields that any event may carry. `time` is milliseconds since 1970. */
export type Common = { node?: string; mac?: string; deployment?: string; job?: string }
export type EventFields<T extends EventType> = Common & {
  [K in (typeof eventTable)[T][number]]?: string | number
}
export type Event<T extends EventType = EventType> = { time: number; type: T } & EventFields<T>
export type Emit = <T extends EventType>(type: T, fields: EventFields<T>) => void

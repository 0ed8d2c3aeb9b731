// The one event stream as Server-Sent Events: one `data:` line of JSON each, a comment as heartbeat. A watcher that lost its
// connection names the last event it saw (Last-Event-ID) and gets what it missed.
import type { ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { Event } from '../../src/events.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { Watch } from './admin-schemas.ts'

const HEARTBEAT_MS = 15_000
const KEPT = 2000 // events for those who come back
const MAX_WAITING = 4 << 20 // bytes that a watcher may be behind

export function eventRoutes(app: FastifyInstance, { subscribe }: Pick<AdminNeeds, 'subscribe'>) {
  const streams = new Set<ServerResponse>()
  const recent = rememberEvents()
  let stopRemembering = () => {}
  app.addHook('onReady', async () => {
    stopRemembering = subscribe(recent.add) // before every watcher: whoever is told of an event finds its id
  })
  app.addHook('preClose', async () => {
    stopRemembering()
    for (const stream of streams) stream.end()
  })
  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .get('/events', { schema: { querystring: Watch } }, (request, reply) => {
      const wanted = filterOf(request.query)
      reply.hijack()
      const stream = reply.raw
      streams.add(stream)
      stream.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
      stream.write(': watching\n\n')
      const missed = recent.since(request.headers['last-event-id'])
      if (missed === undefined) stream.write(': events between are not known any more\n\n')
      for (const { event, id } of missed ?? []) show(event, id)
      const unsubscribe = subscribe((event) => show(event, recent.idOf(event)))
      const heartbeat = setInterval(() => send(': \n\n'), HEARTBEAT_MS)
      stream.once('close', () => {
        clearInterval(heartbeat)
        unsubscribe()
        streams.delete(stream)
      })

      function show(event: Event, id: string) {
        if (wanted(event)) send(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      }
      /** A watcher that does not read is let go; nothing may wait for it or grow for it. */
      function send(text: string) {
        if (stream.writableLength > MAX_WAITING) stream.destroy()
        else if (!stream.writableEnded) stream.write(text)
      }
    })
}

/** The last events with their ids: `START-NUMBER`, since numbers begin anew with each start of the server. */
function rememberEvents() {
  const start = Date.now().toString(36)
  const kept: { event: Event; id: string; number: number }[] = []
  let last = 0
  function add(event: Event) {
    last += 1
    kept.push({ event, id: `${start}-${last}`, number: last })
    if (kept.length > KEPT) kept.shift()
  }
  /** Nothing for a new watcher; undefined when some are forgotten. */
  function since(id: string | string[] | undefined) {
    if (id === undefined) return []
    const [from, number] = String(id).split('-')
    const seen = Number(number)
    const oldest = kept[0]?.number ?? last + 1
    if (from !== start || !(seen <= last) || seen < oldest - 1) return undefined
    return kept.filter((each) => each.number > seen)
  }
  return { add, since, idOf: (event: Event) => kept.findLast((each) => each.event === event)?.id ?? '' }
}

function filterOf({ node, job, things }: { node?: string; job?: string; things?: string }) {
  const kinds = things?.split(',').filter(Boolean)
  return (event: Event) =>
    (node === undefined || event.node === node) &&
    (job === undefined || event.job === job) &&
    (kinds === undefined || kinds.includes(event.type.split('.')[0]!))
}

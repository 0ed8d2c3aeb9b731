// The one event stream as Server-Sent Events: one `data:` line of JSON each, a comment as heartbeat.
import type { ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { Event } from '../../src/events.ts'
import type { AdminNeeds } from './admin.ts'
import { Watch } from './admin-schemas.ts'

const HEARTBEAT_MS = 15_000
const MAX_WAITING = 4 << 20 // bytes that a watcher may be behind

export function eventRoutes(app: FastifyInstance, { subscribe }: Pick<AdminNeeds, 'subscribe'>) {
  const streams = new Set<ServerResponse>()
  app.addHook('preClose', async () => {
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
      const unsubscribe = subscribe((event) => {
        if (wanted(event)) send(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      })
      const heartbeat = setInterval(() => send(': \n\n'), HEARTBEAT_MS)
      stream.once('close', () => {
        clearInterval(heartbeat)
        unsubscribe()
        streams.delete(stream)
      })

      /** A watcher that does not read is let go; nothing may wait for it or grow for it. */
      function send(text: string) {
        if (stream.writableLength > MAX_WAITING) stream.destroy()
        else if (!stream.writableEnded) stream.write(text)
      }
    })
}

function filterOf({ node, job, things }: { node?: string; job?: string; things?: string }) {
  const kinds = things?.split(',').filter(Boolean)
  return (event: Event) =>
    (node === undefined || event.node === node) &&
    (job === undefined || event.job === job) &&
    (kinds === undefined || kinds.includes(event.type.split('.')[0]!))
}

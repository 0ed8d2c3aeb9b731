// The one event stream as Server-Sent Events: one `data:` line of JSON each, a comment as heartbeat. A watcher that lost its
// connection names the last event it saw (Last-Event-ID) and gets what it missed, after a restart of the server too.
import type { ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { Event } from '../../src/events.ts'
import type { KeptEvent } from '../store/events.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { inRange } from './admin-range.ts'
import { Watch } from './admin-schemas.ts'

const HEARTBEAT_MS = 15_000
const MAX_WAITING = 4 << 20 // bytes that a watcher may be behind
const MOST_HELD = 20_000 // events that come while older ones are still read

export function eventRoutes(app: FastifyInstance, { events, store }: Pick<AdminNeeds, 'events' | 'store'>) {
  const streams = new Set<ServerResponse>()
  app.addHook('preClose', async () => {
    for (const stream of streams) stream.end()
  })
  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .get('/events', { schema: { querystring: Watch } }, async (request, reply) => {
      const { query, headers } = request
      // Who joins the nodes later is not in it: what a range means is asked once.
      const names = query.nodes === undefined ? undefined : await inRange(store, query.nodes)
      const wanted = filterOf({ ...query, nodes: names && new Set(names.map(({ name }) => name)) })
      reply.hijack()
      const stream = reply.raw
      streams.add(stream)
      stream.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
      let held: KeptEvent[] | undefined = []
      const unsubscribe = events.subscribe((kept) => {
        if (!held) show(kept)
        else if (held.length < MOST_HELD) held.push(kept)
        else stream.destroy()
      })
      const heartbeat = setInterval(() => send(': \n\n'), HEARTBEAT_MS)
      stream.once('close', () => {
        clearInterval(heartbeat)
        unsubscribe()
        streams.delete(stream)
      })
      stream.write(': watching\n\n')
      const seen = await showMissed(headers['last-event-id'], query.since).catch(() => void stream.destroy())
      for (const kept of held.splice(0)) if (kept.id > (seen ?? 0)) show(kept)
      held = undefined
      if (query.follow === 'no') stream.end()

      /** Answers with the id of the last one. */
      async function showMissed(lastSeen: string | string[] | undefined, since: string | undefined) {
        if (lastSeen === undefined && since === undefined) return 0
        const id = lastSeen === undefined ? Number(since) * 1000 - 1 : idOf(String(lastSeen))
        const isKnown = await events.knowsAfter(id)
        if (!isKnown) stream.write(': events between are not known any more\n\n')
        if (!isKnown && lastSeen !== undefined) return 0
        let last = id
        for await (const kept of events.after(id)) {
          if (stream.destroyed) break
          show(kept)
          last = kept.id
          if (stream.writableNeedDrain) await drained(stream)
        }
        return last
      }
      function show({ id, event }: KeptEvent) {
        if (wanted(event)) send(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      }
      /** A watcher that does not read is let go; nothing may wait for it or grow for it. */
      function send(text: string) {
        if (stream.writableLength > MAX_WAITING) stream.destroy()
        else if (!stream.writableEnded) stream.write(text)
      }
    })
}

/** Until the watcher has read, or is gone. */
function drained(stream: ServerResponse): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      stream.off('drain', end)
      stream.off('close', end)
      done()
    }
    stream.once('drain', end)
    stream.once('close', end)
  })
}

const idOf = (text: string) => (/^\d{1,16}$/.test(text) ? Number(text) : Number.NaN)

type Filter = { node?: string; nodes?: Set<string> | undefined; job?: string; things?: string }

function filterOf({ node, nodes, job, things }: Filter) {
  const kinds = things?.split(',').filter(Boolean)
  return (event: Event) =>
    (node === undefined || event.node === node) &&
    (nodes === undefined || (event.node !== undefined && nodes.has(event.node))) &&
    (job === undefined || event.job === job) &&
    (kinds === undefined || kinds.includes(event.type.split('.')[0]!))
}

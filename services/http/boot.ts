// HTTP of the boot process: loader texts, loaders and public blobs by their published names; /node/* goes on to main.
// Loaders are particular: exact header spelling, no redirects, HEAD and Range, connections that just end.
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { normalizeName } from '../../src/boot/names.ts'
import type { Emit } from '../emit.ts'
import { peerOf, sendBody } from './body.ts'
import type { Open } from './content.ts'
import { makeNodeProxy } from './node-proxy.ts'
import { turnOf } from './turn.ts'

type Needs = {
  address: string
  port: number
  open: Open
  nodeSocketPath: string // main's unix socket for the node endpoints
  emit: Emit
}

export async function startBootHttp({ address, port, open, nodeSocketPath, emit }: Needs) {
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout: 30_000,
    keepAliveTimeout: 20_000,
  })
  const proxy = makeNodeProxy(nodeSocketPath)
  // Bodies are main's to read; here they only pass through.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.all('/node/*', takeOver(proxy.pass))
  app.get('/*', { exposeHeadRoute: true }, takeOver(servePublished))
  app.setNotFoundHandler(takeOver(async (_, reply) => answer(reply, 404)))
  app.server.setTimeout(120_000)
  app.server.maxConnections = 4000

  async function servePublished(request: FastifyRequest, reply: FastifyReply) {
    const file = request.raw.url?.slice(0, 300) ?? ''
    const peer = peerOf(request.raw)
    const name = nameOf(request.raw.url ?? '')
    if (name === undefined) return answer(reply, 400)
    const content = await open(name, peer)
    if (!content) {
      emit('http.fail', { file, peer, why: 'no such file' })
      return answer(reply, 404)
    }
    try {
      const { result, bytes } = await sendBody(request.raw, reply.raw, content, () => 256 << 10)
      const { kind, ...who } = content.facts
      if (result !== 'done') return
      if (kind !== undefined) emit('http.text', { ...who, kind, file, peer })
      else emit('http.file', { ...who, file, peer, bytes })
    } finally {
      content.close()
    }
  }

  /** The raw response is ours from here: fastify would write `content-length`. No error leaves it. */
  function takeOver(handle: (request: FastifyRequest, reply: FastifyReply) => Promise<void>) {
    return (request: FastifyRequest, reply: FastifyReply) => {
      reply.hijack()
      reply.raw.on('error', () => {})
      const handled = turnOf(request.raw, reply.raw).then((mine) =>
        mine ? handle(request, reply) : undefined,
      )
      handled.catch((error: Error) => {
        emit('http.fail', {
          file: request.raw.url?.slice(0, 300) ?? '',
          peer: peerOf(request.raw),
          why: error.message,
        })
        if (reply.raw.headersSent) reply.raw.destroy()
        else answer(reply, 500)
      })
    }
  }

  await app.listen({ host: address, port, backlog: 1024 })
  return {
    port: (app.server.address() as { port: number }).port,
    async close() {
      await app.close()
      proxy.close()
    },
  }
}

/** The path, percent-decoded once; what stays encoded after that is a name that nobody published. */
function nameOf(url: string): string | undefined {
  const path = url.split('?', 1)[0] ?? ''
  try {
    return normalizeName(decodeURIComponent(path))
  } catch {
    return undefined
  }
}

function answer({ raw }: FastifyReply, status: number) {
  raw.writeHead(status, { 'Content-Length': 0 })
  raw.end()
}

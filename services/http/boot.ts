// HTTP of the boot process: loader texts, loaders and public blobs by their published names; /node/* goes on to main.
// Loaders are particular: exact header spelling, no redirects, HEAD and Range, connections that just end.
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import type { Emit } from '../emit.ts'
import { makeAdmission } from './admission.ts'
import { answerShort, nameAsked } from './answer.ts'
import { peerOf, sendBody } from './body.ts'
import type { Open } from './content.ts'
import { limitCrowd, TOO_MANY } from './crowd.ts'
import { makeNodeProxy } from './node-proxy.ts'
import { placeFor } from './place.ts'
import { answerHalfClosed, turnOf } from './turn.ts'

type Needs = {
  address: string
  port: number
  open: Open
  nodeSocketPath: string // main's unix socket for the node endpoints
  emit: Emit
  crowdLimits?: Parameters<typeof limitCrowd>[2] // others than the usual ones only in tests
}

/** Texts name the blob workers for what is large; who asks here all the same shall not slow DHCP and TFTP down. */
const largeLimits = { most: 16, perClient: 4, line: 1000 }

export async function startBootHttp({ address, port, open, nodeSocketPath, emit, crowdLimits }: Needs) {
  const app = fastify({
    logger: false,
    forceCloseConnections: true,
    requestTimeout: 30_000,
    keepAliveTimeout: 20_000,
  })
  const proxy = makeNodeProxy(nodeSocketPath)
  const admission = makeAdmission(largeLimits)
  // Bodies are main's to read; here they only pass through.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.all('/node/*', takeOver(proxy.pass))
  app.get('/*', { exposeHeadRoute: true }, takeOver(servePublished))
  app.setNotFoundHandler(takeOver(async (_, reply) => answerShort(reply.raw, 404)))
  app.server.setTimeout(120_000)
  answerHalfClosed(app.server)
  const crowd = limitCrowd(app.server, (peer) => emit('http.fail', { peer, why: TOO_MANY }), crowdLimits)

  async function servePublished(request: FastifyRequest, reply: FastifyReply) {
    const file = request.raw.url?.slice(0, 300) ?? ''
    const peer = peerOf(request.raw)
    const name = nameAsked(request.raw)
    if (name === undefined) return answerShort(reply.raw, 400)
    const content = await open(name, peer)
    if (!content) {
      emit('http.fail', { file, peer, why: 'no such file' })
      return answerShort(reply.raw, 404)
    }
    try {
      const place = await placeFor(request.raw, reply.raw, content.bytes, admission)
      if (!place) return
      const { result, bytes } = await sendBody(request.raw, reply.raw, content, () => 256 << 10).finally(
        place.leave,
      )
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
        else answerShort(reply.raw, 500)
      })
    }
  }

  await app.listen({ host: address, port, backlog: 1024 })
  return {
    port: (app.server.address() as { port: number }).port,
    async close() {
      crowd.close()
      await app.close()
      proxy.close()
    },
  }
}

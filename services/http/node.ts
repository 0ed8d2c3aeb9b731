// What the ramdisk asks of main, on a unix socket: the boot process relays `/node/...` from the network to it, so that
// machines keep one address while main restarts.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import { type Ipv4, isIpv4 } from '../../src/address.ts'
import { faultOf, UserError } from '../../src/fault.ts'
import { Finish, Log, Progress, Start } from '../../src/install/protocol.ts'

export type Needs = {
  socket: string
  start: (body: Start, peer: Ipv4) => Promise<string>
  progress: (body: Progress, peer: Ipv4) => Promise<void>
  log: (body: Log, peer: Ipv4) => void
  finish: (body: Finish, peer: Ipv4) => Promise<void>
  now: () => number
}

/** Answers the node endpoints of src/install/protocol.ts. The socket file is ours alone (mode 0600). */
export async function startNodeHttp({ socket, start, progress, log, finish, now }: Needs) {
  const app = fastify({ bodyLimit: 1 << 20 })
    .setValidatorCompiler(TypeBoxValidatorCompiler)
    .withTypeProvider<TypeBoxTypeProvider>()

  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
    const status = error instanceof UserError ? error.status : (error.statusCode ?? 500)
    const fault =
      status === 500 || error instanceof UserError
        ? faultOf(error)
        : { error: 'bad request', what: error.message }
    return reply.code(status).send(fault)
  })
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send({ error: 'not found', what: request.url.slice(0, 200) }),
  )

  app.post('/node/start', { schema: { body: Start } }, async (request, reply) => {
    const script = await start(request.body, peerOf(request.headers))
    return reply.type('text/x-shellscript').send(script)
  })
  app.post('/node/progress', { schema: { body: Progress } }, async (request, reply) => {
    await progress(request.body, peerOf(request.headers))
    return reply.code(204).send()
  })
  app.post('/node/log', { schema: { body: Log } }, async (request, reply) => {
    log(request.body, peerOf(request.headers))
    return reply.code(204).send()
  })
  app.post('/node/finish', { schema: { body: Finish } }, async (request, reply) => {
    await finish(request.body, peerOf(request.headers))
    return reply.code(204).send()
  })
  app.get('/node/time', async (_request, reply) =>
    reply.type('text/plain').send(`${Math.floor(now() / 1000)}\n`),
  )

  await mkdir(dirname(socket), { recursive: true, mode: 0o700 })
  await rm(socket, { force: true })
  await app.listen({ path: socket })
  await chmod(socket, 0o600)
  return { close: () => app.close() }
}

/** The machine's own address, stamped on by the relay. */
function peerOf(headers: Record<string, unknown>): Ipv4 {
  const peer = headers['x-sysclone-peer']
  if (typeof peer !== 'string' || !isIpv4(peer))
    throw new UserError('no peer address', { what: 'X-Sysclone-Peer is missing', status: 400 })
  return peer
}

// The admin API: JSON over a unix socket that only its owner can open. The command line is its first client.
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import type { ImageName, NodeName } from '../../src/address.ts'
import type { Event } from '../../src/events.ts'
import { type Fault, faultOf, UserError } from '../../src/fault.ts'
import type { ReadFiles } from '../../src/image/osimage.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'
import type { Store } from '../store/store.ts'
import { actionRoutes } from './admin-actions.ts'
import { auditRoutes } from './admin-audit.ts'
import { eventRoutes } from './admin-events.ts'
import { definitionRoutes, groupRoutes, networkRoutes, nodeRoutes, osimageRoutes } from './admin-objects.ts'
import { openApiRoute } from './admin-openapi.ts'
import { listenPrivately } from './private-socket.ts'

export type AdminNeeds = {
  socket: string
  store: Store
  networks: readonly Network[]
  images: {
    list(): ImageVersion[]
    get(name: ImageName, version?: number): ImageVersion | undefined
  }
  deploy: {
    /** Answers with xCAT's word for it: 'sysclone debian12-x86_64'. */
    arm(node: NodeName, image: ImageName, version?: number): Promise<string>
    setState(node: NodeName, state: 'boot' | 'offline'): Promise<string>
    stat(node: NodeName): Promise<string>
  }
  capture(request: { node: NodeName; image: ImageName; acceptHostkey?: string }): Promise<{ job: string }>
  /** Reads files on the server and keeps what they hold. */
  keepFiles(paths: string[]): Promise<ReadFiles>
  leases(): Promise<unknown[]>
  nodesChanged(names: NodeName[]): void
  subscribe(listener: (event: Event) => void): () => void
  emit: Emit
}

/** Serves the admin API on `socket` until it is closed. */
export async function startAdmin(needs: AdminNeeds) {
  const { emit, socket } = needs
  // The noderange of a `GET` is part of the address: thousands of names spelled out must fit.
  const http = { maxHeaderSize: 1 << 20 }
  const app = fastify({ bodyLimit: 16 << 20, forceCloseConnections: 'idle', http })
  app.setValidatorCompiler(TypeBoxValidatorCompiler)
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const { status, fault } = answerTo(error)
    if (status >= 500) emit('http.fail', { file: request.url.slice(0, 200), peer: 'admin', why: fault.what })
    return reply.code(status).send(fault)
  })
  app.setNotFoundHandler((request, reply) =>
    reply
      .code(404)
      .send({ error: 'no such resource', what: `${request.method} ${request.url.slice(0, 200)}` }),
  )
  openApiRoute(app) // first of all: it describes what comes after it
  auditRoutes(app, needs) // before those whose changes it writes down
  nodeRoutes(app, needs)
  groupRoutes(app, needs)
  osimageRoutes(app, needs)
  definitionRoutes(app, needs)
  networkRoutes(app, needs)
  actionRoutes(app, needs)
  eventRoutes(app, needs)
  await listenPrivately(app, socket)
  return { close: () => app.close() }
}

function answerTo(error: Error & { statusCode?: number }): { status: number; fault: Fault } {
  if (error instanceof UserError) return { status: error.status, fault: error.fault }
  const status = error.statusCode ?? 500
  if (status < 500) return { status, fault: { error: 'bad request', what: error.message } }
  return { status, fault: faultOf(error) }
}

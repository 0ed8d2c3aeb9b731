// The admin API: JSON over a unix socket that only its owner can open. The command line is its first client.
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import fastify from 'fastify'
import { type Fault, faultOf, UserError } from '../../src/fault.ts'
import { actionRoutes } from './admin-actions.ts'
import { auditRoutes } from './admin-audit.ts'
import { discoveryRoutes } from './admin-discovery.ts'
import { eventRoutes } from './admin-events.ts'
import { explainRoutes } from './admin-explain.ts'
import { imageRoutes } from './admin-images.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { definitionRoutes, groupRoutes, networkRoutes, nodeRoutes, osimageRoutes } from './admin-objects.ts'
import { openApiRoute } from './admin-openapi.ts'
import { listenPrivately } from './private-socket.ts'

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
  imageRoutes(app, needs)
  eventRoutes(app, needs)
  explainRoutes(app, needs)
  discoveryRoutes(app, needs)
  await listenPrivately(app, socket)
  return { close: () => app.close() }
}

function answerTo(error: Error & { statusCode?: number }): { status: number; fault: Fault } {
  if (error instanceof UserError) return { status: error.status, fault: error.fault }
  const status = error.statusCode ?? 500
  if (status < 500) return { status, fault: { error: 'bad request', what: error.message } }
  return { status, fault: faultOf(error) }
}

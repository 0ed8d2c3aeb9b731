// The API described by itself: an OpenAPI 3.1 document made from the routes and the very schemas that check requests.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance, RouteOptions } from 'fastify'

// What each route is for, and what it answers with. A route without a row is described by its schema alone.
const rows: Record<string, [summary: string, answer: string]> = {
  'GET /nodes': ['Show nodes', '{objects: [{name, attrs: {attr: text}}]}'],
  'POST /nodes': ['Define nodes, all or none', '{objects: [name]}'],
  'PATCH /nodes': ['Change nodes, all or none', '{objects: [name]}'],
  'DELETE /nodes': ['Remove nodes, all or none', '{objects: [name]}'],
  'GET /groups': ['Show groups', '{objects: [{name, attrs: {attr: text}}]}'],
  'POST /groups': ['Define groups, all or none', '{objects: [name]}'],
  'PATCH /groups': ['Change groups, all or none', '{objects: [name]}'],
  'DELETE /groups': ['Remove groups, all or none', '{objects: [name]}'],
  'GET /osimages': ['Show osimages', '{objects: [{name, attrs: {attr: text}}]}'],
  'POST /osimages': ['Define osimages, all or none', '{objects: [name]}'],
  'PATCH /osimages': ['Change osimages, all or none', '{objects: [name]}'],
  'DELETE /osimages': ['Remove osimages, all or none', '{objects: [name]}'],
  'GET /networks': [
    'Show the networks of the configuration',
    '{objects: [{name, attrs: {attr: text}}], place?: FILE:LINE}',
  ],
  'POST /definitions': ['Write definitions of any type, all or none', '{objects: [name]}'],
  'GET /noderange': ['The nodes that a noderange names', '{names: [name]}'],
  'POST /deployments': ['What nodes boot next', '{results: [{object, text} | {object, fault}]}'],
  'POST /captures': ['Capture a golden client as the next version of an osimage', '{job}'],
  'GET /key': ['The public key that golden clients must let in', '{publicKey, fingerprint, path}'],
  'GET /jobs': ['What runs in processes of its own, and what ran, oldest first', '{jobs: [Job]}'],
  'GET /jobs/:job': [
    'One of them',
    '{job: {id, kind, node, image, state, startedAt, endedAt?, result?, fault?}}',
  ],
  'GET /images': ['The versions in the image store', '{images: [...], broken: [Fault]}'],
  'GET /images/:image': ['One version with its layers and disk layout, img:3 or img', '{image: {...}}'],
  'POST /images/copy': ['Give a version a further name; nothing is copied', '{image}'],
  'DELETE /images': ['Remove versions that nobody needs', '{results: [{object, text} | {object, fault}]}'],
  'POST /images/squash': ['Make the next version: the same tree in few layers', '{job}'],
  'POST /images/fsck': ['Read every blob, and say which are damaged', '{job}; a JSON object a line at `out`'],
  'POST /images/gc': ['Remove what no version needs', '{job}'],
  'POST /images/diff': ['What differs between two versions', '{job}; a JSON object a line at `out`'],
  'POST /images/cat': ['A file of a version', '{job}; its content at `out`'],
  'POST /images/export': ['A version as an OCI archive', '{job}; the archive at `out`'],
  'POST /images/import': [
    'Make a version of an OCI image, a root tarball or a folder of the server',
    '{job}',
  ],
  'GET /leases': ['The DHCP leases', '{leases: [...]}'],
  'GET /discovered': ['Unknown machines that wait at a screen with a code', '{machines: [...]}'],
  'POST /discovered/adopt': ['Make a node of the machine that shows this code', '{objects: [name], mac}'],
  'POST /explain': [
    'Why a machine gets what it gets, what its last boot got, and captured requests answered again; nothing is sent',
    '{mac, node?, policy, clients, boots, boot?} | {runs}',
  ],
  'GET /audit': [
    'Who changed what, oldest first',
    '{entries: [{id, time, who, what, object, before?, after?}]}',
  ],
  'GET /events': ['The events as they happen; Last-Event-ID goes on after that one', 'Server-Sent Events'],
  'GET /openapi.json': ['This document', 'OpenAPI 3.1'],
}

const faultSchema = {
  type: 'object',
  required: ['error', 'what'],
  properties: {
    error: { type: 'string' },
    what: { type: 'string' },
    allowed: { type: 'string' },
    object: { type: 'string' },
  },
}

/** `GET /openapi.json`; to be called before the routes are made that it shall describe. */
export function openApiRoute(app: FastifyInstance) {
  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => void routes.push(route))
  app.get('/openapi.json', async () => renderDocument(routes))
}

function renderDocument(routes: RouteOptions[]) {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes)
    for (const method of [route.method].flat())
      if (method !== 'HEAD')
        paths[pathOf(route)] = { ...paths[pathOf(route)], [method.toLowerCase()]: operation(method, route) }
  return {
    openapi: '3.1.0',
    info: {
      title: 'sysclone',
      version: packageVersion(),
      description: "The admin API: JSON over the server's unix socket, which its owner alone can open.",
    },
    paths,
    components: { schemas: { Fault: faultSchema } },
  }
}

/** fastify writes `/jobs/:job`, OpenAPI `/jobs/{job}`. */
const pathOf = ({ url }: RouteOptions) => url.replace(/:(\w+)/g, '{$1}')

function operation(method: string, { url, schema }: RouteOptions) {
  const [summary, answer] = rows[`${method} ${url}`] ?? [`${method} ${url}`, 'done']
  const type = url === '/events' ? 'text/event-stream' : 'application/json'
  const fault = { 'application/json': { schema: { $ref: '#/components/schemas/Fault' } } }
  return {
    operationId: `${method.toLowerCase()}${url.replace(/\W+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`,
    summary,
    ...(schema?.querystring !== undefined && {
      parameters: parameters('query', schema.querystring as Query),
    }),
    ...(schema?.params !== undefined && { parameters: parameters('path', schema.params as Query) }),
    ...(schema?.body !== undefined && {
      requestBody: { required: true, content: { 'application/json': { schema: schema.body } } },
    }),
    responses: {
      200: {
        description: answer,
        content: { [type]: { schema: { type: type === 'application/json' ? 'object' : 'string' } } },
      },
      default: { description: 'what was wrong, and what is allowed', content: fault },
    },
  }
}

type Query = { properties?: Record<string, unknown>; required?: string[] }
const parameters = (where: 'query' | 'path', { properties = {}, required = [] }: Query) =>
  Object.entries(properties).map(([name, schema]) => ({
    name,
    in: where,
    required: required.includes(name),
    schema,
  }))

const packageVersion = (): string =>
  JSON.parse(readFileSync(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8')).version

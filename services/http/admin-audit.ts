// The audit log: every change that the API makes, whoever asks for it, is written down by these hooks; no route can forget
// it. What an object was before and is after is what the API itself shows of it.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { isNewSecret } from '../../src/secret.ts'
import type { NewEntry } from '../store/audit.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { LastChanges } from './admin-schemas.ts'

type Attrs = Record<string, string>
/** What a request is about to change; `what` is the command that a person would type. */
type Draft = { what: string; before: Map<string, Attrs> }

const changing = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])
const definitions: Record<string, string> = { POST: 'mkdef', PATCH: 'chdef', DELETE: 'rmdef' }
const modes: Record<string, string> = { make: 'mkdef', change: 'chdef' }
const MOST_TEXT = 4096

/** `GET /audit`, and the hooks; to be called before the routes are made. */
export function auditRoutes(app: FastifyInstance, { store, emit }: AdminNeeds) {
  const drafts = new WeakMap<FastifyRequest, Draft>()

  app.addHook('preHandler', async (request) => {
    if (!changing.has(request.method) || isQuestion(request)) return
    drafts.set(request, { what: commandOf(request), before: await lookBefore(request) })
  })

  app.addHook('preSerialization', async (request, reply, payload: unknown) => {
    const draft = drafts.get(request)
    if (!draft || reply.statusCode >= 400) return payload
    const common = { time: Date.now(), who: whoAsks(request), what: draft.what }
    try {
      const changes = await changesOf(request, draft.before, payload)
      await store.audit.add(changes.map((change) => ({ ...common, ...change })))
    } catch (error) {
      // The change is made and stays; that its entry is missing must not stay unseen.
      emit('serve.fail', { process: 'main', why: `no audit entry for ${draft.what}`, what: String(error) })
    }
    return payload
  })

  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .get('/audit', { schema: { querystring: LastChanges } }, async ({ query: { object, last = '100' } }) => ({
      entries: await store.audit.list({ object, last: Number(last) }),
    }))

  async function lookBefore(request: FastifyRequest): Promise<Map<string, Attrs>> {
    const { objects, where, attrs, noderange, entries } = bodyOf(request)
    if (noderange !== undefined) return look('/nodes', { objects: noderange, attrs: 'currstate' })
    if (entries) return lookAll(entries)
    if (request.method === 'POST') return new Map()
    return look(pathOf(request), {
      objects: objects?.join(),
      where,
      attrs: attrs && Object.keys(attrs).join(),
    })
  }

  /** Definitions of several kinds, some of which exist: everything of these kinds. Names are told apart by kind. */
  async function lookAll(entries: Entries): Promise<Map<string, Attrs>> {
    const all = new Map<string, Attrs>()
    for (const type of new Set(entries.map(({ type }) => type))) {
      const names = new Set(
        entries.filter((each) => each.type === type).flatMap((each) => Object.keys(each.attrs)),
      )
      for (const [name, attrs] of await look(`/${type}s`, { attrs: [...names].join() }))
        all.set(`${type} ${name}`, attrs)
    }
    return all
  }

  async function changesOf(
    request: FastifyRequest,
    before: Map<string, Attrs>,
    payload: unknown,
  ): Promise<Pick<NewEntry, 'object' | 'before' | 'after'>[]> {
    const { objects, results, changes } = (payload ?? {}) as Record<string, any>
    // A route whose work has no attributes to look at says itself what it changed.
    if (Array.isArray(changes)) return changes.map(redacted)
    if (Array.isArray(results)) {
      const done = results.filter((result) => 'text' in result).map(({ object }) => String(object))
      return pairs(done, before, await lookAt('/nodes', done, 'currstate'))
    }
    const { attrs, node, entries } = bodyOf(request)
    if (entries) return differences(before, await lookAll(entries), withNewSecret(entries))
    if (!Array.isArray(objects) || !objects.every((name) => typeof name === 'string'))
      return [redacted({ object: String(node ?? pathOf(request)) })]
    if (request.method === 'DELETE') return pairs(objects, before, new Map())
    return pairs(objects, before, await lookAt(pathOf(request), objects, attrs && Object.keys(attrs).join()))
  }

  const lookAt = async (path: string, names: string[], attrs: string | undefined) =>
    names.length === 0 ? new Map<string, Attrs>() : look(path, { objects: names.join(), attrs })

  /** What the API shows of these objects; nothing when it knows none of that kind. */
  async function look(path: string, asked: Record<string, string | undefined>) {
    const said = Object.entries(asked).filter((pair): pair is [string, string] => pair[1] !== undefined)
    const query = new URLSearchParams(said)
    const answer = await app.inject({ method: 'GET', url: `${path}?${query}` })
    const found = answer.statusCode === 200 ? (answer.json().objects ?? []) : []
    return new Map<string, Attrs>(found.map(({ name, attrs }: any) => [name, attrs]))
  }
}

type Entries = { type: string; name: string; attrs: Attrs }[]
type Body = {
  objects?: string[]
  where?: string
  attrs?: Attrs
  entries?: Entries
  mode?: string
  noderange?: string
  state?: string
  image?: string
  version?: number
  node?: string
}
const bodyOf = ({ body }: FastifyRequest): Body => (typeof body === 'object' && body ? (body as Body) : {})
const pathOf = ({ routeOptions }: FastifyRequest) => routeOptions.url ?? '/'

const questions = new Set(['/explain', ...['fsck', 'diff', 'cat', 'export'].map((work) => `/images/${work}`)])
const imageCommands: Record<string, string> = {
  copy: 'cpimage',
  squash: 'squash',
  gc: 'gc',
  import: 'imgimport',
}

/** `nodeset stat` is asked by POST and changes nothing. */
const isQuestion = (request: FastifyRequest) =>
  questions.has(pathOf(request)) || (pathOf(request) === '/deployments' && bodyOf(request).state === 'stat')

function commandOf(request: FastifyRequest): string {
  const path = pathOf(request)
  const { state, image, version, mode } = bodyOf(request)
  if (path === '/deployments') {
    const wanted = image === undefined ? '' : `=${image}${version === undefined ? '' : `:${version}`}`
    return `nodeset ${state}${wanted}`
  }
  if (path === '/discovered/adopt') return 'adopt'
  if (path === '/captures') return `imgcapture ${image}`
  if (path === '/images') return 'rmimage'
  const work = imageCommands[/^\/images\/(\w+)$/.exec(path)?.[1] ?? '']
  if (work) return image === undefined ? work : `${work} ${image}`
  if (path === '/definitions') return modes[mode ?? ''] ?? 'import'
  const kind = /^\/([a-z]+)s$/.exec(path)?.[1]
  const command = definitions[request.method]
  return kind && command ? `${command} ${kind}` : `${request.method} ${path}`
}

/** Only the owner of the socket gets here; which person that is, the command line says and nobody proves. */
function whoAsks({ headers }: FastifyRequest): string {
  const said = headers['x-sysclone-user']
  return typeof said === 'string' && /^[\w.@-]{1,64}$/.test(said) ? `local:${said}` : 'local'
}

/** Objects by `KIND NAME` whose attributes are others than before; a secret never looks it. */
function differences(before: Map<string, Attrs>, after: Map<string, Attrs>, secretly: Set<string>) {
  const changed = [...after].filter(
    ([key, attrs]) => secretly.has(key) || JSON.stringify(before.get(key)) !== JSON.stringify(attrs),
  )
  return changed.map(([key, attrs]) =>
    redacted({ object: key.slice(key.indexOf(' ') + 1), before: before.get(key), after: attrs }),
  )
}

const withNewSecret = (entries: Entries): Set<string> =>
  new Set(
    entries
      .filter(({ attrs }) =>
        Object.entries(attrs).some(([name, text]) => isSecret(name) && isNewSecret(text)),
      )
      .map(({ type, name }) => `${type} ${name}`),
  )

const pairs = (names: string[], before: Map<string, Attrs>, after: Map<string, Attrs>) =>
  names.map((object) => redacted({ object, before: before.get(object), after: after.get(object) }))

type Change = { object: string; before?: Attrs | undefined; after?: Attrs | undefined }

function redacted({ object, before, after }: Change): Pick<NewEntry, 'object' | 'before' | 'after'> {
  return {
    object: object.slice(0, 300),
    ...(before && { before: hidden(before) }),
    ...(after && { after: hidden(after) }),
  }
}

const isSecret = (name: string) => /passw|secret|token|private/i.test(name)

const hidden = (attrs: Attrs): Attrs =>
  Object.fromEntries(
    Object.entries(attrs).map(([name, value]) => [
      name,
      isSecret(name) && value ? '(hidden)' : value.slice(0, MOST_TEXT),
    ]),
  )

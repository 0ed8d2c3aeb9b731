// The client of the admin API: JSON over the server's unix socket.
import type { ClientRequest, IncomingMessage } from 'node:http'
import { request } from 'node:http'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'

export type Api = ReturnType<typeof openApi>

/**
 * Nothing is connected until it is asked for something.
 * @param server the path of a socket
 * @param user who types, for the audit log; the server takes a plain login name
 */
export function openApi(server: string, user?: string) {
  if (!/^\.{0,2}\//.test(server))
    throw new UserError('not the path of a socket', { what: server, allowed: 'as /run/sysclone/api.sock' })

  async function call(method: string, path: string, body?: unknown): Promise<any> {
    const response = await send(server, method, path, { body, user })
    const text = await textOf(response)
    const answer = text === '' ? undefined : parseAnswer(text)
    if (response.statusCode! < 400) return answer
    const { error = 'the server refused', what = `status ${response.statusCode}`, ...more } = answer ?? {}
    throw new UserError(error, { what, ...more, status: response.statusCode! })
  }

  async function listen(query: Query, signal: AbortSignal, lastId?: string): Promise<AsyncIterable<Seen>> {
    const sent = { signal, ...(lastId !== undefined && { lastId }) }
    const response = await send(server, 'GET', withQuery('/events', query), sent)
    if (response.statusCode === 200) return eventsIn(response)
    const { error = 'the server refused', what = '', ...more } = parseAnswer(await textOf(response))
    throw new UserError(error, { what, ...more })
  }

  return {
    get: (path: string, query: Query = {}) => call('GET', withQuery(path, query)),
    post: (path: string, body: object) => call('POST', path, body),
    patch: (path: string, body: object) => call('PATCH', path, body),
    delete: (path: string, body: object) => call('DELETE', path, body),
    /** Resolves once the server is listening for us: whatever is started after that is not missed. */
    async events(query: Query, signal: AbortSignal): Promise<AsyncIterable<Event>> {
      return eventsOf(await listen(query, signal))
    },
    /** The same, with what to say when the connection was lost; `lastId` is what was seen before. */
    eventsAfter: listen,
  }
}

type Query = Record<string, string | undefined>
const withQuery = (path: string, query: Query) => {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined)
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs)}`
}

/** `id` of an event on the stream. */
export type Seen = { id: string; event: Event }

type Sent = { body?: unknown; user?: string | undefined; signal?: AbortSignal; lastId?: string }

function send(server: string, method: string, path: string, { body, user, signal, lastId }: Sent) {
  return new Promise<IncomingMessage>((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    // Node sends the body of a DELETE unframed unless its length is said.
    const headers = {
      ...(text !== undefined && {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      }),
      ...(lastId !== undefined && { 'last-event-id': lastId }),
      // A header can not carry every name; who has a strange one stays 'local'.
      ...(user !== undefined && /^[\w.@-]{1,64}$/.test(user) && { 'x-sysclone-user': user }),
    }
    const sent: ClientRequest = request({
      socketPath: server,
      method,
      path,
      headers,
      agent: false,
      ...(signal && { signal }),
    })
    sent.once('response', resolve)
    sent.once('error', (error: NodeJS.ErrnoException) => reject(unreachable(server, error)))
    sent.end(text)
  })
}

const reasons: Record<string, string> = {
  ENOENT: 'there is no such socket',
  ECONNREFUSED: 'nobody listens there any more',
  EACCES: 'it is closed to you',
}
function unreachable(server: string, error: NodeJS.ErrnoException): UserError {
  return new UserError('the server does not answer', {
    what: `${server}: ${reasons[error.code ?? ''] ?? error.message}`,
    allowed:
      'sysclone serve --config FILE running, as its user; --server SOCKET or SYSCLONE_SERVER names another',
    status: 503,
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function parseAnswer(text: string): any {
  try {
    return JSON.parse(text)
  } catch {
    throw new UserError('not an answer of this server', { what: text.slice(0, 100) })
  }
}

/** Server-Sent Events: blocks end at an empty line; lines with a colon in front are heartbeats. */
async function* eventsIn(response: IncomingMessage): AsyncGenerator<Seen> {
  let rest = ''
  response.setEncoding('utf8')
  for await (const chunk of response) {
    const blocks = (rest + chunk).split('\n\n')
    rest = blocks.pop()!
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1]
      if (data !== undefined) yield { id: /^id: (.*)$/m.exec(block)?.[1] ?? '', event: JSON.parse(data) }
    }
  }
}

async function* eventsOf(seen: AsyncIterable<Seen>): AsyncGenerator<Event> {
  for await (const { event } of seen) yield event
}

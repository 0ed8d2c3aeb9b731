// The ramdisk's requests on their way to main. While main restarts the node hears 503 with Retry-After; every node
// endpoint may be asked again.
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { peerOf } from './body.ts'

const maxBodyBytes = 1 << 20
/** Of all bodies that are here at once: thousands of machines send some KB each, and one alone shall not fill the memory. */
const room = { all: 64 << 20, ofPeer: 4 << 20 }
const mainTimeoutMs = 30_000
/** Which headers of main's answer reach the node. */
const passed = {
  'content-type': 'Content-Type',
  'content-length': 'Content-Length',
  'retry-after': 'Retry-After',
}

export function makeNodeProxy(socketPath: string) {
  // No kept connections: one that main's restart left behind would fail the next request.
  const agent = new Agent({ keepAlive: false, maxSockets: 512 })
  const held = new Map<string, number>() // bytes, by peer
  let all = 0

  async function pass({ raw: request }: FastifyRequest, { raw: response }: FastifyReply) {
    const path = /^\/node\/[a-z]{1,20}$/.exec(request.url ?? '')?.[0]
    if (!path) return fault(response, 404, { error: 'no such endpoint', what: 'path' })
    const loan = borrow(peerOf(request))
    try {
      const body = await readBody(request, loan.take)
      if (body === 'long')
        return fault(response, 413, {
          error: 'body too long',
          what: 'request',
          allowed: `${maxBodyBytes} bytes`,
        })
      if (body === 'later') return later(response, 'too much is sent at once')
      await forward(request, response, path, body)
    } finally {
      loan.giveBack()
    }
  }

  /** `take` is false when there is no room for so many bytes more. */
  function borrow(peer: string) {
    let own = 0
    function add(bytes: number) {
      own += bytes
      all += bytes
      const its = (held.get(peer) ?? 0) + bytes
      if (its > 0) held.set(peer, its)
      else held.delete(peer)
      return its
    }
    return {
      take: (bytes: number): boolean => add(bytes) <= room.ofPeer && all <= room.all,
      giveBack: () => void add(-own),
    }
  }

  function forward(request: IncomingMessage, response: ServerResponse, path: string, body: Buffer) {
    return new Promise<void>((done) => {
      const type = request.headers['content-type']
      const outgoing = httpRequest({
        agent,
        socketPath,
        path,
        method: request.method ?? 'GET',
        timeout: mainTimeoutMs,
        // Only what is listed: a client can't bring an X-Sysclone-Peer of its own.
        headers: {
          Host: 'sysclone',
          'Content-Length': body.length,
          'X-Sysclone-Peer': peerOf(request),
          ...(type !== undefined && { 'Content-Type': type }),
        },
      })
      outgoing.on('response', (incoming) => {
        response.writeHead(incoming.statusCode ?? 502, headersOf(incoming))
        incoming.on('error', () => response.destroy())
        incoming.on('end', done)
        incoming.pipe(response)
      })
      outgoing.on('timeout', () => outgoing.destroy(new Error('main does not answer')))
      outgoing.on('error', () => {
        if (response.headersSent) response.destroy()
        else later(response, 'the server restarts')
        done()
      })
      response.on('close', () => {
        outgoing.destroy()
        done()
      })
      outgoing.end(body)
    })
  }
  return { pass, close: () => agent.destroy() }
}

async function readBody(
  request: IncomingMessage,
  take: (bytes: number) => boolean,
): Promise<Buffer | 'long' | 'later'> {
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) return 'long'
  const chunks: Buffer[] = []
  let bytes = 0
  // What is not read to its end is answered all the same.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += (chunk as Buffer).length
    if (bytes > maxBodyBytes) return 'long'
    if (!take((chunk as Buffer).length)) return 'later'
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

function headersOf(incoming: IncomingMessage): Record<string, string> {
  const pairs = Object.entries(passed).map(([name, spelling]) => [spelling, incoming.headers[name]] as const)
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => typeof pair[1] === 'string'))
}

const later = (response: ServerResponse, error: string) =>
  fault(response, 503, { error, what: 'ask again' }, { 'Retry-After': '2' })

function fault(
  response: ServerResponse,
  status: number,
  body: { error: string; what: string; allowed?: string },
  headers: Record<string, string> = {},
) {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    ...headers,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    // Of what the client sends still nothing is read.
    ...(!response.req.complete && { Connection: 'close' }),
  })
  response.end(text)
}

// The ramdisk's requests on their way to main. While main restarts the node hears 503 with Retry-After; every node
// endpoint may be asked again.
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { peerOf } from './body.ts'

const maxBodyBytes = 1 << 20
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

  async function pass({ raw: request }: FastifyRequest, { raw: response }: FastifyReply) {
    const path = /^\/node\/[a-z]{1,20}$/.exec(request.url ?? '')?.[0]
    if (!path) return fault(response, 404, { error: 'no such endpoint', what: 'path' })
    const body = await readBody(request)
    if (!body)
      return fault(response, 413, {
        error: 'body too long',
        what: 'request',
        allowed: `${maxBodyBytes} bytes`,
      })
    await forward(request, response, path, body)
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
        else unavailable(response)
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

/** `undefined`: longer than allowed. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) return undefined
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > maxBodyBytes) return undefined
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

function headersOf(incoming: IncomingMessage): Record<string, string> {
  const pairs = Object.entries(passed).map(([name, spelling]) => [spelling, incoming.headers[name]] as const)
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => typeof pair[1] === 'string'))
}

function unavailable(response: ServerResponse) {
  fault(response, 503, { error: 'the server restarts', what: 'ask again' }, { 'Retry-After': '2' })
}

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
    ...(status === 413 && { Connection: 'close' }),
  })
  response.end(text)
}

// Sends bytes to a client that may be slow, may ask for a part, and may go away at any moment.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Range, spanOf } from './range.ts'

export type Source = {
  bytes: number
  contentType: string
  etag?: string
  /** At least one byte of the range; what it gave stays valid until the next read. */
  read(offset: number, length: number): Promise<Buffer>
}
/** `gone`: the client closed early, which GRUB and EDK2 do with every file. */
export type Sent = { result: 'done' | 'head' | 'gone' | 'range'; bytes: number }

/** GRUB looks for `Content-Length: ` in exactly these letters. */
export async function sendBody(
  request: IncomingMessage,
  response: ServerResponse,
  source: Source,
  chunkBytes: () => number,
): Promise<Sent> {
  const { bytes, contentType, etag } = source
  const ifRange = request.headers['if-range']
  const span = spanOf(ifRange === undefined || ifRange === etag ? request.headers.range : undefined, bytes)
  const common = {
    'Content-Type': contentType,
    'Accept-Ranges': 'bytes',
    ...(etag
      ? { ETag: etag, 'Cache-Control': 'public, max-age=31536000, immutable' }
      : { 'Cache-Control': 'no-store' }),
  }
  if (span.status === 416) {
    response.writeHead(416, { ...common, 'Content-Range': `bytes */${bytes}`, 'Content-Length': 0 })
    response.end()
    return { result: 'range', bytes: 0 }
  }
  const { start, end } = span.range
  response.writeHead(span.status, {
    ...common,
    'Content-Length': end - start,
    ...(span.status === 206 && { 'Content-Range': `bytes ${start}-${end - 1}/${bytes}` }),
  })
  if (request.method === 'HEAD') {
    response.end()
    return { result: 'head', bytes: 0 }
  }
  return pump(response, source, span.range, chunkBytes)
}

async function pump(
  response: ServerResponse,
  source: Source,
  { start, end }: Range,
  chunkBytes: () => number,
): Promise<Sent> {
  let at = start
  while (at < end) {
    const chunk = await source.read(at, Math.min(chunkBytes(), end - at))
    if (chunk.length === 0) {
      response.destroy() // shorter than its size said: the client must not take it for the whole
      throw new Error('the file became shorter while it was sent')
    }
    if (!(await written(response, chunk))) return { result: 'gone', bytes: at - start }
    at += chunk.length
  }
  const over = closed(response)
  response.end()
  return { result: (await over) ? 'done' : 'gone', bytes: end - start }
}

/** True once the socket has taken it all, so that the buffer may be used again; false when the client is gone. */
function written(response: ServerResponse, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve(false)
    const gone = () => resolve(false)
    response.once('close', gone)
    response.write(chunk, (error) => {
      response.off('close', gone)
      resolve(!error)
    })
  })
}

function closed(response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    response.once('finish', () => resolve(true))
    response.once('close', () => resolve(response.writableFinished))
  })
}

/** The client's address without the mapping of IPv6 sockets. */
export const peerOf = (request: IncomingMessage): string =>
  (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')

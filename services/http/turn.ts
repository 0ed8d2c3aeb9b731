// Requests that come on a connection before the one before was answered (pipelining). None of our clients does so, and each
// of them would hold a file and a buffer while it waits for a client that need not even read.
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const most = 4 // waiting or served, of one connection
const lines = new WeakMap<Socket, { count: number; last: Promise<void> }>()

/** Who has closed its side and is gone answers nothing more; who is there takes what it asked for. */
const HALF_CLOSED_MS = 30_000

/**
 * A client may close its side when it has asked for all that it wants, and still gets every answer; without this Node ends the
 * connection with what it is just sending. Whether it has gone for good shows when something is sent.
 */
export function answerHalfClosed(server: Server) {
  Object.assign(server, { httpAllowHalfOpen: true }) // Node's own name, which its types do not have
  server.on('connection', (socket) => socket.once('end', () => socket.setTimeout(HALF_CLOSED_MS)))
}

/** Resolves when all earlier answers of this connection are out; false when there is nobody to answer any more. */
export async function turnOf({ socket }: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const line = lines.get(socket) ?? { count: 0, last: Promise.resolve() }
  lines.set(socket, line)
  if (line.count >= most) socket.destroy()
  if (socket.destroyed) return false
  const before = line.last
  line.count++
  line.last = new Promise((done) => {
    response.once('close', () => {
      line.count--
      done()
    })
  })
  await before
  return !socket.destroyed
}

// A place in the line for one response; who can not have one now is told when to ask again.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Admission } from './admission.ts'
import { answerShort } from './answer.ts'
import { peerOf } from './body.ts'

/** Loaders and texts are over before anybody could wait for them. */
const smallBytes = 2 << 20

/** undefined: it is answered already, or the client is gone. */
export async function placeFor(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: number,
  admission: Admission,
): Promise<{ leave(): void } | undefined> {
  if (bytes <= smallBytes || request.method === 'HEAD') return { leave() {} }
  const entry = await admission.enter({
    client: peerOf(request),
    what: request.url ?? '',
    agent: request.headers['user-agent'],
    onGone: (tell) => response.once('close', tell),
  })
  if (entry.kind === 'go') return entry
  if (entry.kind === 'later') answerShort(response, 503, { 'Retry-After': String(entry.retrySeconds) })
  return undefined
}

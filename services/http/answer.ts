// What every HTTP server here does with a request that gets no file: a short text. GRUB waits for ever for the body of a 404
// that has none.
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { normalizeName } from '../../src/boot/names.ts'

/** Header names are spelled as GRUB reads them. */
export function answerShort(response: ServerResponse, status: number, headers: Record<string, string> = {}) {
  const text = `${status} ${STATUS_CODES[status] ?? ''}\n`
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': text.length, ...headers })
  response.end(text)
}

/** The name a request asks for: percent-decoded once, in the one spelling that published names have; undefined: nobody published that. */
export function nameAsked({ url = '' }: IncomingMessage): string | undefined {
  const path = url.split('?', 1)[0] ?? ''
  try {
    return normalizeName(decodeURIComponent(path))
  } catch {
    return undefined
  }
}

// One blob worker: kernels, ramdisks, layers by digest. Several workers listen on one port; each holds no state.
import { close } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { Emit } from '../emit.ts'
import { type Limits, makeAdmission } from './admission.ts'
import { answerShort, nameAsked } from './answer.ts'
import { peerOf, sendBody } from './body.ts'
import { fileBytes, openFile, readFully } from './content.ts'
import { limitCrowd, TOO_MANY } from './crowd.ts'
import { placeFor } from './place.ts'
import { answerHalfClosed, turnOf } from './turn.ts'

type Needs = {
  address: string
  port: number
  folders: Iterable<string> // of files named by their hex digest; looked through in this order
  emit: Emit
  limits?: Limits
}

/** So many bodies at once keep the buffers below 30 MB; a worker holds some thousand machines that wait. */
const usualLimits: Limits = { most: 128, perClient: 8, line: 2000 }

export async function startBlobServer({ address, port, folders, emit, limits = usualLimits }: Needs) {
  let active = 0
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 15_000, keepAliveTimeout: 20_000 })
  // Who waits longest is told so, not hung up on.
  const most = 2 * limits.line + 500
  const crowd = limitCrowd(server, (peer) => emit('http.fail', { peer, why: TOO_MANY }), { most })
  const admission = makeAdmission(limits)
  // A node that lost its power holds a buffer until this; GRUB leaves a second initrd waiting while it reads the first.
  server.setTimeout(120_000)
  answerHalfClosed(server)
  server.on('request', (request, response) => {
    response.on('error', () => {})
    const served = turnOf(request, response).then((mine) => (mine ? serve(request, response) : undefined))
    served.catch((error: Error) => fail(request, response, error.message))
  })
  server.on('clientError', (_, socket) => socket.destroy())

  async function serve(request: IncomingMessage, response: ServerResponse) {
    if (request.method !== 'GET' && request.method !== 'HEAD') return answerShort(response, 405)
    const hex = /^(?:tftpboot\/)?blobs\/sha256\/([0-9a-f]{64})$/.exec(nameAsked(request) ?? '')?.[1]
    const found = hex && (await findBlob(folders, hex))
    if (!found) return answerShort(response, 404)
    const place = await placeFor(request, response, found.bytes, admission)
    if (!place) return
    await send(request, response, { path: found.path, digest: `sha256:${hex}` }).finally(place.leave)
  }

  async function send(
    request: IncomingMessage,
    response: ServerResponse,
    { path, digest }: { path: string; digest: string },
  ) {
    const file = await openFile(path)
    if (!file) return answerShort(response, 404)
    active++
    const loan: { buffer?: Buffer; reading: boolean } = { reading: false }
    try {
      const source = {
        bytes: file.bytes,
        contentType: 'application/octet-stream',
        etag: `"${digest}"`,
        read: async (offset: number, length: number) => {
          loan.buffer ??= takeBuffer(active)
          const part = loan.buffer.subarray(0, length)
          loan.reading = true
          const count = await readFully(file.fd, part, offset)
          loan.reading = false
          return part.subarray(0, count)
        },
      }
      const { result, bytes } = await sendBody(
        request,
        response,
        source,
        () => loan.buffer?.length ?? bufferBytes(active),
      )
      if (result === 'done') emit('http.blob', { digest, peer: peerOf(request), bytes })
    } finally {
      active--
      close(file.fd, () => {})
      // A buffer that a write still needs is dropped with its response, not shared.
      if (loan.buffer && !loan.reading && response.writableFinished) giveBuffer(loan.buffer)
    }
  }

  function fail(request: IncomingMessage, response: ServerResponse, why: string) {
    emit('http.fail', { file: (request.url ?? '').slice(0, 200), peer: peerOf(request), why })
    if (response.headersSent) response.destroy()
    else answerShort(response, 500)
  }

  await new Promise<void>((done, refused) => {
    server.once('error', refused)
    server.listen({ host: address, port, reusePort: true, backlog: 1024 }, () => {
      server.off('error', refused)
      done()
    })
  })
  server.on('error', (error) => emit('http.fail', { why: error.message }))
  return {
    port: (server.address() as { port: number }).port,
    async close() {
      crowd.close()
      const closed = new Promise<void>((done) => server.close(() => done()))
      server.closeAllConnections()
      await closed
    },
  }
}

async function findBlob(folders: Iterable<string>, hex: string) {
  for (const folder of folders) {
    const path = join(folder, hex)
    const bytes = await fileBytes(path)
    if (bytes !== undefined) return { path, bytes }
  }
  return undefined
}

// Big reads make a single stream fast; many streams at once get smaller ones, so that memory stays bounded:
// 128 bodies hold at most 8 x 1 MiB + 16 x 512 KiB + 104 x 128 KiB = 29 MiB; of those that could not wait any longer, each 64 KiB.
const sizes = [
  { upTo: 8, bytes: 1 << 20 },
  { upTo: 24, bytes: 512 << 10 },
  { upTo: 128, bytes: 128 << 10 },
  { upTo: Number.POSITIVE_INFINITY, bytes: 64 << 10 },
] as const
const spare = new Map<number, Buffer[]>(sizes.map(({ bytes }) => [bytes, []]))

const bufferBytes = (active: number): number => sizes.find(({ upTo }) => active <= upTo)!.bytes

function takeBuffer(active: number): Buffer {
  const bytes = bufferBytes(active)
  return spare.get(bytes)?.pop() ?? Buffer.allocUnsafeSlow(bytes)
}

function giveBuffer(buffer: Buffer) {
  const list = spare.get(buffer.length)
  if (list && list.length < 32) list.push(buffer)
}

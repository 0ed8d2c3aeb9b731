// `/v2/`: images for skopeo, podman and registries that pull from us. Read only; over TLS, for who has the token.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { Digest } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { Asked, Code, Page } from '../../src/image/registry.ts'
import {
  isRepository,
  pageIn,
  parseAsked,
  renderErrors,
  statusOf,
  tokenOf,
} from '../../src/image/registry.ts'
import type { Emit } from '../emit.ts'
import type { Catalog } from '../images/catalog.ts'
import { peerOf, sendBody } from './body.ts'
import { fileContent } from './content.ts'
import { turnOf } from './turn.ts'

type Needs = {
  address: string
  port: number
  certificate: string // file, PEM, with the certificates between it and the root
  key: string // file, PEM
  token: string // file
  catalog: Catalog
  emit: Emit
}

const MOST_CONNECTIONS = 200
const CHUNK = 256 << 10
const LEAST_TOKEN = 16
const RELOAD_MS = 60_000
const manifestType = 'application/vnd.oci.image.manifest.v1+json'

/** Throws UserError for files that cannot be used. */
export async function startRegistry({ address, port, certificate, key, token, catalog, emit }: Needs) {
  const server = createServer({
    ...readTls(certificate, key),
    minVersion: 'TLSv1.2',
    requestTimeout: 30_000,
    headersTimeout: 15_000,
  })
  server.maxConnections = MOST_CONNECTIONS
  server.setTimeout(120_000)
  server.on('request', (request, response) => {
    response.on('error', () => {})
    const served = turnOf(request, response).then((mine) => (mine ? serve(request, response) : undefined))
    served.catch((error: Error) => fail(request, response, error))
  })
  server.on('clientError', (_, socket) => socket.destroy())
  server.on('tlsClientError', (_, socket) => socket.destroy())

  async function serve(request: IncomingMessage, response: ServerResponse) {
    response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0')
    if (!isLetIn(request.headers.authorization, token)) {
      response.setHeader('WWW-Authenticate', 'Basic realm="sysclone", charset="UTF-8"')
      emit('http.fail', { file: '/v2/', peer: peerOf(request), why: 'no valid token' })
      return refuse(response, 'UNAUTHORIZED', 'the password is the token; any user')
    }
    const asked = parseAsked(request.method ?? '', request.url ?? '')
    await answer(asked, request, response)
  }

  async function answer(asked: Asked, request: IncomingMessage, response: ServerResponse) {
    switch (asked.kind) {
      case 'refuse':
        if (asked.code === 'UNSUPPORTED') response.setHeader('Allow', 'GET, HEAD')
        return refuse(response, asked.code, asked.detail)
      case 'ping':
        return sendText(response, '{}')
      case 'catalog':
        return sendPage(response, catalog.names().filter(isRepository), {
          ...{ page: asked.page, path: '/v2/_catalog' },
          render: (repositories) => ({ repositories }),
        })
      case 'tags':
        return sendTags(response, asked.name, asked.page)
      case 'manifest':
        return sendManifest(response, asked.name, asked.reference)
      case 'blob':
        return sendBlob(request, response, asked.name, asked.digest as Digest)
    }
  }

  function sendTags(response: ServerResponse, name: string, page: Page) {
    const versions = catalog.versions(name)
    if (versions.length === 0) return refuse(response, 'NAME_UNKNOWN', name)
    const tags = [...versions.map(({ version }) => String(version)), 'latest'].sort()
    sendPage(response, tags, {
      page,
      path: `/v2/${name}/tags/list`,
      render: (shown) => ({ name, tags: shown }),
    })
  }

  /** `3`, `latest`, or a digest. */
  function sendManifest(response: ServerResponse, name: string, reference: string) {
    const versions = catalog.versions(name)
    if (versions.length === 0) return refuse(response, 'NAME_UNKNOWN', name)
    const found =
      reference === 'latest'
        ? versions.at(-1)
        : versions.find(({ version, digest }) => digest === reference || String(version) === reference)
    if (!found) return refuse(response, 'MANIFEST_UNKNOWN', reference)
    let content: Buffer
    try {
      content = catalog.manifest(found)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      return refuse(response, 'MANIFEST_INVALID', error.message)
    }
    response.setHeader('Docker-Content-Digest', found.digest)
    response.setHeader('ETag', `"${found.digest}"`)
    sendText(response, content, manifestType)
  }

  async function sendBlob(request: IncomingMessage, response: ServerResponse, name: string, digest: Digest) {
    const path = catalog.blob(name, digest)
    const file = path && (await fileContent(path, { contentType: 'application/octet-stream' }))
    if (!file) return refuse(response, 'BLOB_UNKNOWN', digest)
    response.setHeader('Docker-Content-Digest', digest)
    try {
      const { bytes, contentType, read } = file
      const sent = await sendBody(
        request,
        response,
        { bytes, contentType, read, etag: `"${digest}"` },
        () => CHUNK,
      )
      if (sent.result === 'done') emit('http.blob', { digest, peer: peerOf(request), bytes: sent.bytes })
    } finally {
      file.close()
    }
  }

  function fail(request: IncomingMessage, response: ServerResponse, error: Error) {
    emit('http.fail', { file: (request.url ?? '').slice(0, 200), peer: peerOf(request), why: error.message })
    if (response.headersSent) response.destroy()
    else sendText(response, renderErrors('UNKNOWN', 'internal error'), 'application/json', 500)
  }

  await new Promise<void>((done, refused) => {
    server.once('error', refused)
    server.listen({ host: address, port, reusePort: port !== 0 }, () => {
      server.off('error', refused)
      done()
    })
  })
  server.on('error', (error) => emit('http.fail', { why: error.message }))
  const timer = setInterval(reload, RELOAD_MS).unref()
  let stamp = stampOf([certificate, key])

  /** A certificate that was renewed is used without a restart. */
  function reload() {
    const now = stampOf([certificate, key])
    if (now === stamp) return
    stamp = now
    try {
      server.setSecureContext(readTls(certificate, key))
    } catch (error) {
      emit('http.fail', { file: certificate, why: (error as Error).message })
    }
  }

  return {
    port: (server.address() as { port: number }).port,
    async close() {
      clearInterval(timer)
      const closed = new Promise<void>((done) => server.close(() => done()))
      server.closeAllConnections()
      await closed
    },
  }
}

function readTls(certificate: string, key: string): { cert: Buffer; key: Buffer } {
  const read = (file: string) => {
    try {
      return readFileSync(file)
    } catch (error) {
      throw new UserError('a file of the registry cannot be read', {
        what: `${file}: ${(error as NodeJS.ErrnoException).code}`,
        allowed: 'registry: { certificate: FILE, key: FILE }',
      })
    }
  }
  return { cert: read(certificate), key: read(key) }
}

const stampOf = (files: readonly string[]): string =>
  files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0).join()

/** Compared by digests: how long it takes tells nothing. The file is read anew: a token is changed without a restart. */
function isLetIn(authorization: string | undefined, file: string): boolean {
  const given = tokenOf(authorization)
  if (given === undefined) return false
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch {
    return false
  }
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return token.length >= LEAST_TOKEN && timingSafeEqual(hash(given), hash(token))
}

type Paged = { page: Page; path: string; render: (names: string[]) => object }

function sendPage(response: ServerResponse, all: readonly string[], { page, path, render }: Paged) {
  const { names, next } = pageIn(all, page)
  if (next !== undefined) response.setHeader('Link', `<${path}?${next}>; rel="next"`)
  sendText(response, JSON.stringify(render(names)))
}

const refuse = (response: ServerResponse, code: Code, detail: string) =>
  sendText(response, renderErrors(code, detail), 'application/json', statusOf(code))

/** HEAD gets the same headers: Node leaves the body out by itself. */
function sendText(
  response: ServerResponse,
  content: string | Buffer,
  type = 'application/json',
  status = 200,
) {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(content) })
  response.end(content)
}

// The read-only part of the OCI distribution API (distribution-spec 1.1): what a request asks for, and how a refusal looks.
//   /v2/   /v2/_catalog   /v2/NAME/tags/list   /v2/NAME/manifests/TAG|DIGEST   /v2/NAME/blobs/DIGEST

export type Asked =
  | { kind: 'ping' }
  | { kind: 'catalog'; page: Page }
  | { kind: 'tags'; name: string; page: Page }
  | { kind: 'manifest'; name: string; reference: string }
  | { kind: 'blob'; name: string; digest: string }
  | { kind: 'refuse'; code: Code; detail: string }
/** `last`: names after this one; `count`: so many at most. */
export type Page = { last?: string; count?: number }

// Error codes of the specification, with the status that goes with each.
const codes = {
  UNAUTHORIZED: [401, 'authentication required'],
  UNSUPPORTED: [405, 'this registry is read only'],
  NAME_INVALID: [400, 'invalid repository name'],
  NAME_UNKNOWN: [404, 'repository name not known to registry'],
  MANIFEST_UNKNOWN: [404, 'manifest unknown to registry'],
  MANIFEST_INVALID: [500, 'manifest is damaged'],
  BLOB_UNKNOWN: [404, 'blob unknown to registry'],
  DIGEST_INVALID: [400, 'provided digest is not of a known form'],
  PAGINATION_NUMBER_INVALID: [400, 'invalid number of results requested'],
  UNKNOWN: [404, 'no such resource'],
} as const
export type Code = keyof typeof codes

export const statusOf = (code: Code): number => codes[code][0]
export const renderErrors = (code: Code, detail: string): string =>
  JSON.stringify({ errors: [{ code, message: codes[code][1], detail }] })

/** The grammar of repository names; ours are of one part. Clients take no others. */
const repository = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/
export const isRepository = (name: string): boolean => name.length <= 255 && repository.test(name)
const digest = /^sha256:[0-9a-f]{64}$/
const tag = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

export function parseAsked(method: string, url: string): Asked {
  const at = url.indexOf('?')
  const path = at < 0 ? url : url.slice(0, at)
  const query = new URLSearchParams(at < 0 ? '' : url.slice(at + 1))
  const refuse = (code: Code, detail: string): Asked => ({
    kind: 'refuse',
    code,
    detail: detail.slice(0, 300),
  })
  if (path === '/v2' || path === '/v2/')
    return method === 'GET' || method === 'HEAD' ? { kind: 'ping' } : refuse('UNSUPPORTED', method)
  if (!path.startsWith('/v2/')) return refuse('UNKNOWN', path)
  if (method !== 'GET' && method !== 'HEAD') return refuse('UNSUPPORTED', method)
  const page = pageOf(query)
  if (page === undefined) return refuse('PAGINATION_NUMBER_INVALID', query.get('n') ?? '')
  if (path === '/v2/_catalog') return { kind: 'catalog', page }
  const [, name = '', what = '', reference = ''] =
    /^\/v2\/(.+)\/(tags|manifests|blobs)\/([^/]*)$/.exec(path) ?? []
  if (what === '') return refuse('UNKNOWN', path)
  if (!isRepository(name)) return refuse('NAME_INVALID', name)
  if (what === 'tags') return reference === 'list' ? { kind: 'tags', name, page } : refuse('UNKNOWN', path)
  if (what === 'blobs')
    return digest.test(reference)
      ? { kind: 'blob', name, digest: reference }
      : refuse('DIGEST_INVALID', reference)
  if (reference.includes(':') && !digest.test(reference)) return refuse('DIGEST_INVALID', reference)
  return digest.test(reference) || tag.test(reference)
    ? { kind: 'manifest', name, reference }
    : refuse('MANIFEST_UNKNOWN', reference)
}

function pageOf(query: URLSearchParams): Page | undefined {
  const [count, last] = [query.get('n'), query.get('last')]
  if (count !== null && !/^\d{1,6}$/.test(count)) return undefined
  return { ...(count !== null && { count: Number(count) }), ...(last !== null && { last }) }
}

/** That part of sorted names, and the query of the next one. */
export function pageIn(names: readonly string[], { last, count }: Page): { names: string[]; next?: string } {
  const after = last === undefined ? [...names] : names.filter((name) => name > last)
  if (count === undefined || after.length <= count) return { names: after }
  const shown = after.slice(0, count)
  if (shown.length === 0) return { names: [] }
  return { names: shown, next: new URLSearchParams({ n: String(count), last: shown.at(-1)! }).toString() }
}

/** The token of a request: `Bearer TOKEN`, or the password of `Basic`, whatever the user. */
export function tokenOf(authorization: string | undefined): string | undefined {
  const [, scheme = '', value = ''] = /^(\S+) +(\S+)$/.exec(authorization ?? '') ?? []
  if (scheme.toLowerCase() === 'bearer') return value
  if (scheme.toLowerCase() !== 'basic') return undefined
  const text = Buffer.from(value, 'base64').toString('utf8')
  return text.includes(':') ? text.slice(text.indexOf(':') + 1) : undefined
}

// Which image of a layout is meant: layouts hold several, by name and by architecture.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Digest } from '../address.ts'
import { UserError, WireError } from '../fault.ts'
import { archByName } from './system-facts.ts'

const Row = Type.Object({
  mediaType: Type.Optional(Type.String()),
  digest: Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }),
  platform: Type.Optional(Type.Object({ architecture: Type.String(), os: Type.String() })),
  annotations: Type.Optional(Type.Record(Type.String(), Type.String())),
})
const Index = Type.Object({ manifests: Type.Array(Row, { maxItems: 10_000 }) })
const Manifest = Type.Object({
  config: Type.Object({ digest: Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }) }),
  layers: Type.Array(
    Type.Object({
      mediaType: Type.String(),
      digest: Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }),
    }),
    { minItems: 1, maxItems: 1000 },
  ),
})
const Config = Type.Object({
  architecture: Type.Optional(Type.String()),
  created: Type.Optional(Type.String()),
  config: Type.Optional(
    Type.Object({
      Labels: Type.Optional(Type.Union([Type.Null(), Type.Record(Type.String(), Type.String())])),
    }),
  ),
  rootfs: Type.Object({ diff_ids: Type.Array(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })) }),
})
export type OciManifest = Static<typeof Manifest>
export type OciConfig = Static<typeof Config>

/** An index of images within the index, or the manifest of one. */
export type Chosen = { digest: Digest; isIndex: boolean }

/** @param choose `ref`: a name that the index gives; `arch`: as uname or Go calls it */
export function chooseManifest(json: Buffer, choose: { ref?: string; arch?: string }): Chosen {
  const { manifests } = parse(Index, json, 'index')
  const named = choose.ref === undefined ? manifests : manifests.filter((row) => refOf(row) === choose.ref)
  if (named.length === 0)
    throw new UserError('no such image in the source', {
      what: choose.ref ?? 'its index is empty',
      allowed: manifests.map(refOf).filter(Boolean).join(' ') || 'an image layout with an image',
    })
  const fitting = named.filter((row) => fits(row, choose.arch))
  const [only, ...more] = fitting.length > 0 ? fitting : named
  if (more.length > 0 || fitting.length === 0)
    throw new UserError(
      fitting.length === 0 ? 'no image for this architecture in the source' : 'the source has several images',
      {
        what: fitting.length === 0 ? (choose.arch ?? '') : `${fitting.length} of them`,
        allowed: named
          .map((row) => [refOf(row), row.platform?.architecture].filter(Boolean).join(' for '))
          .join(', ')
          .slice(0, 500),
      },
    )
  return { digest: only!.digest as Digest, isIndex: /index|manifest\.list/.test(only!.mediaType ?? '') }
}

const refOf = (row: Static<typeof Row>) => row.annotations?.['org.opencontainers.image.ref.name']

/** What says no architecture fits all; builders put notes (attestations) beside images, for a system "unknown". */
function fits({ platform }: Static<typeof Row>, arch: string | undefined): boolean {
  if (platform === undefined) return true
  if (platform.os !== 'linux') return false
  return arch === undefined || archByName(platform.architecture) === archByName(arch)
}

export const parseOciManifest = (json: Buffer): OciManifest => parse(Manifest, json, 'manifest')
export const parseOciConfig = (json: Buffer): OciConfig => parse(Config, json, 'config')

function parse<T extends typeof Index | typeof Manifest | typeof Config>(
  schema: T,
  json: Buffer,
  what: string,
): Static<T> {
  let value: unknown
  try {
    value = JSON.parse(json.toString('utf8'))
  } catch {
    throw new WireError(`image: ${what} is not JSON`)
  }
  if (!Value.Check(schema, value)) throw new WireError(`image: ${what} out of shape`)
  return value as Static<T>
}

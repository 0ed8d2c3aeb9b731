// An image version as OCI image manifest and config (image-spec 1.0), so that skopeo, podman and registries can read it.
// What only we need stands in labels of the config, and in annotations of layers and manifest.
import { createHash } from 'node:crypto'
import type { Static, TSchema } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Digest, ImageName } from '../address.ts'
import { parseDigest } from '../address.ts'
import { WireError } from '../fault.ts'
import { parseLayout, renderLayout } from './disk-layout.ts'
import { parseFacts, renderFacts } from './golden-facts.ts'
import type { BlobRef, ImageVersion, Layer } from './version.ts'

export const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const configType = 'application/vnd.oci.image.config.v1+json'
const layerType = 'application/vnd.oci.image.layer.v1.tar+zstd'

/** All that is known of a version before it has a number. */
export type ImageContent = Omit<ImageVersion, 'name' | 'version' | 'digest' | 'tarBytes' | 'place'>

const goArch = { x86_64: 'amd64', aarch64: 'arm64', ppc64le: 'ppc64le' } as const

export const digestOf = (bytes: Uint8Array): Digest =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest

/** `config` is to be stored as a blob, `manifest` too; its digest is the identity of the version. */
export function renderImage(image: ImageContent): { config: Buffer; manifest: Buffer } {
  const config = Buffer.from(JSON.stringify(configOf(image)))
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: { mediaType: configType, digest: digestOf(config), size: config.length },
    layers: image.layers.map((layer) => ({
      mediaType: layerType,
      digest: layer.digest,
      size: layer.bytes,
      annotations: {
        'sysclone.tar.bytes': String(layer.tarBytes),
        'sysclone.entries': String(layer.entryCount),
        'sysclone.directories': String(layer.directories),
        ...(layer.whiteouts !== undefined && { 'sysclone.whiteouts': String(layer.whiteouts) }),
      },
    })),
    annotations: {
      'org.opencontainers.image.created': image.createdAt,
      'sysclone.kernel': renderRef(image.kernel),
      'sysclone.modules': renderRef(image.modules),
      'sysclone.manifest': renderRef(image.manifest),
      ...refsOf(image),
    },
  }
  return { config, manifest: Buffer.from(JSON.stringify(manifest)) }
}

const optionalRefs = ['initrd', 'shim', 'grub', 'report', 'preflight'] as const
const supersededKey = (layer: number): string => `sysclone.superseded.${layer}`

/** What a version need not have. Of the layers' own annotations nobody knows that they name blobs. */
function refsOf(image: ImageContent): Record<string, string> {
  const named = optionalRefs.map((name) => [`sysclone.${name}`, image[name]] as const)
  const lists = image.layers.map((layer, i) => [supersededKey(i), layer.superseded] as const)
  return Object.fromEntries(
    [...named, ...lists].flatMap(([key, ref]) => (ref ? [[key, renderRef(ref)]] : [])),
  )
}

function configOf(image: ImageContent) {
  return {
    created: image.createdAt,
    architecture: goArch[image.arch],
    os: 'linux',
    config: {
      Labels: {
        'sysclone.source': image.source,
        'sysclone.arch': image.arch,
        'sysclone.firmware': image.firmware,
        'sysclone.os.id': image.os.id,
        'sysclone.os.version': image.os.version,
        'sysclone.os.name': image.os.name,
        'sysclone.kernel.release': image.kernelRelease,
        'sysclone.ssh.hostkeys': image.sshHostKeyTypes.join(' '),
        'sysclone.layout': renderLayout(image.layout),
        'sysclone.layers': 'disjoint',
        ...(image.origin !== undefined && { 'sysclone.origin': image.origin }),
        ...(image.kind !== undefined && { 'sysclone.kind': image.kind }),
        ...(image.base !== undefined && { 'sysclone.base': image.base }),
        ...(image.excludes !== undefined && { 'sysclone.excludes': JSON.stringify(image.excludes) }),
        ...(image.netbootKey !== undefined && { 'sysclone.netboot.key': image.netbootKey }),
        ...(image.facts && { 'sysclone.facts': renderFacts(image.facts) }),
        ...(image.scrub !== undefined && { 'sysclone.scrub': image.scrub }),
      },
    },
    rootfs: { type: 'layers', diff_ids: image.layers.map((layer) => layer.diffId) },
    history: image.layers.map(() => ({ created: image.createdAt, created_by: 'sysclone capture' })),
  }
}

/** `sha256:HEX BYTES` */
const renderRef = ({ digest, bytes }: BlobRef): string => `${digest} ${bytes}`

function parseRef(text: string): BlobRef {
  const [digest = '', bytes = ''] = text.split(' ')
  if (!/^\d{1,16}$/.test(bytes))
    throw new WireError(`image: blob reference ${JSON.stringify(text.slice(0, 100))}`)
  return { digest: digestText(digest), bytes: Number(bytes) }
}

function digestText(text: string): Digest {
  try {
    return parseDigest(text)
  } catch {
    throw new WireError(`image: digest ${JSON.stringify(text.slice(0, 100))}`)
  }
}

const Descriptor = Type.Object({
  mediaType: Type.String(),
  digest: Type.String(),
  size: Type.Integer({ minimum: 0 }),
  annotations: Type.Optional(Type.Record(Type.String(), Type.String())),
})
const Manifest = Type.Object({
  config: Descriptor,
  layers: Type.Array(Descriptor, { maxItems: 1000 }),
  annotations: Type.Record(Type.String(), Type.String()),
})
const Config = Type.Object({
  config: Type.Object({ Labels: Type.Record(Type.String(), Type.String()) }),
  rootfs: Type.Object({ diff_ids: Type.Array(Type.String()) }),
})
/** The digest of the config that a manifest names. */
export const configDigest = (manifest: Buffer): Digest =>
  digestText(parseAs(Manifest, manifest.toString('utf8'), 'manifest').config.digest)

const AnyManifest = Type.Object({
  manifests: Type.Optional(Type.Array(Descriptor, { maxItems: 10_000 })),
  config: Type.Optional(Descriptor),
  layers: Type.Optional(Type.Array(Descriptor, { maxItems: 10_000 })),
  blobs: Type.Optional(Type.Array(Descriptor, { maxItems: 10_000 })),
  annotations: Type.Optional(Type.Record(Type.String(), Type.String())),
})

/**
 * The blobs that a manifest names, of an image, an index of images or an artifact; also of annotations, where we name ours
 * as `sha256:HEX BYTES`. Throws WireError when it is none of these.
 */
export function manifestRefs(manifest: Buffer): { manifests: BlobRef[]; blobs: BlobRef[] } {
  const m = parseAs(AnyManifest, manifest.toString('utf8'), 'manifest')
  const refOf = ({ digest, size }: Static<typeof Descriptor>) => ({ digest: digestText(digest), bytes: size })
  const named = Object.values(m.annotations ?? {}).filter((text) => /^sha256:[0-9a-f]{64} \d+$/.test(text))
  return {
    manifests: (m.manifests ?? []).map(refOf),
    blobs: [...[m.config ?? [], m.layers ?? [], m.blobs ?? []].flat().map(refOf), ...named.map(parseRef)],
  }
}

/** The version that manifest and config describe. Throws WireError when they are not of our making. */
export function parseImage(name: ImageName, version: number, manifest: Buffer, config: Buffer): ImageVersion {
  const m = parseAs(Manifest, manifest.toString('utf8'), 'manifest')
  const c = parseAs(Config, config.toString('utf8'), 'config')
  const label = (key: string) => required(c.config.Labels[key], key)
  const annotation = (key: string) => required(m.annotations[key], key)
  const origin = c.config.Labels['sysclone.origin']
  const optional = (key: string) =>
    m.annotations[key] === undefined ? undefined : parseRef(m.annotations[key])
  const layers = m.layers.map((layer, i) =>
    layerOf(layer, required(c.rootfs.diff_ids[i], 'diff_ids'), optional(supersededKey(i))),
  )
  const [initrd, shim, grub, report, preflight] = optionalRefs.map((ref) => optional(`sysclone.${ref}`))
  const labels = c.config.Labels
  const { 'sysclone.base': base, 'sysclone.netboot.key': netbootKey, 'sysclone.excludes': excludes } = labels
  return {
    name,
    version,
    digest: digestOf(manifest),
    createdAt: annotation('org.opencontainers.image.created'),
    source: label('sysclone.source'),
    arch: oneOf(label('sysclone.arch'), ['x86_64', 'aarch64', 'ppc64le']),
    firmware: oneOf(label('sysclone.firmware'), ['bios', 'uefi']),
    os: {
      id: label('sysclone.os.id'),
      version: label('sysclone.os.version'),
      name: label('sysclone.os.name'),
    },
    kernelRelease: label('sysclone.kernel.release'),
    kernel: parseRef(annotation('sysclone.kernel')),
    modules: parseRef(annotation('sysclone.modules')),
    layers,
    manifest: parseRef(annotation('sysclone.manifest')),
    layout: parseLayout(label('sysclone.layout')),
    ...goldenOf(c.config.Labels),
    sshHostKeyTypes: label('sysclone.ssh.hostkeys').split(' ').filter(Boolean),
    tarBytes: layers.reduce((sum, layer) => sum + layer.tarBytes, 0),
    ...(origin !== undefined && { origin }),
    ...(labels['sysclone.kind'] === 'diskless' && { kind: 'diskless' }),
    ...(base !== undefined && { base }),
    ...(excludes !== undefined && { excludes: parseAs(Type.Array(Type.String()), excludes, 'excludes') }),
    ...(netbootKey !== undefined && { netbootKey }),
    ...(initrd && { initrd }),
    ...(shim && { shim }),
    ...(grub && { grub }),
    ...(report && { report }),
    ...(preflight && { preflight }),
  }
}

/** What the capture was told of the golden client and did with its identity; images of before have none of it. */
function goldenOf(labels: Record<string, string>) {
  const { 'sysclone.facts': facts, 'sysclone.scrub': scrub } = labels
  return {
    ...(facts !== undefined && { facts: parseFacts(facts) }),
    ...(scrub !== undefined && { scrub }),
  }
}

function layerOf(layer: Static<typeof Descriptor>, diffId: string, superseded: BlobRef | undefined): Layer {
  const whiteouts = layer.annotations?.['sysclone.whiteouts']
  const note = (key: string) => required(layer.annotations?.[key], key)
  return {
    digest: digestText(layer.digest),
    bytes: layer.size,
    diffId: digestText(diffId),
    tarBytes: Number(note('sysclone.tar.bytes')),
    entryCount: Number(note('sysclone.entries')),
    directories: note('sysclone.directories') === 'true',
    ...(whiteouts !== undefined && { whiteouts: Number(whiteouts) }),
    ...(superseded && { superseded }),
  }
}

function required(value: string | undefined, key: string): string {
  if (value === undefined) throw new WireError(`image: ${key} is missing`)
  return value
}

function oneOf<T extends string>(value: string, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === value)
  if (found === undefined) throw new WireError(`image: ${value} is none of ${allowed.join(', ')}`)
  return found
}

function parseAs<T extends TSchema>(schema: T, json: string, what: string): Static<T> {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw new WireError(`image: ${what} is not JSON`)
  }
  if (!Value.Check(schema, value)) throw new WireError(`image: ${what} out of shape`)
  return value as Static<T>
}

const Index = Type.Object({
  schemaVersion: Type.Literal(2),
  manifests: Type.Array(Descriptor, { maxItems: 100_000 }),
})
/** index.json of the layout: one row a version, named `img:3`. Rows of other tools are kept as they are. */
export type ImageIndex = Static<typeof Index>

export const emptyIndex = (): ImageIndex => ({ schemaVersion: 2, manifests: [] })
export const parseIndex = (json: string): ImageIndex => parseAs(Index, json, 'index.json')
export const renderIndex = (index: ImageIndex): string => `${JSON.stringify(index, null, 2)}\n`

export type IndexRow = { name: ImageName; version: number; digest: Digest }
const refName = 'org.opencontainers.image.ref.name'

export function indexRows(index: ImageIndex): IndexRow[] {
  return index.manifests.flatMap(({ annotations, digest }) => {
    const match = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([1-9]\d{0,8})$/.exec(annotations?.[refName] ?? '')
    if (match === null || !/^sha256:[0-9a-f]{64}$/.test(digest)) return []
    return [{ name: match[1] as ImageName, version: Number(match[2]), digest: digest as Digest }]
  })
}

/** The index without the rows of these versions. */
export function withoutVersions(
  index: ImageIndex,
  versions: readonly Pick<IndexRow, 'name' | 'version'>[],
): ImageIndex {
  const gone = new Set(versions.map(({ name, version }) => `${name}:${version}`))
  return {
    ...index,
    manifests: index.manifests.filter(({ annotations }) => !gone.has(annotations?.[refName] ?? '')),
  }
}

export function withVersion(index: ImageIndex, row: IndexRow, size: number): ImageIndex {
  const annotations = { [refName]: `${row.name}:${row.version}` }
  const added = { mediaType: manifestType, digest: row.digest, size, annotations }
  return { ...index, manifests: [...index.manifests, added] }
}

/** The highest number of the image; 0 when it has none. */
export const highestVersion = (rows: readonly IndexRow[], name: ImageName): number =>
  Math.max(0, ...rows.filter((row) => row.name === name).map((row) => row.version))

// The image store by the API: what is in it, and work on it. What takes long is a job; what a job says beside its result
// goes to `out`, a file that it makes or a unix socket that the asker listens on.
import { readFile } from 'node:fs/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { Type } from 'typebox'
import type { ImageName } from '../../src/address.ts'
import { parseImageName } from '../../src/address.ts'
import { faultOf, UserError } from '../../src/fault.ts'
import type { CaptureReport } from '../../src/image/capture-report.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import { notDeployable } from '../../src/image/disks.ts'
import { kindOfName, refuseOtherKind } from '../../src/image/osimage.ts'
import { type Preflight, parsePreflight } from '../../src/image/preflight.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { ImageSpec, ImportSpec } from '../process.ts'
import type { Result } from './admin-actions.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { useOf } from './image-users.ts'

const closed = { additionalProperties: false }
/** 'img', its newest version, or 'img:3'. */
const reference = Type.String({ minLength: 1, maxLength: 80, pattern: '^[^:]+(:[1-9][0-9]{0,8})?$' })
const references = Type.Array(reference, { minItems: 1, maxItems: 1000 })
const path = Type.String({ pattern: '^/[^\\x00]*$', maxLength: 4096 })
const OneImage = Type.Object({ image: reference }, closed)
const Copy = Type.Object({ from: reference, to: reference, next: Type.Optional(Type.Boolean()) }, closed)
const RemoveImages = Type.Object({ images: references, force: Type.Optional(Type.Boolean()) }, closed)
const Squash = Type.Object({ image: reference }, closed)
const Check = Type.Object({ images: Type.Optional(references), out: path }, closed)
const Nothing = Type.Object({}, closed)
const Diff = Type.Object({ from: reference, to: reference, out: path }, closed)
const Cat = Type.Object(
  { image: reference, path: Type.String({ minLength: 1, maxLength: 4096 }), out: path },
  closed,
)
const Export = Type.Object({ image: reference, out: path }, closed)
/** `layout`: the text of a layout file. `ref`, `arch`, `kernel`: which one, of a source with several. */
const Import = Type.Object(
  {
    image: reference,
    source: path,
    layout: Type.Optional(Type.String({ maxLength: 1 << 20 })),
    place: Type.Optional(path),
    ref: Type.Optional(Type.String({ minLength: 1, maxLength: 300 })),
    arch: Type.Optional(Type.String({ minLength: 1, maxLength: 20 })),
    kernel: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  },
  closed,
)

export function imageRoutes(app: FastifyInstance, needs: AdminNeeds) {
  const { images, imageStore, startJob, emit } = needs
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()

  typed.get('/images', async () => {
    const holders = holdersOf(images.list())
    return {
      images: images.list().map((version) => summary(version, holders)),
      broken: imageStore.broken().map(({ fault }) => fault),
    }
  })

  typed.get('/images/:image', { schema: { params: OneImage } }, async ({ params: { image } }) => {
    const version = imageStore.find(referenceOf(image))
    const { layers, layout, facts, scrub, sshHostKeyTypes, kernel, modules, manifest } = version
    const of = versionName(version)
    const users = (await needs.store.deployments.list()).filter(
      (d) => versionName({ name: d.image, version: d.version }) === of,
    )
    return {
      image: {
        ...summary(version, holdersOf(images.list())),
        ...{ layers, layout, sshHostKeyTypes, kernel, modules, manifest },
        ...(facts && { facts }),
        ...(scrub !== undefined && { scrub }),
        place: imageStore.placeOf(version).path,
        ...(version.base !== undefined && { base: version.base }),
        ...(version.excludes !== undefined && { excludes: version.excludes }),
        ...(await reportOf(version)),
        nodes: [...new Set(users.map(({ node }) => node))],
      },
    }
  })

  /** What its capture did, and what was found of identities and secrets; versions made otherwise have neither. */
  async function reportOf({
    report,
    preflight,
  }: ImageVersion): Promise<{ report?: CaptureReport; preflight?: Preflight }> {
    const text = ({ digest }: BlobRef) => readFile(imageStore.blobPath(digest), 'utf8')
    return {
      ...(report && { report: parseCaptureReport(await text(report)) }),
      ...(preflight && { preflight: parsePreflight(await text(preflight)) }),
    }
  }

  typed.post('/images/copy', { schema: { body: Copy } }, async ({ body: { from, to, next = false } }) => {
    const version = imageStore.find(referenceOf(from))
    const name = await captureName(to)
    refuseOtherKind(name, await kindOfNamed(name), version.kind ?? 'sysclone')
    const made = await imageStore.copy(version, name, { next })
    await needs.imagesChanged(version.name)
    told(`cpimage ${versionName(version)}`, versionName(made))
    return { image: versionName(made), changes: [{ object: versionName(made) }] }
  })

  typed.delete(
    '/images',
    { schema: { body: RemoveImages } },
    async ({ body: { images: asked, force = false } }) => {
      const results: Result[] = []
      for (const each of asked) {
        try {
          results.push({ object: each, text: await removeOne(each, force) })
        } catch (error) {
          results.push({ object: each, fault: { ...faultOf(error), object: each } })
        }
      }
      await needs.imagesChanged()
      const done = results.filter((result) => 'text' in result).map(({ object }) => object)
      if (done.length > 0) told('rmimage', done.join().slice(0, 200))
      return { results, changes: done.map((object) => ({ object })) }
    },
  )

  /** 'img:3' is that version, 'img' all of them: both whole or not at all. */
  async function removeOne(text: string, force: boolean): Promise<string> {
    const { name, version } = referenceOf(text)
    const numbers = imageStore.numbersOf(name)
    const going = version === undefined ? numbers : numbers.filter((number) => number === version)
    if (going.length === 0) imageStore.find({ name, version }) // says what there is
    for (const number of going) {
      const one = { name, version: number }
      const use = await useOf(one, {
        store: needs.store,
        left: numbers.length - going.length,
        job: needs.jobUsing(one),
      })
      if (use && !(use.byForce && force))
        throw new UserError('the image is in use', {
          what: use.what,
          allowed: use.allowed,
          object: text,
          status: 409,
        })
    }
    const { bytes } = await imageStore.remove(going.map((number) => ({ name, version: number })))
    return `removed${going.length > 1 ? ` (${going.length} versions)` : ''}, ${(bytes / 1e6).toFixed(1)} MB freed`
  }

  typed.post('/images/squash', { schema: { body: Squash } }, ({ body }) =>
    begin({ kind: 'squash', ...specOf(body.image) }),
  )
  typed.post('/images/fsck', { schema: { body: Check } }, ({ body: { images: asked, out } }) =>
    begin({ kind: 'fsck', out, ...(asked && { versions: asked.flatMap(allOf) }) }),
  )
  typed.post('/images/gc', { schema: { body: Nothing } }, () => begin({ kind: 'gc' }))
  typed.post('/images/diff', { schema: { body: Diff } }, ({ body: { from, to, out } }) =>
    begin({ kind: 'diff', from: specOf(from), to: specOf(to), out }),
  )
  typed.post('/images/cat', { schema: { body: Cat } }, ({ body: { image, path, out } }) =>
    begin({ kind: 'cat', ...specOf(image), path, out }),
  )
  typed.post('/images/export', { schema: { body: Export } }, ({ body: { image, out } }) =>
    begin({ kind: 'export', ...specOf(image), out }),
  )
  typed.post('/images/import', { schema: { body: Import } }, async ({ body }) =>
    begin(await importSpec(await captureName(body.image), body)),
  )

  async function begin(spec: ImageSpec) {
    const { job } = await startJob(spec)
    const object = 'image' in spec ? spec.image : 'images'
    // What only reads is no change of anything.
    if (spec.kind === 'squash' || spec.kind === 'import' || spec.kind === 'gc') told(spec.kind, object, job)
    return { job }
  }

  const told = (what: string, object: string, job?: string) =>
    emit('admin.change', { who: 'local', what, object, ...(job && { job }) })

  const kindOfNamed = async (name: ImageName) =>
    kindOfName(await needs.store.osimages.get(name), needs.images.get(name))

  /** What is imported is of the kind that the name is of, and obeys what the osimage says of captures. */
  async function importSpec(image: ImageName, body: Static<typeof Import>): Promise<ImageSpec> {
    const kind = await kindOfNamed(image)
    const { exclude, scrub } = (await needs.store.osimages.get(image)) ?? {}
    const more = { ...(exclude && { excludes: exclude }), ...(scrub && { scrub }) }
    return {
      ...askedImport(image, body),
      ...(kind !== undefined && kind !== 'boot' && { is: kind }),
      ...more,
    }
  }

  /** A name for captured images: not one that boot-only osimages have. */
  async function captureName(text: string): Promise<ImageName> {
    const name = parseImageName(text)
    if ((await needs.store.osimages.get(name))?.provmethod !== 'boot') return name
    throw new UserError('the osimage is boot-only', {
      what: name,
      allowed: 'another name, or rmdef -t osimage first',
      object: name,
      status: 409,
    })
  }

  function specOf(text: string) {
    const { name, version } = imageStore.find(referenceOf(text))
    return { image: name, version }
  }

  /** 'img:3' is one, 'img' all its versions, damaged ones too. */
  function allOf(text: string) {
    const { name, version } = referenceOf(text)
    const numbers = imageStore.numbersOf(name).filter((number) => version === undefined || number === version)
    if (numbers.length === 0) imageStore.find({ name, version })
    return numbers.map((number) => ({ image: name, version: number }))
  }

  /** Which versions need a blob. */
  function holdersOf(versions: readonly ImageVersion[]): Map<string, number> {
    const holders = new Map<string, number>()
    for (const version of versions)
      for (const { digest } of imageStore.refs(version)) {
        const key = `${version.place} ${digest}`
        holders.set(key, (holders.get(key) ?? 0) + 1)
      }
    return holders
  }

  function summary(version: ImageVersion, holders: Map<string, number>) {
    const { name, digest, createdAt, source, arch, firmware, os, kernelRelease, tarBytes, origin, place } =
      version
    const missing = notDeployable(version.layout)
    const refs = imageStore.refs(version)
    const sizeOf = (some: typeof refs) => some.reduce((sum, { bytes }) => sum + bytes, 0)
    const own = sizeOf(refs.filter(({ digest }) => holders.get(`${place} ${digest}`) === 1))
    return {
      ...{
        name,
        version: version.version,
        digest,
        createdAt,
        source,
        arch,
        firmware,
        os,
        kernelRelease,
        tarBytes,
      },
      bytes: sizeOf(refs),
      ownBytes: own,
      sharedBytes: sizeOf(refs) - own,
      layerCount: version.layers.length,
      ...(origin !== undefined && { origin }),
      ...(place !== undefined && { place }),
      ...(missing.length > 0 && { notDeployable: missing }),
    }
  }
}

function referenceOf(text: string): { name: ImageName; version: number | undefined } {
  const [name = '', version] = text.split(':')
  return { name: parseImageName(name), version: version === undefined ? undefined : Number(version) }
}

function askedImport(image: ImageName, body: Static<typeof Import>): ImportSpec {
  const { source, layout, place, ref, arch, kernel } = body
  return {
    kind: 'import',
    image,
    source,
    ...(layout !== undefined && { layout }),
    ...(place !== undefined && { place }),
    choose: {
      ...(ref !== undefined && { ref }),
      ...(arch !== undefined && { arch }),
      ...(kernel !== undefined && { kernel }),
    },
  }
}

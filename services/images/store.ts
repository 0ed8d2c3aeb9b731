// The image store: an OCI image layout, and the further ones at places that captures were sent to. What the rows of an
// index.json name is there; rows are added and taken away under one lock, and older versions are never touched.
import type { Digest, ImageName } from '../../src/address.ts'
import { parseImageName } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { ImageContent, IndexRow } from '../../src/image/oci.ts'
import {
  configDigest,
  digestOf,
  emptyIndex,
  highestVersion,
  parseImage,
  renderImage,
  withoutVersions,
  withVersion,
} from '../../src/image/oci.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { makePrivate } from '../store/private-folder.ts'
import { hashFile } from './hash-file.ts'
import { openLayer, openLayers } from './layer.ts'
import { withLock } from './lock.ts'
import type { Place } from './place.ts'
import { openPlaces, parsePlace, there } from './places.ts'
import type { Stage } from './stage.ts'
import { openStage, removeLeftovers } from './stage.ts'

export type Images = Awaited<ReturnType<typeof openImages>>
type Named = { name: ImageName; version: number }

/** `img:3` or `img`, its newest version. */
export function parseImageReference(text: string): { name: ImageName; version: number | undefined } {
  const [name = '', version, ...more] = text.split(':')
  if (more.length > 0 || (version !== undefined && !/^[1-9]\d{0,8}$/.test(version)))
    throw new UserError('not an image', {
      what: JSON.stringify(text.slice(0, 100)),
      allowed: 'NAME or NAME:VERSION',
    })
  return { name: parseImageName(name), version: version === undefined ? undefined : Number(version) }
}

/** Opens the store, makes it when there is none, and removes what killed captures left behind. */
export async function openImages(imagesDir: string) {
  const places = openPlaces(imagesDir)
  const { main } = places
  await makePrivate(imagesDir) // the lock is in it
  await locked(async () => {
    await main.make()
    for (const place of places.all()) if (place.isThere()) await removeLeftovers(place.path)
  })

  const known = new Map<string, ImageVersion>() // versions are immutable: read once

  /** One writer over all processes, of all places: numbers of versions are given here. */
  function locked<T>(work: () => Promise<T>, place: Place = main): Promise<T> {
    return withLock(main.lockPath, () => (place === main ? work() : withLock(place.lockPath, work)))
  }

  /** Rows of all places that are there. Of two with one name the first counts. */
  function rows(): { row: IndexRow; place: Place }[] {
    const seen = new Set<string>()
    return places
      .all()
      .filter((place) => place === main || place.isThere())
      .flatMap((place) => place.rows().map((row) => ({ row, place })))
      .filter(({ row }) => !seen.has(versionName(row)) && seen.add(versionName(row)))
  }

  function load({ row, place }: { row: IndexRow; place: Place }): ImageVersion | UserError {
    const key = `${versionName(row)} ${row.digest} ${place.path}`
    const version = known.get(key) ?? readVersion(row, place)
    if (!(version instanceof UserError)) known.set(key, version) // a damaged one may be repaired
    return version
  }

  function readVersion(row: IndexRow, place: Place): ImageVersion | UserError {
    try {
      const manifest = place.readBlob(row.digest)
      const version = parseImage(row.name, row.version, manifest, place.readBlob(configDigest(manifest)))
      return place === main ? version : { ...version, place: place.path }
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      if (!isMissing && !(error instanceof WireError)) throw error
      return new UserError('image is damaged', {
        what: (error as Error).message,
        object: versionName(row),
        status: 500,
      })
    }
  }

  /** All sound versions, by name, the newest of each name last. */
  function list(): ImageVersion[] {
    return rows()
      .map(load)
      .filter((version): version is ImageVersion => !(version instanceof UserError))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version - b.version))
  }

  /** What `list` leaves out: versions whose records are damaged, and places that are not mounted. */
  const broken = (): UserError[] => [
    ...rows()
      .map(load)
      .filter((version): version is UserError => version instanceof UserError),
    ...places.all().flatMap((place) => {
      try {
        there(place)
        return []
      } catch (error) {
        if (error instanceof UserError) return [error]
        throw error
      }
    }),
  ]

  /** That version, or the newest one. Throws UserError when its records are damaged. */
  function get(name: ImageName, version?: number): ImageVersion | undefined {
    const found = newest(name, version)
    const loaded = found && load(found)
    if (loaded instanceof UserError) throw loaded
    return loaded
  }

  const newest = (name: ImageName, version?: number) =>
    rows()
      .filter(({ row }) => row.name === name && (version === undefined || row.version === version))
      .sort((a, b) => b.row.version - a.row.version)[0]

  /** The same, or what a person is told who asked for what is not there. */
  function find({ name, version }: { name: ImageName; version?: number | undefined }): ImageVersion {
    const found = get(name, version)
    if (found) return found
    const others = numbersOf(name)
    throw new UserError(others.length > 0 ? 'no such version' : 'no such image', {
      what: versionName({ name, version }),
      allowed: others.length > 0 ? others.join(' ') : 'those of lsimage',
      object: name,
      status: 404,
    })
  }

  /** Its versions, also those whose records are damaged, oldest first. */
  const numbersOf = (name: ImageName): number[] =>
    rows()
      .flatMap(({ row }) => (row.name === name ? [row.version] : []))
      .sort((a, b) => a - b)

  const placeOf = ({ place }: Pick<ImageVersion, 'place'>): Place =>
    places.all().find(({ path }) => path === place) ?? main

  /** Where a blob is, of whatever version. */
  function blobPath(digest: Digest): string {
    const holder = places.all().find((place) => place.blobBytes(digest) !== undefined)
    return (holder ?? main).blobPath(digest)
  }

  const nextNumber = (name: ImageName): number =>
    1 +
    Math.max(
      places.lastOf(name),
      highestVersion(
        rows().map(({ row }) => row),
        name,
      ),
    )

  /** Makes the next version of `name` out of staged blobs. When this returns, a power cut cannot take it away. */
  async function publish(stage: Stage, name: ImageName, content: ImageContent): Promise<ImageVersion> {
    const { config, manifest } = renderImage(content)
    await stage.writeBlob([config])
    await stage.writeBlob([manifest])
    return publishManifest(stage, name, manifest)
  }

  /** The same for a manifest that is there already, in the stage or in the store. */
  function publishManifest(stage: Stage, name: ImageName, manifest: Buffer): Promise<ImageVersion> {
    const place = places.all().find(({ path }) => path === stage.place) ?? main
    return locked(async () => {
      const digest = digestOf(manifest)
      await place.takeIn(stage.blobs)
      await complete(place, { digest, bytes: manifest.length })
      return addRow(place, { name, version: nextNumber(name), digest }, manifest.length)
    }, place)
  }

  /** Whatever the new row needs must be there: what it shares with a version that was removed meanwhile is not. */
  async function complete(place: Place, manifest: BlobRef) {
    const needed = place.neededBy(
      withVersion(emptyIndex(), { ...nameless, digest: manifest.digest }, manifest.bytes),
    )
    for (const blob of needed.values()) {
      if (place.blobBytes(blob.digest) === blob.bytes) continue
      const other = places.all().find((each) => each !== place && each.blobBytes(blob.digest) === blob.bytes)
      if (other === undefined)
        throw new UserError('a blob of the new version is not there', {
          what: blob.digest,
          allowed: 'doing it again; rmimage may have taken what it was built on',
          status: 409,
        })
      await place.copyIn(other, blob)
    }
  }

  async function addRow(place: Place, row: IndexRow, bytes: number): Promise<ImageVersion> {
    if (place !== main) await places.keepLast([row])
    await place.replaceIndex(withVersion(place.index(), row, bytes))
    const version = load({ row, place })
    if (version instanceof UserError) throw version
    return version
  }

  /** Gives a version a further name; nothing is copied. Throws UserError when that name has versions, unless `next`. */
  async function copy(from: Named, to: ImageName, { next = false } = {}): Promise<ImageVersion> {
    const version = find(from)
    const place = placeOf(version)
    return locked(async () => {
      if (!place.rows().some(({ digest }) => digest === version.digest))
        find({ name: from.name, version: -1 })
      const newestThere = newest(to)
      if (newestThere && !next)
        throw new UserError('the image exists already', {
          what: versionName(newestThere.row),
          allowed: `another name, or --next: then it is ${versionName({ name: to, version: nextNumber(to) })}`,
          object: to,
          status: 409,
        })
      const row = { name: to, version: nextNumber(to), digest: version.digest }
      return addRow(place, row, place.blobBytes(version.digest) ?? 0)
    }, place)
  }

  /** Takes versions away, damaged ones too, with the blobs that nothing else needs. Answers with what that freed. */
  async function remove(versions: readonly Named[]): Promise<{ blobs: number; bytes: number }> {
    const freed = { blobs: 0, bytes: 0 }
    for (const place of places.all()) {
      if (!place.isThere()) continue
      const isMeant = ({ name, version }: Named) =>
        versions.some((each) => each.name === name && each.version === version)
      await locked(async () => {
        const going = place.rows().filter(isMeant)
        if (going.length === 0) return
        const maybe = blobsOf(place, going)
        await places.keepLast(going) // first: a number must not be given again, whenever we die
        await place.replaceIndex(withoutVersions(place.index(), going))
        const swept = await sweepOf(place, maybe)
        freed.blobs += swept.blobs
        freed.bytes += swept.bytes
      }, place)
    }
    return freed
  }

  /** What the versions need; of a damaged one nothing is known, and gc finds what it leaves. */
  function blobsOf(place: Place, going: readonly IndexRow[]): Digest[] {
    return going.flatMap(({ digest, ...row }) => {
      try {
        return [...place.neededBy(withVersion(emptyIndex(), { ...row, digest }, 0)).keys()]
      } catch (error) {
        if (error instanceof UserError) return []
        throw error
      }
    })
  }

  /** While another version is damaged, what it shares is not known: everything stays until gc. */
  async function sweepOf(place: Place, blobs: readonly Digest[]) {
    try {
      return await place.sweep(blobs)
    } catch (error) {
      if (error instanceof UserError) return { blobs: 0, bytes: 0 }
      throw error
    }
  }

  /** Removes all that no version needs, and what killed processes left. Throws UserError naming a damaged version. */
  async function gc(): Promise<{ blobs: number; bytes: number; leftovers: number }> {
    const freed = { blobs: 0, bytes: 0, leftovers: 0 }
    for (const place of places.all()) {
      if (!place.isThere()) continue
      await locked(async () => {
        const swept = await place.sweep()
        freed.blobs += swept.blobs
        freed.bytes += swept.bytes
        freed.leftovers += (await removeLeftovers(place.path)).length
      }, place)
    }
    return freed
  }

  /** Every blob that a version needs, its manifest first. Throws UserError when its records are damaged. */
  function refs(version: ImageVersion): BlobRef[] {
    const place = placeOf(version)
    const index = withVersion(emptyIndex(), version, place.blobBytes(version.digest) ?? 0)
    return [...place.neededBy(index).values()]
  }

  /** Reads every blob of a version and names those whose content is not what their digest says. */
  async function verify(version: ImageVersion): Promise<UserError[]> {
    const faults: UserError[] = []
    for (const { digest } of refs(version)) {
      const found = await hashFile(placeOf(version).blobPath(digest)).catch(
        (error) => (error as Error).message,
      )
      if (found !== digest)
        faults.push(
          new UserError('blob is damaged', { what: `${digest}: ${found}`, object: versionName(version) }),
        )
    }
    return faults
  }

  /**
   * @param path of another place than the image store, as parsePlace has it; made when it is new
   * @param purpose as openStage has it
   */
  async function stageAt(path?: string, purpose?: string): Promise<Stage> {
    if (path === undefined) return openStage(imagesDir, purpose)
    const place = await locked(() => places.use(parsePlace(path)))
    return openStage(place.path, purpose)
  }

  return {
    path: imagesDir,
    list,
    broken,
    get,
    find,
    publish,
    publishManifest,
    copy,
    remove,
    gc,
    refs,
    verify,
    blobPath,
    placeOf,
    numbersOf,
    places: places.all,
    openStage: stageAt,
    openLayer,
    openLayers,
  }
}

const nameless = { name: 'x' as ImageName, version: 1 }

// The image store for reading alone: names, versions and the blobs that belong to each. Nothing is locked, made or removed.
import type { Digest, ImageName } from '../../src/address.ts'
import { WireError } from '../../src/fault.ts'
import { digestOf, manifestRefs } from '../../src/image/oci.ts'
import type { Place } from './place.ts'
import { openPlaces } from './places.ts'

export type Catalog = ReturnType<typeof openCatalog>
type Version = { version: number; digest: Digest; place: Place }

export function openCatalog(imagesDir: string) {
  const places = openPlaces(imagesDir)
  const blobsOf = new Map<Digest, ReadonlySet<Digest>>() // by manifest: those do not change

  const rows = () =>
    places
      .all()
      .filter((place) => place.isThere())
      .flatMap((place) => place.rows().map((row) => ({ ...row, place })))

  const names = (): string[] => [...new Set(rows().map(({ name }) => name as string))].sort()

  /** Oldest first. */
  const versions = (name: string): Version[] =>
    rows()
      .filter((row) => row.name === (name as ImageName))
      .sort((a, b) => a.version - b.version)

  /** Throws WireError when it is damaged. */
  function manifest({ digest, place }: Version): Buffer {
    try {
      return place.readBlob(digest)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new WireError(`blob ${digest} is missing`)
      throw error
    }
  }

  /** The file of a blob that one of the image's versions needs. */
  function blob(name: string, digest: Digest): string | undefined {
    const holder = versions(name).find((version) => blobs(version).has(digest))
    return holder && holder.place.blobBytes(digest) !== undefined ? holder.place.blobPath(digest) : undefined
  }

  function blobs(version: Version): ReadonlySet<Digest> {
    const known = blobsOf.get(version.digest)
    if (known) return known
    try {
      const content = manifest(version)
      const found = new Set([digestOf(content), ...manifestRefs(content).blobs.map(({ digest }) => digest)])
      blobsOf.set(version.digest, found)
      return found
    } catch (error) {
      if (error instanceof WireError) return new Set() // a damaged version has none to give
      throw error
    }
  }

  return { names, versions, manifest, blob }
}

// Where images are: the image store itself, and the places that captures were sent to. Kept in the image store, with the
// highest number that each image has had: a number is never given twice, whatever was removed or is not mounted now.
import { readdir, stat } from 'node:fs/promises'
import { isAbsolute, join, resolve } from 'node:path'
import type { ImageName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import { type KnownPlaces, knownPlaces } from './known-places.ts'
import type { Place } from './place.ts'
import { openPlace, replaceFile } from './place.ts'

export type Places = ReturnType<typeof openPlaces>

/** @param imagesDir the image store itself, which is the first place */
export function openPlaces(imagesDir: string) {
  const main = openPlace(imagesDir)
  const { filePath, known } = knownPlaces(imagesDir)
  const opened = new Map<string, Place>()

  const placeAt = (path: string): Place => {
    const place = opened.get(path) ?? openPlace(path)
    opened.set(path, place)
    return place
  }

  /** All of them, those too that are not there now; the image store itself is the first. */
  const all = (): Place[] => [main, ...known().places.map(placeAt)]

  /** The highest number that the image has had, as far as it was written down. */
  const lastOf = (name: ImageName): number => {
    const { last } = known()
    return Object.hasOwn(last, name) ? last[name]! : 0
  }

  /** Writes down that numbers up to these are taken. The caller holds the lock. */
  async function keepLast(taken: readonly { name: ImageName; version: number }[]) {
    const { places, last } = known()
    const next = { ...last }
    for (const { name, version } of taken) next[name] = Math.max(lastOf(name), version, next[name] ?? 0)
    if (JSON.stringify(next) !== JSON.stringify(last)) await write({ places, last: next })
  }

  /** The place at that path, made and written down when it is new. The caller holds the lock. */
  async function use(path: string): Promise<Place> {
    if (path === imagesDir) return main
    const { places, last } = known()
    if (places.includes(path)) return there(placeAt(path))
    await checkNew(path, imagesDir)
    const place = placeAt(path)
    await place.make()
    await write({ places: [...places, path], last })
    return place
  }

  const write = ({ places, last }: KnownPlaces) =>
    replaceFile(filePath, `${JSON.stringify({ places, last }, null, 2)}\n`)

  return { main, all, known: () => known().places, lastOf, keepLast, use }
}

/** Says so when the place is not mounted. */
export function there(place: Place): Place {
  if (place.isThere()) return place
  throw new UserError('the place of the image is not there', {
    what: place.path,
    allowed: 'its file system mounted',
    status: 503,
  })
}

/** Without `.`, `..` and double slashes: one place has one name. */
export function parsePlace(text: string): string {
  if (!isAbsolute(text) || text.length > 1000 || /[\x00-\x1f]/.test(text))
    throw new UserError('not a place for images', { what: text.slice(0, 100), allowed: 'an absolute path' })
  return resolve(text)
}

/** A place is a folder of its own: what else lies in one would be mixed with blobs, or be served as such. */
async function checkNew(path: string, imagesDir: string) {
  const inside = (a: string, b: string) => a === b || a.startsWith(`${b}/`)
  if (inside(path, imagesDir) || inside(imagesDir, path))
    throw new UserError('not a place for images', {
      what: `${path} and ${imagesDir} lie in one another`,
      allowed: 'another folder',
    })
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) {
    // Its parent must be there: a typing mistake, or a disk that is not mounted, must not fill the root file system.
    if (await stat(join(path, '..')).catch(() => undefined)) return
    throw new UserError('not a place for images', {
      what: `${join(path, '..')} is not there`,
      allowed: 'a folder whose parent exists',
    })
  }
  const names = found.isDirectory() ? await readdir(path) : undefined
  const isFree = names?.every((name) => name === 'lost+found')
  if (isFree || (names?.includes('oci-layout') && names.includes('index.json'))) return
  throw new UserError('not a place for images', {
    what: names ? `${path} holds other files` : `${path} is no folder`,
    allowed: 'an empty folder, or an OCI image layout',
  })
}

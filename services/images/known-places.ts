// sysclone.json of the image store: the places that captures were sent to, and the highest number that each image has had.
// Without the library that checks larger shapes: the processes that only serve blobs read it too.
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'

export type KnownPlaces = { places: string[]; last: Record<string, number> }

/** As it stands now, whenever it is asked for; throws UserError when the file is damaged. */
export function knownPlaces(imagesDir: string): { filePath: string; known: () => KnownPlaces } {
  const filePath = join(imagesDir, 'sysclone.json')
  let read: { stamp: string; known: KnownPlaces } | undefined

  function known(): KnownPlaces {
    const found = statSync(filePath, { bigint: true, throwIfNoEntry: false })
    if (found === undefined) return { places: [], last: {} }
    const stamp = `${found.ino} ${found.mtimeNs} ${found.size}`
    if (read?.stamp !== stamp) read = { stamp, known: parse(readFileSync(filePath, 'utf8')) }
    return read.known
  }

  function parse(text: string): KnownPlaces {
    try {
      const { places, last } = JSON.parse(text)
      const isPlace = (place: unknown) => typeof place === 'string' && place.startsWith('/')
      const isNumber = (number: unknown) => Number.isInteger(number) && (number as number) >= 0
      if (places.every(isPlace) && Object.values(last).every(isNumber)) return { places, last: { ...last } }
    } catch {
      // said below
    }
    throw new UserError('image store is damaged', { what: 'out of shape', object: filePath, status: 500 })
  }

  return { filePath, known }
}

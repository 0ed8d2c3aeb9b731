// Where the blobs are that nodes fetch: the server's own folders, then the places that images were sent to.
import { join } from 'node:path'
import { knownPlaces } from './known-places.ts'

/** Folders of files named by their hex digest, to be gone through anew each time: places are added while we run. */
export function blobFolders(stateDir: string): Iterable<string> {
  const blobsOf = (folder: string) => join(folder, 'blobs', 'sha256')
  const own = ['images', 'bootfiles', 'bootonly', 'packed'].map((name) => blobsOf(join(stateDir, name)))
  const { known } = knownPlaces(join(stateDir, 'images'))
  return {
    *[Symbol.iterator]() {
      yield* own
      yield* known().places.map(blobsOf)
    },
  }
}

// The process that serves kernels, ramdisks and layers; several of them share one port. Holds no state.
import { join } from 'node:path'
import { limitEvents } from './emit.ts'
import { startBlobServer } from './http/blob.ts'
import { openPlaces } from './images/places.ts'
import { runChild } from './process.ts'

runChild(async ({ config }, parent) => {
  const emit = limitEvents(parent.emit)
  const blobsOf = (folder: string) => join(folder, 'blobs', 'sha256')
  const own = ['images', 'bootfiles', 'bootonly', 'packed'].map((name) =>
    blobsOf(join(config.stateDir, name)),
  )
  const places = openPlaces(join(config.stateDir, 'images'))
  // Places may be added while we run; they are looked at when nothing else has the blob.
  const folders = {
    *[Symbol.iterator]() {
      yield* own
      yield* places.known().map(blobsOf)
    },
  }
  const servers = await Promise.all(
    // A relayed subnet reaches us by the address of another one.
    [...new Set(config.networks.map(({ address }) => address))].map((address) =>
      startBlobServer({ address, port: config.http.imagePort, folders, emit }),
    ),
  )
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) }
})

// The process that serves kernels, ramdisks and layers; several of them share one port. Holds no state.
import { join } from 'node:path'
import { limitEvents } from './emit.ts'
import { startBlobServer } from './http/blob.ts'
import { startRegistry } from './http/registry.ts'
import { openCatalog } from './images/catalog.ts'
import { openPlaces } from './images/places.ts'
import { registryToken, runChild } from './process.ts'

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
  // A relayed subnet reaches us by the address of another one.
  const addresses = [...new Set(config.networks.map(({ address }) => address))]
  const servers: { close(): Promise<void> }[] = await Promise.all(
    addresses.map((address) => startBlobServer({ address, port: config.http.imagePort, folders, emit })),
  )
  const { registry, stateDir } = config
  if (registry) {
    const catalog = openCatalog(join(stateDir, 'images'))
    const token = registry.token ?? registryToken(stateDir)
    for (const address of addresses)
      servers.push(await startRegistry({ ...registry, token, address, catalog, emit }))
  }
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) }
})

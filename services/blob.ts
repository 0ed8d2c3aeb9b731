// The process that serves kernels, ramdisks and layers; several of them share one port. Holds no state.
import { join } from 'node:path'
import { limitEvents } from './emit.ts'
import { startBlobServer } from './http/blob.ts'
import { blobFolders } from './images/blob-folders.ts'
import { registryToken, runChild } from './process.ts'

runChild(async ({ config }, parent) => {
  const emit = limitEvents(parent.emit)
  const folders = blobFolders(config.stateDir)
  // A relayed subnet reaches us by the address of another one.
  const addresses = [...new Set(config.networks.map(({ address }) => address))]
  const servers: { close(): Promise<void> }[] = await Promise.all(
    addresses.map((address) => startBlobServer({ address, port: config.http.imagePort, folders, emit })),
  )
  const { registry, stateDir } = config
  if (registry) {
    // Loaded where it is wanted: they need far more memory than blobs do.
    const { startRegistry } = await import('./http/registry.ts')
    const { openCatalog } = await import('./images/catalog.ts')
    const catalog = openCatalog(join(stateDir, 'images'))
    const token = registry.token ?? registryToken(stateDir)
    for (const address of addresses)
      servers.push(await startRegistry({ ...registry, token, address, catalog, emit }))
  }
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) }
})

// The process that serves kernels, ramdisks and layers; several of them share one port. Holds no state.
import { join } from 'node:path'
import { limitEvents } from './emit.ts'
import { startBlobServer } from './http/blob.ts'
import { runChild } from './process.ts'

runChild(async ({ config }, parent) => {
  const emit = limitEvents(parent.emit)
  const folders = ['images', 'bootfiles', 'bootonly', 'packed'].map((name) =>
    join(config.stateDir, name, 'blobs', 'sha256'),
  )
  const servers = await Promise.all(
    // A relayed subnet reaches us by the address of another one.
    [...new Set(config.networks.map(({ address }) => address))].map((address) =>
      startBlobServer({ address, port: config.http.imagePort, folders, emit }),
    ),
  )
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) }
})

// The process that answers machines: DHCP, TFTP, loader texts. It has no database; main pushes it what it needs, and it
// keeps answering while main restarts.
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Ipv4, Mac } from '../src/address.ts'
import { serverAddress } from '../src/boot/image-url.ts'
import { indexNodes, type NodeIndex } from '../src/boot/names.ts'
import type { Snapshot } from '../src/boot/plan.ts'
import { applyDelta } from '../src/boot/snapshot.ts'
import type { Config } from '../src/config.ts'
import { isOfNetworks } from '../src/dhcp/subnet.ts'
import type { BlobRef } from '../src/image/version.ts'
import type { Network } from '../src/node/network.ts'
import { openLeases } from './dhcp/leases.ts'
import { startDhcp } from './dhcp/server.ts'
import { openStrangers } from './discovery/strangers.ts'
import { type Emit, limitEvents } from './emit.ts'
import { startBootHttp } from './http/boot.ts'
import { type Joined, openJoined } from './http/joined.ts'
import { openPublished } from './http/published.ts'
import { blobFolders } from './images/blob-folders.ts'
import { bootfilePath } from './loaders/blobs.ts'
import { loadBootfiles } from './loaders/build.ts'
import { goFirst } from './priority.ts'
import { type LeaseRow, type Parent, runChild, type ToBoot } from './process.ts'
import { openRecorder, type Recorder } from './record/recorder.ts'
import { type Pool, startPool } from './tftp/pool.ts'
import { startTftp } from './tftp/server.ts'

type World = {
  config: Config
  emit: Emit
  nodes: () => NodeIndex
  /** Whose address it is, as far as DHCP knows. */
  macOf(address: Ipv4): Mac | undefined
  loaders: Map<string, string> // published name -> file
  folders: Iterable<string> // of blobs
  joined: Joined
  recorder: Recorder
  strangers: ReturnType<typeof openStrangers>
  pool: Pool
}

runChild(async ({ config, coexist, restarted, handed }, parent) => {
  goFirst()
  const bootfiles = await loadBootfiles(config.stateDir)
  await mkdir(config.stateDir, { recursive: true })
  const leases = await openLeases(join(config.stateDir, 'leases.journal'))
  const of = randomBytes(8).toString('hex')
  const view = openView(parent, {
    leases: (ask) => answerLeases(ask),
    strangers: (ask) =>
      parent.send({
        kind: 'send',
        to: 'main',
        body: { type: 'strangers', ask, strangers: strangers.list() },
      }),
    stepsStored: (message) => void (message.of === of && recorder.stored(message.number)),
    snapshot: () => recorder.mainStarted(),
  })
  const recorder = openRecorder({
    send: (batch) => parent.send({ kind: 'send', to: 'main', body: { type: 'boot-steps', of, ...batch } }),
    nodeOf: (mac) => view.nodes().byMac.get(mac),
    macOf,
  })
  const emit = limitEvents(parent.emit)
  const strangers = openStrangers({
    networks: config.networks,
    nodes: view.nodes,
    leaseOf: leases.view.get,
    strangerAt: (address) => dhcp.strangerAt(address),
    take: leases.take,
    emit,
  })
  // Nobody is answered before main has said who is known: a known node must not look unknown.
  await view.known
  const { nodes } = view
  const loaders = loaderFiles(bootfiles.loaders, config.stateDir)
  const dhcp = await startDhcp({
    networks: config.networks,
    serverOf: (network) => serverAddress(network, config),
    lookup: (mac) => nodes().byMac.get(mac),
    reserved: (ip) => nodes().byAddress.has(ip),
    built: new Set(loaders.keys()),
    leases,
    emit,
    record(seen) {
      recorder.dhcp(seen)
      strangers.heard(seen)
    },
    ...{ coexist, restarted, handed },
  })
  const pool = await startPool({ workers: config.tftp.workers, emit })
  const folders = blobFolders(config.stateDir)
  const joined = await openJoined({ folder: join(config.stateDir, 'joined'), blobFolders: folders })
  const world = { config, emit, nodes, macOf, loaders, folders, joined, recorder, strangers, pool }
  // A relayed subnet reaches us by the address of another one.
  const byAddress = Map.groupBy(config.networks, ({ address }) => address)
  const files = await Promise.all([...byAddress.values()].map(([network]) => serveFiles(network!, world)))

  function macOf(peer: Ipv4): Mac | undefined {
    return leases.macOf(peer, Date.now()) ?? dhcp.macOf(peer)
  }

  function answerLeases(ask: number) {
    const rows = leases.list().map(({ mac, address, state, until }): LeaseRow => {
      const node = view.nodes().byMac.get(mac)?.name
      return { mac, address, state, expires: until, ...(node && { node }) }
    })
    parent.send({ kind: 'send', to: 'main', body: { type: 'leases', ask, leases: rows } })
  }

  return {
    async close() {
      await Promise.all([dhcp, ...files.flat()].map((each) => each.close()))
      recorder.close()
      await pool.close()
      await leases.close()
    },
  }
})

/** Published name -> file. */
const loaderFiles = (loaders: Record<string, BlobRef>, stateDir: string): Map<string, string> =>
  new Map(Object.entries(loaders).map(([name, { digest }]) => [name, bootfilePath(stateDir, digest)]))

/** TFTP and HTTP on the address of a network. */
async function serveFiles(
  network: Network,
  { config, emit, nodes, macOf, loaders, folders, joined, recorder, strangers, pool }: World,
) {
  const { address } = network
  const { http, tftp, stateDir } = config
  const published = openPublished({
    server: serverAddress(network, config),
    nodes: () => strangers.beside(nodes()),
    loaders,
    blobFolders: folders,
    joined,
    macOf,
  })
  const open = strangers.opening(address, published)
  return await Promise.all([
    startTftp({
      address,
      port: tftp.port,
      mayAsk: (peer) => isOfNetworks(peer, config.networks),
      open: recorder.opening('tftp', open),
      pool,
      emit,
    }),
    startBootHttp({
      address,
      port: http.port,
      open: recorder.opening('http', open),
      emit,
      nodeSocketPath: join(stateDir, 'run', 'node.sock'),
    }),
  ])
}

/** The snapshot as it stands; asks main for the whole again when a delta is missing. */
function openView(
  { send, onMessage }: Parent,
  on: {
    /** Main sends it when it starts. */
    snapshot(): void
    leases(ask: number): void
    strangers(ask: number): void
    stepsStored(message: Extract<ToBoot, { type: 'boot-steps-stored' }>): void
  },
) {
  let snapshot: Snapshot = { version: -1, nodes: [] }
  let index = indexNodes([])
  const first = Promise.withResolvers<void>()
  const askAll = () => send({ kind: 'send', to: 'main', body: { type: 'need-snapshot' } })
  function take(next: Snapshot) {
    snapshot = next
    index = indexNodes(next.nodes)
    first.resolve()
  }
  onMessage((message: ToBoot) => {
    if (message.type === 'leases') return on.leases(message.ask)
    if (message.type === 'strangers') return on.strangers(message.ask)
    if (message.type === 'boot-steps-stored') return on.stepsStored(message)
    if (message.type === 'snapshot') {
      on.snapshot()
      return take(message.snapshot)
    }
    const next = applyDelta(snapshot, message.delta)
    next ? take(next) : askAll()
  })
  askAll()
  return { known: first.promise, nodes: () => index }
}

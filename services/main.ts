// The process that holds the database: API, deployments, node endpoints. It never touches bulk data.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Digest } from '../src/address.ts'
import { serverAddress, serverFor } from '../src/boot/image-url.ts'
import { indexNodes } from '../src/boot/names.ts'
import type { Stranger } from '../src/boot/strangers.ts'
import { checkTexts } from '../src/boot/text.ts'
import { makeOwners } from '../src/boot/whose.ts'
import type { Config } from '../src/config.ts'
import type { DryWorld } from '../src/dhcp/dry-run.ts'
import type { Event } from '../src/events.ts'
import { faultOf, UserError } from '../src/fault.ts'
import type { Osimage } from '../src/image/osimage.ts'
import { type ImageVersion, versionName } from '../src/image/version.ts'
import { renderRefusal } from '../src/install/script.ts'
import { type Job, makesVersion } from '../src/job.ts'
import { askBoot } from './ask-boot.ts'
import { makeCaptures } from './captures.ts'
import { openBootFiles } from './deploy/boot-files.ts'
import { openDeployments } from './deploy/deployments.ts'
import { openOverrides } from './deploy/overrides.ts'
import { scriptMaker } from './deploy/script-maker.ts'
import { makeEmit } from './emit.ts'
import { startAdmin } from './http/admin.ts'
import { startNodeHttp } from './http/node.ts'
import { imageRows } from './image-rows.ts'
import { openImages } from './images/store.ts'
import { openJobs } from './jobs.ts'
import { loadBootfiles } from './loaders/build.ts'
import type { LeaseRow, ToMain } from './process.ts'
import { registryToken, runChild } from './process.ts'
import { openEventLog } from './record/event-log.ts'
import { openKeeper } from './record/keeper.ts'
import { ensureIdentity, readPublicIdentity } from './remote/identity.ts'
import { probeHostKey } from './remote/login.ts'
import { openStore } from './store/store.ts'
import { ensureTokenFile } from './store/token-file.ts'

const tickMs = 3000

runChild(async ({ config, jobs: expected = [] }, parent) => {
  const store = await openStore(join(config.stateDir, 'sysclone.db'))
  const imagesDir = join(config.stateDir, 'images')
  const images = await openImages(imagesDir)
  const { ramdisks, loaders } = await loadBootfiles(config.stateDir)
  const owners = makeOwners()
  const eventLog = await openEventLog({ rows: store.events, failed: report })
  const emit = makeEmit((event) => {
    // Those of other processes were logged already.
    parent.say(event as Event)
    eventLog.publish(event as Event)
  })
  const leases = askBoot<LeaseRow[]>(parent, 'leases')
  const strangers = askBoot<Stranger[]>(parent, 'strangers')
  await ensureIdentity(identityPath(config))
  if (config.registry && !config.registry.token) await ensureTokenFile(registryToken(config.stateDir))
  const rows = imageRows({ osimages: store.osimages, images, imagesDir })
  await rows.describe()
  const jobs = await openJobs({
    stored: store.jobs,
    expected,
    madeBy: versionMadeBy(images),
    start: (job, spec) => parent.send({ kind: 'start-job', job, spec }),
    emit,
    now: Date.now,
  })
  const captures = makeCaptures({
    ...{ nodes: store.nodes, osimages: store.osimages, images, jobs, report },
    described: rows.describe,
  })
  const bootFiles = await openBootFiles(join(config.stateDir, 'bootonly'), await filesInUse(store.osimages))

  const keeper = openKeeper({
    boots: store.boots,
    owners,
    stored: (of, number) =>
      parent.send({ kind: 'send', to: 'boot', body: { type: 'boot-steps-stored', of, number } }),
    failed: report,
  })

  const deployments = await openDeployments({
    nodes: store.nodes,
    osimages: store.osimages,
    stored: store.deployments,
    images,
    ramdisk: (arch) => {
      const ramdisk = ramdisks[arch]
      if (ramdisk) return ramdisk
      const allowed = Object.keys(ramdisks).join(' | ')
      throw new UserError('no ramdisk for this architecture', { what: arch, allowed })
    },
    checkBoot: (node) => checkTexts(node, serverFor(config, node.ip ?? config.networks[0]!.address)),
    script: scriptMaker(config),
    overrides: await openOverrides({
      folder: join(config.stateDir, 'overrides'),
      packed: join(config.stateDir, 'packed'),
      groups: store.groups,
    }),
    refusal: (error) => renderRefusal(error.fault),
    answers: async (host, keys, port) => {
      const key = await probeHostKey({ host, port, timeoutMs: 2500 })
      return key !== undefined && keys.includes(key)
    },
    push: (delta) => parent.send({ kind: 'send', to: 'boot', body: { type: 'delta', delta } }),
    key: await serverKey(store.settings),
    emit,
    now: Date.now,
  })

  parent.onMessage((message: ToMain) => {
    if (message.type === 'leases') return leases.answer(message.ask, message.leases)
    if (message.type === 'strangers') return strangers.answer(message.ask, message.strangers)
    if (message.type === 'job-ended') return void captures.ended(message).catch(report)
    if (message.type === 'need-snapshot') return void sendSnapshot().catch(report)
    if (message.type === 'boot-steps') return keeper.take(message)
    for (const event of message.events) {
      eventLog.publish(owners.complete(event))
      keeper.seen(event)
      deployments.seen(event).catch(report)
    }
  })

  const node = await startNodeHttp({ socket: nodeSocket(config), ...deployments, now: Date.now })
  const admin = await startAdmin({
    socket: config.api.socket,
    store,
    networks: config.networks,
    networksAt: config.networksAt,
    images,
    imageStore: images,
    imagesChanged: rows.changed,
    startJob: async (spec) => ({ job: await jobs.start(spec) }),
    jobUsing: jobs.userOf,
    deploy: deployments,
    capture: captures.start,
    publicIdentity: () => readPublicIdentity(identityPath(config)),
    keepFiles: bootFiles.keep,
    leases: leases.ask,
    dryWorld,
    strangers: strangers.ask,
    nodesChanged: (names) => void deployments.changed(names).catch(report),
    events: eventLog,
    emit,
  })
  // What was stored and not told before a crash: the boot process would send an installed machine into an install again.
  await sendSnapshot()
  // Not awaited: the boot process may itself be starting.
  leases.ask().then(
    (rows) =>
      rows.forEach(({ address, mac, node }) => void owners.learn(address, { mac, ...(node && { node }) })),
    () => {},
  )
  const timer = setInterval(() => void deployments.tick().catch(report), tickMs)

  function report(error: unknown) {
    const { error: why, what } = faultOf(error)
    emit('serve.fail', { process: 'main', why, what: what.slice(0, 500) })
  }

  /** As the boot process knows it; without leases while that is away. */
  async function dryWorld({ networks, http }: Config = config): Promise<DryWorld> {
    const [rows, waiting] = await Promise.all([leases.ask().catch(() => []), strangers.ask().catch(() => [])])
    return {
      networks,
      serverOf: (network) => serverAddress(network, { networks, http }),
      nodes: indexNodes((await deployments.snapshot()).nodes),
      built: new Set(Object.keys(loaders)),
      leases: rows.map(({ mac, address, state, expires }) => ({ mac, address, state, until: expires })),
      waiting,
      now: Date.now(),
    }
  }

  async function sendSnapshot() {
    const snapshot = await deployments.snapshot()
    parent.send({ kind: 'send', to: 'boot', body: { type: 'snapshot', snapshot } })
  }

  return {
    async close() {
      clearInterval(timer)
      await Promise.all([node.close(), admin.close()])
      await deployments.flush()
      await Promise.all([keeper.close(), eventLog.close()])
      await store.close()
    },
  }
})

const nodeSocket = (config: Config) => join(config.stateDir, 'run', 'node.sock')
const identityPath = (config: Config) => config.ssh.identity ?? join(config.stateDir, 'ssh', 'id_ed25519')

/** The image store is the truth about what a capture made: its word to us may be lost. */
function versionMadeBy({ list }: { list(): ImageVersion[] }) {
  return (job: Job): string | undefined => {
    const { node, image, startedAt } = job
    const made = list().find(
      ({ name, source, createdAt }) =>
        name === image && (!node || source === node) && Date.parse(createdAt) >= startedAt,
    )
    if (!makesVersion(job)) return undefined
    return made && versionName(made)
  }
}

/** The files of boot-only osimages. */
async function filesInUse({ list }: { list(): Promise<Osimage[]> }): Promise<Set<Digest>> {
  return new Set((await list()).flatMap(({ files = {} }) => Object.values(files).map(({ digest }) => digest)))
}

/** The key that tokens and sessions are made with; made once, kept in the database. */
async function serverKey(settings: {
  get(name: string): Promise<string | undefined>
  put(name: string, value: string): Promise<void>
}) {
  const kept = await settings.get('server-key')
  if (kept) return Buffer.from(kept, 'hex')
  const key = randomBytes(32)
  await settings.put('server-key', key.toString('hex'))
  return key
}

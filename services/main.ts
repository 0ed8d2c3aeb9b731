// The process that holds the database: API, deployments, node endpoints. It never touches bulk data.
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Digest, ImageName, Ipv4 } from '../src/address.ts'
import { subnetContains } from '../src/address.ts'
import { imageServers, imageUrlText, serverAddress } from '../src/boot/image-url.ts'
import { indexNodes } from '../src/boot/names.ts'
import type { ServerAddress } from '../src/boot/plan.ts'
import { serverUrl } from '../src/boot/policy.ts'
import type { Stranger } from '../src/boot/strangers.ts'
import { checkTexts } from '../src/boot/text.ts'
import { makeOwners } from '../src/boot/whose.ts'
import type { Config } from '../src/config.ts'
import type { DryWorld } from '../src/dhcp/dry-run.ts'
import type { Event } from '../src/events.ts'
import { faultOf, UserError } from '../src/fault.ts'
import { needsSquash } from '../src/image/layers.ts'
import type { Osimage } from '../src/image/osimage.ts'
import { osimageOf } from '../src/image/osimage.ts'
import { type ImageVersion, versionName } from '../src/image/version.ts'
import { planInstall } from '../src/install/plan.ts'
import { renderRefusal, renderScript } from '../src/install/script.ts'
import { type Job, makesVersion } from '../src/job.ts'
import type { Node } from '../src/node/node.ts'
import { readJumpHost } from '../src/node/values.ts'
import { openBootFiles } from './deploy/boot-files.ts'
import { openDeployments } from './deploy/deployments.ts'
import { openOverrides } from './deploy/overrides.ts'
import { makeEmit } from './emit.ts'
import { startAdmin } from './http/admin.ts'
import type { CaptureRequest } from './http/admin-needs.ts'
import { startNodeHttp } from './http/node.ts'
import { openImages } from './images/store.ts'
import { openJobs } from './jobs.ts'
import { loadBootfiles } from './loaders/build.ts'
import type { LeaseRow, Parent, ToMain } from './process.ts'
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
  await describeImages()
  const jobs = await openJobs({
    stored: store.jobs,
    expected,
    madeBy: versionMadeBy(images),
    start: (job, spec) => parent.send({ kind: 'start-job', job, spec }),
    emit,
    now: Date.now,
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
    if (message.type === 'job-ended') return void jobEnded(message).catch(report)
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
    imagesChanged,
    startJob: async (spec) => ({ job: await jobs.start(spec) }),
    jobUsing: jobs.userOf,
    deploy: deployments,
    capture,
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

  /** Rows about images are made anew from the image store, which is the truth about them. */
  async function describeImages() {
    const newest = new Map(images.list().map((version) => [version.name, version]))
    for (const version of newest.values()) {
      const before = await store.osimages.get(version.name)
      await store.osimages.put(osimageOf(version, version.place ?? imagesDir, before))
    }
    // What lies on a disk that is not mounted is not gone.
    if (images.broken().length > 0) return
    for (const { captured, ...image } of await store.osimages.list())
      if (captured && !newest.has(image.name)) await store.osimages.put(image)
  }

  async function imagesChanged(like?: ImageName) {
    const model = like && (await store.osimages.get(like))
    if (model) await lendDefinition(model)
    await describeImages()
  }

  /** A copy has what a person set for what it is a copy of. */
  async function lendDefinition({ captured: _, ...model }: Osimage) {
    const defined = new Set((await store.osimages.list()).map(({ name }) => name))
    const fresh = new Set(images.list().map(({ name }) => name))
    for (const name of fresh) if (!defined.has(name)) await store.osimages.put({ ...model, name })
  }

  async function capture(request: CaptureRequest) {
    const golden = await store.nodes.get(request.node)
    if (!golden)
      throw new UserError('no such node', { what: request.node, object: request.node, status: 404 })
    const { name, ip, sshport, sshuser = 'root', sshhostkey, cloneHostKeys } = golden
    if (!ip)
      throw new UserError('the node has no address', {
        what: 'ip is empty',
        allowed: `chdef ${name} ip=...`,
        object: name,
      })
    const hostKey = request.acceptHostkey ?? sshhostkey ?? cloneHostKeys?.[0]
    const scrub = (await store.osimages.get(request.image))?.scrub
    const common = {
      node: name,
      host: ip,
      port: sshport ?? 22,
      user: sshuser,
      image: request.image,
      ...(request.excludes && { excludes: request.excludes }),
      ...(hostKey && { hostKey }),
      ...jumpOf(golden, request.acceptJumpHostkey),
      ...(scrub && { scrub }),
    }
    const { check: out, place, hold } = request
    if (out !== undefined) return { job: await jobs.start({ kind: 'check', ...common, out }) }
    const more = {
      ...(request.type && { type: request.type }),
      ...(place !== undefined && { place }),
      ...(hold && { hold }),
    }
    return { job: await jobs.start({ kind: 'capture', ...common, ...more }) }
  }

  async function jobEnded({ job: id, fault, result }: Extract<ToMain, { type: 'job-ended' }>) {
    const job = jobs.running(id)
    if (job && makesVersion(job) && !fault) await takeOver(job).catch(report) // before anybody hears that it is there
    if (job?.kind === 'check' && !fault) await rememberHostKeys(job).catch(report)
    await jobs.end(id, { ...(fault && { fault }), ...(result !== undefined && { result }) })
    if (job?.kind === 'capture' && !fault) await squashLong(job.image).catch(() => {}) // another capture has begun
  }

  /** After many captures a version has many layers: the next one has the same tree in few. */
  async function squashLong(name: ImageName | undefined) {
    const newest = name === undefined ? undefined : images.get(name)
    if (newest && needsSquash(newest))
      await jobs.start({ kind: 'squash', image: newest.name, version: newest.version })
  }

  async function takeOver(job: Job) {
    await describeImages()
    await rememberHostKeys(job)
  }

  /** The keys that a job was allowed to trust are those to expect from now on. */
  async function rememberHostKeys({ node, hostKey, jumpHostKey }: Job) {
    const [golden] = node === undefined ? [] : await store.nodes.list([node])
    const keys = {
      ...(hostKey && { sshhostkey: hostKey }),
      ...(jumpHostKey && { sshjumphostkey: jumpHostKey }),
    }
    const { sshhostkey, sshjumphostkey } = { ...golden, ...keys }
    if (golden && (golden.sshhostkey !== sshhostkey || golden.sshjumphostkey !== sshjumphostkey))
      await store.nodes.change([golden.name], (each) => ({ ...each, ...keys }))
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

/** The machine that the way to a golden client leads over. */
function jumpOf({ sshjump, sshjumphostkey, sshuser = 'root' }: Node, accepted: string | undefined) {
  if (sshjump === undefined) return {}
  const { user = sshuser, host, port } = readJumpHost(sshjump)
  const hostKey = accepted ?? sshjumphostkey
  return { jump: { host, port, user, ...(hostKey && { hostKey }) } }
}

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

/** Leases, and the unknown machines that wait, belong to the boot process. */
function askBoot<T>(parent: Parent, type: 'leases' | 'strangers') {
  const waiting = new Map<number, (answer: T) => void>()
  let last = 0
  function ask(): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    last += 1
    const number = last
    waiting.set(number, resolve)
    setTimeout(() => {
      if (!waiting.delete(number)) return
      const allowed = 'try again'
      reject(new UserError('the boot process does not answer', { what: type, allowed, status: 503 }))
    }, 3000)
    parent.send({ kind: 'send', to: 'boot', body: { type, ask: number } })
    return promise
  }
  function answer(number: number, given: T) {
    waiting.get(number)?.(given)
    waiting.delete(number)
  }
  return { ask, answer }
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

/** The autoinstall script for one machine; the texts of the phases are read once, at start. */
function scriptMaker(config: Config): Parameters<typeof openDeployments>[0]['script'] {
  const folder = join(import.meta.dirname, '..', 'bootfiles', 'ramdisk')
  const lib = readFileSync(join(folder, 'lib.sh'), 'utf8')
  const phases = Object.fromEntries(
    readdirSync(join(folder, 'phases'))
      .sort()
      .map((name) => [name, readFileSync(join(folder, 'phases', name), 'utf8')]),
  )
  return ({ node, image, facts, overrides, session, peer }) => {
    const server = serverFor(config, peer)
    const blobUrls = imageServers(server).map(imageUrlText)
    const { plan, layouts } = planInstall({
      node,
      version: image,
      facts,
      overrides,
      session,
      serverUrl: serverUrl(server),
      blobUrls,
    })
    return renderScript({ plan, layouts, lib, phases })
  }
}

/** Our own addresses as that machine sees them. */
function serverFor({ networks, http }: Config, peer: Ipv4): ServerAddress {
  const network = networks.find(({ subnet }) => subnetContains(subnet, peer)) ?? networks[0]!
  return serverAddress(network, { http, networks })
}

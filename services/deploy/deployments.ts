// The deployments: keeps them in memory, feeds them events, stores what changed, tells the boot process.
import { randomBytes } from 'node:crypto'
import type { ImageName, Ipv4, NodeName } from '../../src/address.ts'
import type { BootNode, Delta, Snapshot } from '../../src/boot/plan.ts'
import type { Payload } from '../../src/boot/snapshot.ts'
import { bootNodeOf } from '../../src/boot/snapshot.ts'
import type { Deployment, DeploymentEvent, Effect } from '../../src/deploy/deployment.ts'
import * as rules from '../../src/deploy/deployment.ts'
import { withReceipt } from '../../src/deploy/receipt.ts'
import { bootToken, sameSecret, sessionDeployment, sessionKey } from '../../src/deploy/token.ts'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { bootOnlyOf } from '../../src/image/osimage.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { PackedOverride } from '../../src/install/plan.ts'
import type { Finish, NodeFacts, Progress, Start } from '../../src/install/protocol.ts'
import type { Node } from '../../src/node/node.ts'
import type { Emit } from '../emit.ts'

export type Needs = {
  nodes: {
    get(name: NodeName): Promise<Node | undefined>
    list(names?: NodeName[]): Promise<Node[]>
    /** Reads, changes and writes as one step; throws UserError 404 when one is gone. */
    change(names: NodeName[], edit: (node: Node) => Node): Promise<void>
  }
  osimages: { list(): Promise<Osimage[]> }
  stored: {
    list(): Promise<Deployment[]>
    put(deployment: Deployment): Promise<void>
    remove(id: string): Promise<void>
  }
  images: { get(name: ImageName, version?: number): ImageVersion | undefined }
  /** The ramdisk template for an architecture; throws UserError when it is not built. */
  ramdisk: (arch: ImageVersion['arch']) => BlobRef
  /** Throws UserError for what one of the node's loaders can't say; answers with a warning, if there is one. */
  checkBoot: (node: BootNode) => string | undefined
  /** The autoinstall script for exactly this machine; throws UserError when the image can't go onto it. */
  script: (install: {
    node: Node
    image: ImageVersion
    facts: NodeFacts
    overrides: PackedOverride[]
    session: string
    peer: Ipv4
  }) => string
  refusal: (error: UserError) => string
  overrides: {
    /** Throws UserError when one is missing that was asked for. */
    check(node: Node, image: ImageName): Promise<void>
    /** The file trees for this node as they are now, in the order in which they are laid. */
    pack(node: Node, image: ImageName): Promise<PackedOverride[]>
  }
  /** Whether an sshd with one of these key fingerprints answers at the address. */
  answers: (address: Ipv4, hostKeys: string[], port: number) => Promise<boolean>
  push: (delta: Delta) => void
  key: Buffer // 32 bytes, the server's own
  emit: Emit
  now: () => number
}

export async function openDeployments(needs: Needs) {
  const { nodes, stored, images, emit, key, now } = needs
  const ofNode = new Map<NodeName, Deployment>() // the newest of each node; memory is ahead of the store, never behind
  for (const d of (await stored.list()).sort((a, b) => a.armedAt - b.armedAt)) ofNode.set(d.node, d)
  const addresses = new Map<NodeName, Ipv4>() // as last leased; a node need not have a fixed one
  let version = 0
  let writes = Promise.resolve()
  let pushes = Promise.resolve()

  // ---- state ----

  /** Feeds one event; resolves when the new state is stored. */
  async function feed(before: Deployment, event: DeploymentEvent): Promise<Effect> {
    const [after, effect] = rules.step(before, event, now())
    if (after === before) return effect
    ofNode.set(after.node, after)
    const moved = after.state !== before.state || after.attempt !== before.attempt
    // Percent alone need not survive a crash: the node says it again within a second.
    if (moved || after.nonce !== before.nonce || after.phase !== before.phase) await keep(after, before)
    if (moved) await announce(before, after)
    return effect
  }

  /** What can not be stored has not happened: asked again, the same event must do the same. */
  async function keep(after: Deployment, before: Deployment | undefined): Promise<void> {
    try {
      await inOrder(() => stored.put(after))
    } catch (error) {
      if (ofNode.get(after.node) === after)
        before ? ofNode.set(after.node, before) : ofNode.delete(after.node)
      throw error
    }
  }

  /** One write at a time, so that two changes of one node can't lose each other. */
  function inOrder(write: () => Promise<void>): Promise<void> {
    const written = writes.then(write)
    writes = written.catch(() => {})
    return written
  }

  async function announce(before: Deployment | undefined, after: Deployment) {
    const why = after.reason === undefined ? {} : { why: after.reason }
    emit('node.state', {
      node: after.node,
      deployment: after.id,
      from: before?.state ?? 'none',
      to: after.state,
      ...why,
    })
    const word = rules.statusWord[after.state]
    if (word)
      await updateNode(after.node, (node) => ({
        ...node,
        status: word,
        statustime: new Date(now()).toISOString(),
      }))
    await changed([after.node])
  }

  const updateNode = (name: NodeName, change: (node: Node) => Node) =>
    inOrder(async () => {
      await nodes.change([name], change).catch((error) => {
        if (!(error instanceof UserError && error.status === 404)) throw error // removed meanwhile: nothing to keep
      })
    })

  // ---- what the boot process knows ----

  async function bootNodes(found: Node[]): Promise<BootNode[]> {
    const osimages = new Map((await needs.osimages.list()).map((osimage) => [osimage.name, osimage]))
    return found.map((node) => bootNode(node, osimages))
  }

  function bootNode(node: Node, osimages: Map<ImageName, Osimage>): BootNode {
    const deployment = ofNode.get(node.name)
    if (!deployment) return bootNodeOf(node)
    const osimage = osimages.get(deployment.image)
    const addkcmdline = osimage?.addkcmdline
    return bootNodeOf(node, {
      deployment,
      payload: payloadOf(deployment, osimage),
      ...(addkcmdline !== undefined && { addkcmdline }),
      token: bootToken(key, deployment.id, deployment.attempt),
    })
  }

  /** A boot-only osimage is booted as it is defined now; a version never changes. */
  function payloadOf(deployment: Deployment, osimage: Osimage | undefined): Payload | undefined {
    if (deployment.version === undefined) {
      const bootOnly = osimage && bootOnlyOf(osimage)
      return bootOnly && { bootOnly }
    }
    const image = sound(deployment)
    return image && { image, ramdisk: needs.ramdisk(image.arch) }
  }

  /** A damaged image is as good as none: the other nodes must still boot. */
  function sound({ image, version: number }: Deployment): ImageVersion | undefined {
    try {
      return images.get(image, number)
    } catch (error) {
      if (error instanceof UserError) return undefined
      throw error
    }
  }

  async function snapshot(): Promise<Snapshot> {
    return { version, nodes: await bootNodes(await nodes.list()) }
  }

  /** Tells the boot process about nodes that changed or are gone; in order, so that it never ends on older facts. */
  function changed(names: NodeName[]): Promise<void> {
    const pushed = pushes.then(() => pushChanges(names))
    pushes = pushed.catch(() => {})
    return pushed
  }

  async function pushChanges(names: NodeName[]) {
    const found = await nodes.list(names)
    const there = new Set(found.map(({ name }) => name))
    const removed = names.filter((name) => !there.has(name))
    for (const name of removed) ofNode.delete(name)
    const changed = await bootNodes(found)
    version += 1
    needs.push({ version, changed, removed })
  }

  // ---- what an admin asks for ----

  /** `nodeset NODE osimage=IMAGE[:VERSION]`; answers with xCAT's word for it. */
  async function arm(name: NodeName, imageName: ImageName, version?: number): Promise<string> {
    const node = await known(name)
    const osimage = (await needs.osimages.list()).find((each) => each.name === imageName)
    const bootOnly = osimage && bootOnlyOf(osimage)
    const image = bootOnly ? undefined : images.get(imageName, version)
    if (!bootOnly && !image)
      throw new UserError('no such osimage', {
        what: versionName({ name: imageName, version }),
        object: name,
        status: 404,
      })
    checkReady(node)
    if (image) checkFits(node, image)
    if (image) await needs.overrides.check(node, imageName)
    const digest = (bootOnly ? bootOnly.kernel : image!).digest
    const deployment = rules.arm(
      {
        id: randomBytes(8).toString('hex'),
        node: name,
        image: imageName,
        digest,
        retries: node.installretries ?? 2,
        ...(image && { version: image.version }),
      },
      now(),
    )
    const warning = checkBoot(node, deployment, osimage)
    const before = ofNode.get(name)
    ofNode.set(name, deployment)
    await keep(deployment, before)
    // One that was given up, or was not seen to come up yet, must not come back when the newer one is dismissed.
    if (before && !isDone(before)) await inOrder(() => stored.remove(before.id))
    await updateNode(name, ({ offline: _, ...rest }) => ({ ...rest, osimage: imageName }))
    await announce(before, deployment)
    const word = image ? `sysclone ${image.os.id}${image.os.version}-${image.arch}` : `netboot ${imageName}`
    return warning === undefined ? word : `${word} (${warning})`
  }

  /** Whether every loader that this node may use can say what it is to boot; answers with what to be careful of. */
  function checkBoot(node: Node, deployment: Deployment, osimage: Osimage | undefined): string | undefined {
    const payload = payloadOf(deployment, osimage)
    const addkcmdline = osimage?.addkcmdline
    const token = bootToken(key, deployment.id, deployment.attempt)
    const more = addkcmdline === undefined ? {} : { addkcmdline }
    try {
      return needs.checkBoot(bootNodeOf(node, { deployment, payload, token, ...more }))
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      throw new UserError(error.fault.error, { ...error.fault, object: node.name })
    }
  }

  function checkReady({ name, lock, mac }: Node) {
    if (lock)
      throw new UserError('the node is locked', {
        what: 'lock=1',
        allowed: `chdef ${name} lock=0 first`,
        object: name,
      })
    if (mac.length === 0)
      throw new UserError('No MAC address available for this node', {
        what: 'mac is empty',
        allowed: `chdef ${name} mac=...`,
        object: name,
      })
  }

  function checkFits({ name, arch }: Node, image: ImageVersion) {
    if (arch && arch !== image.arch)
      throw new UserError('the image is for another architecture', {
        what: `${versionName(image)} is ${image.arch}`,
        allowed: arch,
        object: name,
      })
    needs.ramdisk(image.arch) // says what to build when it is not there
  }

  /** `nodeset NODE boot|offline`: whatever was intended before is over. */
  async function setState(name: NodeName, state: 'boot' | 'offline'): Promise<string> {
    await known(name)
    const d = ofNode.get(name)
    if (d && !isDone(d)) await dismiss(d)
    await updateNode(name, ({ offline: _, ...rest }) =>
      state === 'offline' ? { ...rest, offline: true } : rest,
    )
    await changed([name])
    return state
  }

  async function dismiss(d: Deployment) {
    await inOrder(() => stored.remove(d.id))
    if (ofNode.get(d.node)?.id === d.id) ofNode.delete(d.node)
    emit('node.state', { node: d.node, deployment: d.id, from: d.state, to: 'none', why: 'nodeset' })
  }

  /** `nodeset NODE stat` */
  async function stat(name: NodeName): Promise<string> {
    const node = await known(name)
    const d = ofNode.get(name)
    if (node.offline) return 'offline'
    if (!d || d.state === 'booted') return 'boot'
    const image = versionName({ name: d.image, version: d.version })
    const progress = d.state === 'installing' ? ` ${d.phase} ${d.percent ?? 0}%` : ''
    return `${image} ${d.state}${progress}${d.reason === undefined ? '' : `: ${d.reason}`}`
  }

  async function known(name: NodeName): Promise<Node> {
    const node = await nodes.get(name)
    if (!node) throw new UserError('no such node', { what: name, object: name, status: 404 })
    return node
  }

  // ---- what the boot process saw ----

  async function seen(event: Event) {
    if (!event.node) return
    const name = event.node as NodeName
    if (event.type === 'dhcp.ack') addresses.set(name, (event as Event<'dhcp.ack'>).address as Ipv4)
    const d = ofNode.get(name)
    if (!d) return
    // A network card's own iPXE is all the firmware that some machines (QEMU's BIOS) ever show. One that was chained asks
    // when its machine's DISCOVER has begun the attempt already.
    if (event.type === 'dhcp.discover' && (event as Event<'dhcp.discover'>).client !== 'os')
      await feed(d, { type: 'firmware' })
    if (isInstallText(event) && event.deployment === d.id) await feed(d, { type: 'text' })
  }

  // ---- what the node asks for ----

  /** The script for the machine that shows the token of an open deployment; 403 for all others, 409 while another boot holds it. */
  async function start({ token, nonce, facts }: Start, peer: Ipv4): Promise<string> {
    const found = [...ofNode.values()].find((d) => sameSecret(bootToken(key, d.id, d.attempt), token))
    const node = found && (await known(found.node))
    const d = node && ofNode.get(node.name) // as it is now: another machine may have come while the node was read
    if (!d || d.id !== found.id || d.attempt !== found.attempt) throw refused(peer, 'unknown boot token')
    // Locked after its nodeset: the last moment at which its disk is whole.
    checkUnlocked(node, peer, d)
    const effect = await feed(d, { type: 'start', nonce, peer })
    if (effect.do === 'refuse') throw refused(peer, effect.why, d, effect.bound ? 409 : 403)
    const { version } = d
    const image = version === undefined ? undefined : images.get(d.image, version)
    emit('node.start', { node: d.node, deployment: d.id, peer, attempt: d.attempt })
    try {
      if (!image)
        throw new UserError('the image is missing', {
          what: versionName({ name: d.image, version }),
          object: d.node,
        })
      const overrides = await needs.overrides.pack(node, d.image)
      // Packing may take a minute, in which a person may have thought better of it.
      if (!isPresent(d)) throw refused(peer, 'unknown boot token')
      checkUnlocked(await known(d.node), peer, d)
      return needs.script({
        node,
        image,
        facts,
        overrides,
        peer,
        session: sessionKey(key, d.id, d.attempt, nonce),
      })
    } catch (error) {
      if (!(error instanceof UserError) || !isPresent(d)) throw error
      // It names what the machine said of itself, up to a megabyte; protocol.ts allows a reason as much as this.
      await feed(ofNode.get(d.node) ?? d, { type: 'refused', reason: error.message.slice(0, 1000) })
      return needs.refusal(error)
    }
  }

  /** No other deployment, and no other attempt, has taken its place. */
  function isPresent({ node, id, attempt }: Deployment): boolean {
    const latest = ofNode.get(node)
    return latest?.id === id && latest.attempt === attempt
  }

  function checkUnlocked({ name, lock }: Node, peer: Ipv4, d: Deployment) {
    if (lock) throw refused(peer, `the node is locked; chdef ${name} lock=0 lets it go on`, d)
  }

  function refused(peer: Ipv4, why: string, d?: Deployment, status = 403): UserError {
    emit('node.refuse', { peer, why, ...(d && { node: d.node, deployment: d.id }) })
    return new UserError('refused', {
      what: why,
      allowed: 'nodeset NODE osimage=... on the server, then netboot',
      status,
    })
  }

  function ofSession(session: string, peer: Ipv4): Deployment {
    const id = sessionDeployment(session)
    const d = [...ofNode.values()].find((each) => each.id === id)
    if (!d?.nonce || !sameSecret(sessionKey(key, d.id, d.attempt, d.nonce), session))
      throw refused(peer, 'unknown session', d)
    return d
  }

  async function progress(message: Progress, peer: Ipv4): Promise<void> {
    const d = ofSession(message.session, peer)
    const { seq, phase, percent, bytes, text } = message
    const effect = await feed(d, { type: 'progress', seq, phase, percent, bytes })
    if (effect.do === 'refuse') throw refused(peer, effect.why, d)
    const more = text === undefined ? {} : { text }
    const shown = ofNode.get(d.node)?.percent ?? percent
    emit('node.progress', { node: d.node, deployment: d.id, phase, percent: shown, bytes, ...more })
  }

  function log(message: { session: string; text: string }, peer: Ipv4): void {
    const d = ofSession(message.session, peer)
    emit('node.log', { node: d.node, deployment: d.id, text: message.text })
  }

  async function finish(message: Finish, peer: Ipv4): Promise<void> {
    const d = ofSession(message.session, peer)
    const { result, phase, reason, receipt } = message
    // What the clone is known by is kept first: "installed" must never be seen without it.
    if (result === 'ok' && receipt && d.state === 'installing')
      await updateNode(d.node, (node) => withReceipt(node, receipt))
    const event = { type: 'finish', result, ...(phase && { phase }), ...(reason && { reason }) } as const
    const effect = await feed(d, event)
    if (effect.do === 'refuse') throw refused(peer, effect.why, d)
    emit('node.finish', { node: d.node, deployment: d.id, result, ...(reason && { why: reason }) })
  }

  // ---- time ----

  async function tick() {
    for (const d of [...ofNode.values()]) await feed(d, { type: 'tick' })
    const waiting = [...ofNode.values()].filter((d) => d.state === 'installed')
    await Promise.all(waiting.map(lookForClone))
  }

  async function lookForClone(d: Deployment) {
    const node = await nodes.get(d.node)
    const address = node?.ip ?? addresses.get(d.node)
    if (!node?.cloneHostKeys?.length || !address) return
    if (await needs.answers(address, node.cloneHostKeys, node.sshport ?? 22))
      await feed(ofNode.get(d.node) ?? d, { type: 'up' })
  }

  return {
    arm,
    setState,
    stat,
    seen,
    start,
    progress,
    log,
    finish,
    tick,
    snapshot,
    changed,
    flush: () => writes,
  }
}
export type Deployments = Awaited<ReturnType<typeof openDeployments>>

/** Nothing comes of it any more. One that is installed still fails when its clone does not come up in time. */
const isDone = ({ state }: Deployment) => state === 'booted'

/** A loader text that starts what was armed; TFTP's other files carry no kind. */
function isInstallText(event: Event): boolean {
  const { kind } = event as { kind?: string }
  return (
    (event.type === 'http.text' || event.type === 'tftp.start') && (kind === 'install' || kind === 'boot')
  )
}

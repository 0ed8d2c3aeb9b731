// What machines ask for and report while they install (src/install/protocol.ts): who may, and what becomes of it.
import type { Ipv4 } from '../../src/address.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import { withReceipt } from '../../src/deploy/receipt.ts'
import { bootToken, sameSecret, sessionDeployment, sessionKey } from '../../src/deploy/token.ts'
import { UserError } from '../../src/fault.ts'
import { versionName } from '../../src/image/version.ts'
import type { Finish, Progress, Start } from '../../src/install/protocol.ts'
import type { Node } from '../../src/node/node.ts'
import type { Needs } from './needs.ts'
import type { States } from './states.ts'

export function makeNodeRequests(needs: Needs, { ofNode, feed, updateNode, known }: States) {
  const { images, key, emit } = needs

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

  return { start, progress, log, finish }
}

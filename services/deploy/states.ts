// The newest deployment of each node: its state in memory, every change of it on the disk and told to all.
import type { NodeName } from '../../src/address.ts'
import type { Deployment, DeploymentEvent, Effect } from '../../src/deploy/deployment.ts'
import * as rules from '../../src/deploy/deployment.ts'
import { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'
import type { Needs } from './needs.ts'

/** `ofNode` is ahead of the store, never behind it. `changed` tells the boot process of nodes. */
export function makeStates(
  { nodes, stored, emit, now }: Pick<Needs, 'nodes' | 'stored' | 'emit' | 'now'>,
  ofNode: Map<NodeName, Deployment>,
  changed: (names: NodeName[]) => Promise<void>,
) {
  let writes = Promise.resolve()

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

  async function known(name: NodeName): Promise<Node> {
    const node = await nodes.get(name)
    if (!node) throw new UserError('no such node', { what: name, object: name, status: 404 })
    return node
  }

  return { ofNode, feed, keep, inOrder, announce, updateNode, known, changed, flush: () => writes }
}
export type States = ReturnType<typeof makeStates>

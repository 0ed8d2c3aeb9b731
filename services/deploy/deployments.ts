// The deployments of all nodes: what is wanted, what machines report, what the boot process saw and is told, and time.
import type { Ipv4, NodeName } from '../../src/address.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import type { Event } from '../../src/events.ts'
import { makeBootView } from './boot-view.ts'
import { makeIntents } from './intents.ts'
import type { Needs } from './needs.ts'
import { makeNodeRequests } from './node-requests.ts'
import { makeStates } from './states.ts'

export async function openDeployments(needs: Needs) {
  const { nodes, stored } = needs
  const ofNode = new Map<NodeName, Deployment>() // the newest of each node
  for (const d of (await stored.list()).sort((a, b) => a.armedAt - b.armedAt)) ofNode.set(d.node, d)
  const addresses = new Map<NodeName, Ipv4>() // as last leased; a node need not have a fixed one
  const view = makeBootView(needs, ofNode)
  const states = makeStates(needs, ofNode, view.changed)
  const { feed } = states

  /** What the boot process saw. */
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

  const { snapshot, changed } = view
  return {
    ...makeIntents(needs, states, view),
    ...makeNodeRequests(needs, states),
    ...{ seen, tick, snapshot, changed, flush: states.flush },
  }
}
export type Deployments = Awaited<ReturnType<typeof openDeployments>>

/** A loader text that starts what was armed; TFTP's other files carry no kind. */
function isInstallText(event: Event): boolean {
  const { kind } = event as { kind?: string }
  return (
    (event.type === 'http.text' || event.type === 'tftp.start') && (kind === 'install' || kind === 'boot')
  )
}

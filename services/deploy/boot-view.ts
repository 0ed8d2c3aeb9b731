// What the boot process knows of nodes and their deployments: the whole of it, and each change after that.
import type { ImageName, NodeName } from '../../src/address.ts'
import type { BootNode, Snapshot } from '../../src/boot/plan.ts'
import type { Payload } from '../../src/boot/snapshot.ts'
import { bootNodeOf } from '../../src/boot/snapshot.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import { bootToken } from '../../src/deploy/token.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { bootOnlyOf } from '../../src/image/osimage.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Node } from '../../src/node/node.ts'
import type { Needs } from './needs.ts'

/** `ofNode`: as they are now; nodes that are gone are taken out of it. */
export function makeBootView(needs: Needs, ofNode: Map<NodeName, Deployment>) {
  const { nodes, images, key } = needs
  let version = 0
  let pushes = Promise.resolve()

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

  return { snapshot, changed, payloadOf }
}
export type BootView = ReturnType<typeof makeBootView>

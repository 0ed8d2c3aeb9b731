// What the deployments need of the rest of the server.
import type { ImageName, Ipv4, NodeName } from '../../src/address.ts'
import type { BootNode, Delta } from '../../src/boot/plan.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import type { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
import type { PackedOverride } from '../../src/install/plan.ts'
import type { NodeFacts } from '../../src/install/protocol.ts'
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

// What main tells the boot process: every node with the facts that its boot depends on, whole once, then as deltas.
import type { Deployment } from '../deploy/deployment.ts'
import { isOpen } from '../deploy/deployment.ts'
import type { BootOnly } from '../image/osimage.ts'
import type { BlobRef, ImageVersion } from '../image/version.ts'
import { versionName } from '../image/version.ts'
import type { Node } from '../node/node.ts'
import type { BootNode, Delta, Snapshot } from './plan.ts'

/** What a deployment boots: an image version by the ramdisk template of its architecture, or a boot-only osimage. */
export type Payload = { image: ImageVersion; ramdisk: BlobRef } | { bootOnly: BootOnly }

/** The boot facts of a node; `payload` and `token` belong to its deployment; no payload: it is gone. */
export function bootNodeOf(
  node: Node,
  install?: {
    deployment: Deployment
    payload: Payload | undefined
    addkcmdline?: string // of the osimage
    token: string
  },
): BootNode {
  const { name, mac, ip, arch, netboot, offline, localLoader } = node
  return {
    name,
    mac,
    kernelArgs: [
      // The osimage's own words first: what the node says of its consoles wins.
      ...(install?.payload && 'bootOnly' in install.payload ? words(install.payload.bootOnly.kcmdline) : []),
      ...kernelArgs(node),
      ...words(install?.addkcmdline),
    ],
    ...(ip && { ip }),
    ...(arch && { arch }),
    ...(netboot && { netboot }),
    ...(offline && { offline }),
    ...(localLoader && { localLoader }),
    ...(install && { deployment: deploymentFacts(install) }),
  }
}

type Install = NonNullable<Parameters<typeof bootNodeOf>[1]>

function deploymentFacts({ deployment, payload, token }: Install): NonNullable<BootNode['deployment']> {
  const { id, state, reason } = deployment
  const common = { id, token, image: versionName({ name: deployment.image, version: deployment.version }) }
  if (payload) return { ...common, ...(reason !== undefined && { reason }), state, ...filesOf(payload) }
  // An image that is gone can't be installed; a finished deployment does not need it any more.
  const gone = { kernel: { digest: deployment.digest, bytes: 0 }, initrds: [] }
  if (!isOpen(deployment)) return { ...common, ...gone, state, ...(reason !== undefined && { reason }) }
  return { ...common, ...gone, state: 'failed', reason: `image ${common.image} is missing` }
}

function filesOf(payload: Payload) {
  if ('bootOnly' in payload) {
    const { kernel, initrds } = payload.bootOnly
    return { kernel, initrds, bootOnly: true as const }
  }
  const { image, ramdisk } = payload
  return { kernel: image.kernel, initrds: [ramdisk, image.modules], ...signedOf(image) }
}

const signedOf = ({ arch, shim, grub }: ImageVersion) =>
  shim && grub && arch !== 'ppc64le' ? { signed: { arch, shim, grub } } : {}

/** Consoles as xCAT writes them (the last one named is /dev/console), then the node's own words. */
function kernelArgs({ serialport, serialspeed, serialflow, kcmdline, addkcmdline }: Node): string[] {
  const flow = serialflow === 'hard' ? 'n8r' : ''
  const serial =
    serialport === undefined
      ? []
      : ['console=tty0', `console=ttyS${serialport},${serialspeed ?? 115200}${flow}`]
  return [...serial, ...words(kcmdline), ...words(addkcmdline)]
}

const words = (text: string | undefined) => (text ?? '').split(/\s+/).filter(Boolean)

/** The snapshot after a delta; undefined when the delta is not the next one, so that the whole must be asked for. */
export function applyDelta(snapshot: Snapshot, delta: Delta): Snapshot | undefined {
  if (delta.version !== snapshot.version + 1) return undefined
  const nodes = new Map(snapshot.nodes.map((node) => [node.name, node]))
  for (const name of delta.removed) nodes.delete(name)
  for (const node of delta.changed) nodes.set(node.name, node)
  return { version: delta.version, nodes: [...nodes.values()] }
}

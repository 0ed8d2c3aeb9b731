// The one policy: what does this node boot now? DHCP, TFTP and HTTP all ask here.
import { macWithDashes } from '../address.ts'
import type { DeploymentState } from '../deploy/deployment.ts'
import type { BlobRef } from '../image/version.ts'
import { blobName } from './blob-names.ts'
import type { BootFile, BootNode, BootPlan, KernelPlan, ServerAddress } from './plan.ts'
import { strangerPlan } from './strangers.ts'

type Intent = NonNullable<BootNode['deployment']>

// One row per state; a node without a deployment boots its own disk. `install` of a boot-only osimage boots it.
export const stateBoots: Record<DeploymentState, 'install' | 'local' | 'hold'> = {
  armed: 'install',
  booting: 'install',
  installing: 'install', // the next attempt; what the token allows is decided at /node/start
  installed: 'local',
  booted: 'local',
  failed: 'hold',
  held: 'hold',
  expired: 'hold',
}

/** `undefined`: nothing of ours answers this node. */
export function planBoot(node: BootNode, server: ServerAddress): BootPlan | undefined {
  if (node.offline) return undefined
  if (node.stranger) return strangerPlan(node)
  const { deployment } = node
  if (!deployment) return localPlan(node)
  switch (stateBoots[deployment.state]) {
    case 'install':
      return deployment.bootOnly
        ? bootOnlyPlan(node, deployment, server)
        : installPlan(node, deployment, server)
    case 'local':
      return localPlan(node)
    case 'hold':
      return heldPlan(node, deployment)
  }
}

/** Why it is that plan, for people. */
export function planRule({ name, offline, stranger, deployment }: BootNode): string {
  if (stranger) return 'a screen that waits: nobody has defined this machine (discovery: hold)'
  if (offline) return `nothing: nodeset ${name} offline`
  if (!deployment) return 'its own disk: nothing is to be installed (nodeset NODE osimage=IMAGE)'
  const { image, state, id, bootOnly, reason } = deployment
  const what = { install: bootOnly ? 'boots' : 'install', local: 'its own disk', hold: 'a screen that waits' }
  const why = reason === undefined ? '' : ` (${reason})`
  return `${what[stateBoots[state]]}: deployment ${id} of ${image} is ${state}${why}`
}

/** `http://10.77.0.1`, with the port when it is not 80. */
export function serverUrl({ address, httpPort }: ServerAddress): string {
  return `http://${address}${httpPort === 80 ? '' : `:${httpPort}`}`
}

function installPlan(node: BootNode, intent: Intent, server: ServerAddress): BootPlan {
  const plan = kernelPlan(`${node.name}: install ${intent.image}`, node, intent, server)
  // Kbytes; the kernel's default of 4 MB is too small for older kernels' initrd
  return { kind: 'install', ...plan, args: ['ramdisk_size=200000', ...plan.args] }
}

function bootOnlyPlan(node: BootNode, intent: Intent, server: ServerAddress): BootPlan {
  return { kind: 'boot', ...kernelPlan(`${node.name}: boot ${intent.image}`, node, intent, server) }
}

function kernelPlan(title: string, node: BootNode, intent: Intent, server: ServerAddress): KernelPlan {
  const { token, kernel, initrds } = intent
  return {
    title,
    kernel: bootFile(kernel),
    initrds: initrds.map(bootFile),
    args: [
      ...forScripts(node, intent, server),
      `sysclone.server=${serverUrl(server)}`,
      `sysclone.node=${node.name}`,
      `sysclone.token=${token}`,
      ...node.kernelArgs,
    ],
  }
}

/** xCAT's port for machines that install; nothing of ours listens there. */
const XCATD_PORT = 3001

/**
 * What scripts of xCAT and SystemImager look for on the kernel's command line, under the names that they know. An image is
 * called by its name there, whatever its version.
 */
function forScripts({ mac: [mac] }: BootNode, { image }: Intent, { address }: ServerAddress): string[] {
  const name = image.replace(/:\d+$/, '')
  return [
    ...(mac ? [`ksdevice=${mac}`, `BOOTIF=01-${macWithDashes(mac)}`] : []), // the interface that it netbooted from
    `XCAT=${address}:${XCATD_PORT}`,
    `xcatd=${address}:${XCATD_PORT}`,
    `SCRIPTNAME=${name}`,
    `si.image-server=${address}`,
    `si.image-name=${name}`,
    `si.script-name=${name}`,
  ]
}

function localPlan({ name, localLoader }: BootNode): BootPlan {
  const title = `${name}: boot from its own disk`
  return localLoader ? { kind: 'local', title, loader: localLoader } : { kind: 'local', title }
}

function heldPlan(node: BootNode, { image, state, reason }: Intent): BootPlan {
  const about = `Deployment of ${image} to ${node.name}: ${state}`
  return { ...holdPlan(node, reason, about), title: `${node.name}: ${image} ${state}` }
}

/** A screen that says why nothing is done. */
export function holdPlan({ name }: BootNode, reason?: string, about = `${name} is not booted`): HoldPlan {
  return {
    kind: 'hold',
    title: about,
    lines: [
      about,
      ...(reason ? [`reason: ${reason}`] : []),
      'No disk is touched. The server goes on with:',
      `  nodeset ${name} osimage=IMAGE   to install`,
      `  nodeset ${name} boot            to boot from its own disk`,
    ],
  }
}
type HoldPlan = Extract<BootPlan, { kind: 'hold' }>

const bootFile = ({ digest, bytes }: BlobRef): BootFile => ({
  digest,
  bytes,
  name: blobName(digest),
})

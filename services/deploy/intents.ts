// What an admin asks for with `nodeset`: armed after everything that could go wrong later was looked at.
import { randomBytes } from 'node:crypto'
import type { ImageName, NodeName } from '../../src/address.ts'
import { bootNodeOf } from '../../src/boot/snapshot.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import * as rules from '../../src/deploy/deployment.ts'
import { bootToken } from '../../src/deploy/token.ts'
import { UserError } from '../../src/fault.ts'
import { notDeployable } from '../../src/image/disks.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { bootOnlyOf } from '../../src/image/osimage.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { checkLayout } from '../../src/install/layout.ts'
import type { Node } from '../../src/node/node.ts'
import type { BootView } from './boot-view.ts'
import type { Needs } from './needs.ts'
import type { States } from './states.ts'

export function makeIntents(needs: Needs, states: States, { payloadOf }: Pick<BootView, 'payloadOf'>) {
  const { images, stored, emit, key, now } = needs
  const { ofNode, keep, inOrder, announce, updateNode, known, changed } = states

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
    if (image.kind === 'diskless')
      throw new UserError('a diskless image cannot be booted yet', {
        what: `${versionName(image)} was captured with -t diskless`,
        allowed: 'an image captured with -t sysclone',
        object: name,
      })
    if (arch && arch !== image.arch)
      throw new UserError('the image is for another architecture', {
        what: `${versionName(image)} is ${image.arch}`,
        allowed: arch,
        object: name,
      })
    needs.ramdisk(image.arch) // says what to build when it is not there
    const missing = notDeployable(image.layout)
    if (missing.length > 0)
      throw new UserError('the image cannot be installed yet', {
        what: `${versionName(image)} has ${missing.join('; ')}`,
        allowed: 'ext4, vfat and swap on the partitions of one GPT disk',
        object: name,
      })
    checkLayout(image.layout)
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

  return { arm, setState, stat }
}

/** Nothing comes of it any more. One that is installed still fails when its clone does not come up in time. */
const isDone = ({ state }: Deployment) => state === 'booted'

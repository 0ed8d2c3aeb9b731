// What the routes of the admin API are given; main.ts brings it together.

import type { ImageName, NodeName } from '../../src/address.ts'
import type { Stranger } from '../../src/boot/strangers.ts'
import type { Config } from '../../src/config.ts'
import type { DryWorld } from '../../src/dhcp/dry-run.ts'
import type { ReadFiles } from '../../src/image/osimage.ts'
import type { ImageKind, ImageVersion } from '../../src/image/version.ts'
import type { Job } from '../../src/job.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'
import type { Images } from '../images/store.ts'
import type { ImageSpec } from '../process.ts'
import type { EventLog } from '../record/event-log.ts'
import type { Store } from '../store/store.ts'

export type CaptureRequest = {
  node: NodeName
  image: ImageName
  type?: ImageKind
  excludes?: string[] // of the osimage
  place?: string
  check?: string // only a look: the report goes to this unix socket
  hold?: { snapshot?: boolean; freeze?: string; thaw?: string }
  acceptHostkey?: string
  acceptJumpHostkey?: string
}

export type AdminNeeds = {
  socket: string
  store: Store
  networks: readonly Network[]
  networksAt?: string | undefined // 'FILE:LINE': where a person changes them
  images: {
    list(): ImageVersion[]
    get(name: ImageName, version?: number): ImageVersion | undefined
  }
  imageStore: Pick<
    Images,
    'find' | 'copy' | 'remove' | 'refs' | 'broken' | 'placeOf' | 'numbersOf' | 'blobPath'
  >
  /** The definitions of osimages are made to fit what the image store has now; `like` lends its own to a copy. */
  imagesChanged(like?: ImageName): Promise<void>
  /** Work on the image store, in a process of its own. */
  startJob(spec: ImageSpec): Promise<{ job: string }>
  jobUsing(version: { name: ImageName; version: number }): Job | undefined
  deploy: {
    /** Answers with xCAT's word for it: 'sysclone debian12-x86_64'. */
    arm(node: NodeName, image: ImageName, version?: number): Promise<string>
    setState(node: NodeName, state: 'boot' | 'offline'): Promise<string>
    stat(node: NodeName): Promise<string>
  }
  capture(request: CaptureRequest): Promise<{ job: string }>
  /** The public half of the key that we log in with. */
  publicIdentity(): Promise<{ publicKey: string; fingerprint: string; path: string }>
  /** Reads files on the server and keeps what they hold. */
  keepFiles(paths: string[]): Promise<ReadFiles>
  leases(): Promise<unknown[]>
  /** Unknown machines that wait to be adopted. */
  strangers(): Promise<Stranger[]>
  /** What answers depend on, of this configuration or of another. */
  dryWorld(config?: Config): Promise<DryWorld>
  nodesChanged(names: NodeName[]): void
  events: Pick<EventLog, 'subscribe' | 'after' | 'knowsAfter'>
  emit: Emit
}

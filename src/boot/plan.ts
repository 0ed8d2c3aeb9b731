// What the boot process knows of a node, and what a loader is told to do. Facts only: policy.ts decides, renderers write.
import type { Digest, Ipv4, Mac, NodeName } from '../address.ts'
import type { DeploymentState } from '../deploy/deployment.ts'
import type { Arch, BlobRef } from '../image/version.ts'
import type { LocalLoader, Netboot } from '../node/node.ts'
import type { ImageUrl } from './image-url.ts'

/** One node of the snapshot that main pushes to the boot process. */
export type BootNode = {
  name: NodeName
  mac: Mac[]
  ip?: Ipv4
  arch?: Arch
  netboot?: Netboot
  offline?: boolean // nothing answers this node
  /** It is no node but a machine that waits to be adopted (strangers.ts). */
  stranger?: { code?: string; uuid?: string }
  kernelArgs: string[] // consoles, kcmdline, addkcmdline: everything that does not depend on the server's address
  localLoader?: LocalLoader
  deployment?: {
    id: string
    state: DeploymentState
    image: string // 'img:3'
    token: string // boot token of the present attempt, hex
    reason?: string
    kernel: BlobRef
    initrds: BlobRef[] // in load order: ramdisk template, modules of the image
    bootOnly?: true // kernel and initrds as given; nothing of ours is in them
    signed?: SignedLoaders
  }
}

/** Shim and GRUB of the image itself: they take the kernels that its distribution signed, those of others do not. */
export type SignedLoaders = { arch: SignedArch; shim: BlobRef; grub: BlobRef }
export type SignedArch = Exclude<Arch, 'ppc64le'>

/** `version` counts up with each push; a delta applies to exactly `version - 1`. */
export type Snapshot = { version: number; nodes: BootNode[] }
export type Delta = { version: number; changed: BootNode[]; removed: NodeName[] }

/** A file that a loader fetches, under all the names it is known by. */
export type BootFile = { digest: Digest; bytes: number; name: string }

/** A kernel to be started. */
export type KernelPlan = { title: string; kernel: BootFile; initrds: BootFile[]; args: string[] }
export type BootPlan =
  | ({ kind: 'install' } & KernelPlan)
  | ({ kind: 'boot' } & KernelPlan) // a boot-only osimage
  | { kind: 'local'; title: string; loader?: LocalLoader }
  /** `asksOn`: an unknown machine; its loader asks again every half minute and says its serial number. */
  | { kind: 'hold'; title: string; lines: string[]; asksOn?: Mac }

/** Our own addresses as one client sees them; ports as configured. `images`: servers that have our blobs and are asked first. */
export type ServerAddress = {
  address: Ipv4
  httpPort: number
  imagePort: number
  images?: ImageUrl[]
  proxy?: true // another DHCP server gives this network its addresses
}

// An image version: what was captured, from what machine, and the blobs that hold it. Immutable.
import type { Digest, ImageName } from '../address.ts'
import type { DiskLayout } from './disk-layout.ts'
import type { GoldenFacts } from './golden-facts.ts'

export type Arch = 'x86_64' | 'aarch64' | 'ppc64le'

/** A blob of the image store or of the boot files: fetched as `/blobs/sha256/HEX`. */
export type BlobRef = { digest: Digest; bytes: number }

/**
 * One tar+zstd layer. Those with `directories` hold directory entries: they are unpacked after all others, one after the
 * other in the order of the version. Later layers replace and remove what earlier ones hold; without the members that
 * `superseded` names, layers are disjoint.
 */
export type Layer = BlobRef & {
  diffId: Digest // sha256 of the uncompressed tar
  tarBytes: number // uncompressed
  entryCount: number
  directories: boolean
  whiteouts?: number // members that say of an earlier layer's member that it is gone; absent: none
  superseded?: BlobRef // zstd of a text for `tar -X` (src/image/superseded.ts); absent: all members count
}

/** The osimage's kind: installed onto a disk, or booted in RAM. */
export type ImageKind = 'sysclone' | 'diskless'

export type ImageVersion = {
  name: ImageName
  version: number // 1, 2, ...
  digest: Digest // of the OCI image manifest
  createdAt: string // ISO 8601
  source: string // name of the golden client
  arch: Arch
  firmware: 'bios' | 'uefi' // of the golden client
  os: { id: string; version: string; name: string } // os-release: ID, VERSION_ID, PRETTY_NAME
  kernelRelease: string // '6.1.0-37-amd64'
  kernel: BlobRef // public: loaders fetch it
  modules: BlobRef // public: an initramfs (cpio, gzip) with the modules of that kernel
  layers: Layer[]
  manifest: BlobRef // the file manifest, zstd
  layout: DiskLayout
  facts?: GoldenFacts // absent from images of before
  scrub?: string // 'machine-id:regenerate ...': the rules that it was made with; absent: the defaults
  preflight?: BlobRef // JSON, see preflight.ts: what of identities and secrets was found
  sshHostKeyTypes: string[] // ['ed25519', 'ecdsa']: the clone makes keys of the same types
  tarBytes: number // sum over layers, uncompressed
  origin?: string // how it came to be, other than by a capture: 'squash of img:3', 'import of DIR'
  place?: string // the OCI image layout that holds it; absent: the image store itself
  kind?: 'diskless' // absent: sysclone
  base?: string // 'img:1': the version that its older layers come from; absent: all layers are its own
  excludes?: string[] // what was left out beside the defaults, as exclude= has it; absent: nothing, or not known
  initrd?: BlobRef // the image's own initramfs
  shim?: BlobRef // signed by the distribution, as `grub`
  grub?: BlobRef
  netbootKey?: string // equal as long as nothing changes that kernel, modules and the three above are made of
  report?: BlobRef // JSON, see src/image/capture-report.ts
}

/** `img:3`; a boot-only osimage has no versions and is `rescue`. */
export const versionName = ({ name, version }: { name: string; version?: number | undefined }): string =>
  version === undefined ? name : `${name}:${version}`

// What loaders fetch of an image, taken out of the image itself: its kernel, its modules for the ramdisk, its own
// initramfs, and the loaders that its distribution has signed.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { filesystemsOf } from '../../src/image/disks.ts'
import type { Probe } from '../../src/image/probe.ts'
import type { Row } from '../../src/image/rows.ts'
import type { Arch, BlobRef, ImageVersion } from '../../src/image/version.ts'
import type { Stage } from '../images/stage.ts'
import type { Images } from '../images/store.ts'
import type { CapturedFiles } from './modules.ts'
import { buildModules, openCaptured, readKernel } from './modules.ts'

export type Netboot = Pick<ImageVersion, 'kernel' | 'modules' | 'netbootKey' | 'initrd' | 'shim' | 'grub'>

type NetbootFacts = Pick<Probe, 'arch' | 'os' | 'kernelRelease' | 'kernelPath' | 'loadedModules' | 'layout'>

type Needs = {
  stage: Stage
  images: Images
  /** Of the machine; of an image that was built elsewhere, what is known without it. */
  probe: NetbootFacts
  /** Rows of the version that is being made, in any order. */
  rows: () => Iterable<Row>
  layerPaths: string[] // of its layers
  base: ImageVersion | undefined
}

const efiSuffix: Record<Arch, string> = { x86_64: 'x64', aarch64: 'aa64', ppc64le: 'none' }

/** Where distributions keep them, the best first. GRUB: one that can load over the network, then that of the disk. */
const places = {
  initrd: ({ release }: Names) => [
    `boot/initrd.img-${release}`,
    `boot/initramfs-${release}.img`,
    `boot/initrd-${release}`,
    `usr/lib/modules/${release}/initrd`,
  ],
  shim: ({ suffix, id, arch }: Names) => [
    `usr/lib/shim/shim${suffix}.efi.signed`,
    `usr/share/efi/${arch}/shim.efi`,
    ...['boot/efi', 'efi'].map((esp) => `${esp}/EFI/${id}/shim${suffix}.efi`),
  ],
  grub: ({ suffix, id, arch }: Names) => [
    `usr/lib/grub/${arch === 'aarch64' ? 'arm64' : arch}-efi-signed/grubnet${suffix}.efi.signed`,
    `usr/share/efi/${arch}/grub.efi`,
    ...['boot/efi', 'efi'].map((esp) => `${esp}/EFI/${id}/grub${suffix}.efi`),
  ],
}
type Names = { release: string; suffix: string; id: string; arch: Arch }

/** Stages them; those of the version before are taken when nothing has changed that they are made of. */
export async function netbootFiles({
  stage,
  images,
  probe,
  rows,
  layerPaths,
  base,
}: Needs): Promise<Netboot> {
  const release = probe.kernelRelease
  const filesystems = filesystemsOf(probe.layout).map(({ type }) => type)
  const wanted = wantedRows(rows(), probe)
  const netbootKey = keyOf(wanted, [
    release,
    probe.kernelPath,
    ...probe.loadedModules.toSorted(),
    '',
    ...filesystems,
  ])
  if (base?.netbootKey === netbootKey) {
    const { kernel, modules, initrd, shim, grub } = base
    return {
      kernel,
      modules,
      netbootKey,
      ...(initrd && { initrd }),
      ...(shim && { shim }),
      ...(grub && { grub }),
    }
  }
  const readers = await Promise.all(layerPaths.map((path) => images.openLayer(path)))
  try {
    const files = openCaptured(
      wanted.map(({ line }) => line),
      readers,
    )
    const store = async (content: Buffer) => refOf(await stage.writeBlob([content]))
    const names = { release, suffix: efiSuffix[probe.arch], id: probe.os.id, arch: probe.arch }
    const kernel = await store(await readKernel(files, probe.kernelPath))
    const workDir = join(stage.path, 'modules')
    const modules = await store(
      await buildModules({ files, release, loaded: probe.loadedModules, filesystems, workDir }),
    )
    const others: Pick<Netboot, 'initrd' | 'shim' | 'grub'> = {}
    for (const name of ['initrd', 'shim', 'grub'] as const) {
      const content = await firstOf(files, places[name](names))
      if (content !== undefined) others[name] = await store(content)
    }
    return { kernel, modules, netbootKey, ...others }
  } finally {
    await Promise.all(readers.map((reader) => reader.close()))
  }
}

const refOf = ({ digest, bytes }: BlobRef): BlobRef => ({ digest, bytes })

async function firstOf(files: CapturedFiles, paths: string[]): Promise<Buffer | undefined> {
  for (const path of paths) {
    const content = await files.read(path)
    if (content !== undefined) return content
  }
  return undefined
}

/** What can be asked for: a few thousand of however many rows there are. */
function wantedRows(rows: Iterable<Row>, { kernelRelease, kernelPath }: NetbootFacts): Row[] {
  const below = ['boot/', `lib/modules/${kernelRelease}/`, `usr/lib/modules/${kernelRelease}/`]
  below.push('efi/', 'usr/lib/shim/', 'usr/lib/grub/', 'usr/share/efi/')
  const found: Row[] = []
  for (const row of rows) {
    const isLink = row.type === 'l' && row.path.split('/').length <= 3 // lib -> usr/lib
    if (isLink || row.path === kernelPath || below.some((folder) => row.path.startsWith(folder)))
      found.push(row)
  }
  return found
}

/** The same as long as none of these files changes: rows without their place in the layers. */
function keyOf(rows: Row[], facts: string[]): string {
  const hash = createHash('sha256').update(facts.join('\n'))
  for (const { compare, line } of rows.toSorted((a, b) => (a.path < b.path ? -1 : 1)))
    hash.update(`\n${compare}\t${line.split('\t')[9]}`, 'latin1')
  return hash.digest('hex')
}

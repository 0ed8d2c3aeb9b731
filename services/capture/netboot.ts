// What loaders fetch of an image, taken out of the image itself: its kernel, its modules for the ramdisk, its own
// initramfs, and the loaders that its distribution has signed.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { filesystemsOf } from '../../src/image/disks.ts'
import type { Probe } from '../../src/image/probe.ts'
import type { Row } from '../../src/image/rows.ts'
import type { BlobRef, ImageVersion } from '../../src/image/version.ts'
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

/** Where distributions keep their initramfs. */
const initrdPlaces = (release: string): string[] => [
  `boot/initrd.img-${release}`,
  `boot/initramfs-${release}.img`,
  `boot/initrd-${release}`,
  `usr/lib/modules/${release}/initrd`,
]
/** Folders of the EFI system partition that are not called as os-release calls the distribution. */
const vendorFolders: Record<string, string> = {
  rhel: 'redhat',
  ol: 'redhat', // Oracle Linux
  'opensuse-leap': 'opensuse',
  'opensuse-tumbleweed': 'opensuse',
}
const unfitOnDisk = ['debian', 'ubuntu'] // their GRUB on the disk has no network
type LoaderPlace = { shim: string; grub: string }

/**
 * Shim and the GRUB that it loads over the network: of Debian and Ubuntu, of SUSE, of all whose GRUB on the disk can do
 * both.
 */
function signedPlaces({ arch, os: { id } }: Pick<NetbootFacts, 'arch' | 'os'>): LoaderPlace[] {
  if (arch === 'ppc64le') return []
  const suffix = arch === 'x86_64' ? 'x64' : 'aa64'
  const platform = arch === 'x86_64' ? 'x86_64-efi' : 'arm64-efi'
  const ofDebian = `usr/lib/grub/${platform}-signed/grubnet${suffix}.efi.signed`
  const vendor = Object.hasOwn(vendorFolders, id) ? vendorFolders[id]! : id
  const onDisk = unfitOnDisk.includes(id) ? [] : ['boot/efi', 'efi'].map((esp) => `${esp}/EFI/${vendor}`)
  return [
    { shim: `usr/lib/shim/shim${suffix}.efi.signed`, grub: ofDebian },
    { shim: `usr/share/efi/${arch}/shim.efi`, grub: `usr/share/efi/${arch}/grub.efi` },
    ...onDisk.map((folder) => ({
      shim: `${folder}/shim${suffix}.efi`,
      grub: `${folder}/grub${suffix}.efi`,
    })),
  ]
}

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
    '',
    ...signedPlaces(probe).map(({ shim }) => shim), // a version made when fewer were known may lack them
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
  const readers = await images.openLayers(layerPaths)
  try {
    const files = openCaptured(
      wanted.map(({ line }) => line),
      readers,
    )
    const store = async (content: Buffer) => refOf(await stage.writeBlob([content]))
    const kernel = await store(await readKernel(files, probe.kernelPath))
    const workDir = join(stage.path, 'modules')
    const modules = await store(
      await buildModules({ files, release, loaded: probe.loadedModules, filesystems, workDir }),
    )
    const initrd = await firstOf(files, initrdPlaces(release))
    const signed = await signedLoaders(files, probe)
    return {
      ...{ kernel, modules, netbootKey },
      ...(initrd && { initrd: await store(initrd) }),
      ...(signed && { shim: await store(signed.shim), grub: await store(signed.grub) }),
    }
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

/** Both or none: a shim takes no other distribution's GRUB. */
export async function signedLoaders(
  files: Pick<CapturedFiles, 'read'>,
  probe: Pick<NetbootFacts, 'arch' | 'os'>,
) {
  for (const place of signedPlaces(probe)) {
    const [shim, grub] = [await files.read(place.shim), await files.read(place.grub)]
    if (shim && grub) return { shim, grub }
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

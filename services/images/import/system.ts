// What a capture learns from its golden client, read from the files of an image.
import { UserError } from '../../../src/fault.ts'
import { renderManifestLine } from '../../../src/image/compare-line.ts'
import type { LayoutFile } from '../../../src/image/layout-file.ts'
import {
  archByName,
  archOfProgram,
  hostKeyTypesOf,
  kernelPlaces,
  kernelReleases,
  noKernel,
  osOfRelease,
  programPlaces,
} from '../../../src/image/system-facts.ts'
import type { Arch, ImageVersion } from '../../../src/image/version.ts'
import type { LayerReader } from '../layer.ts'
import type { Member, relay } from '../relay.ts'
import type { SystemFiles, Work } from './needs.ts'

type Laid = {
  laid: Awaited<ReturnType<typeof relay>>
  readers: readonly LayerReader[]
  layout: LayoutFile
  archName: string | undefined
}

/** What a capture learns from its golden client, read from the files; kernel and modules, staged. */
export async function systemOf(work: Work, { laid, readers, layout, archName }: Laid) {
  const { build, choose, source, stage } = work
  const paths = new Set(laid.members.map(({ facts }) => facts.path))
  const files = build.open(linesOf(laid.members), readers)
  const kernelRelease = chosenRelease(kernelReleases(paths), choose.kernel)
  const arch = await archOf(files, archName)
  const osRelease = (await files.read('etc/os-release')) ?? (await files.read('usr/lib/os-release'))
  const from = (await files.read('etc/systemimager/IMAGE_RETRIEVED_FROM'))?.toString('utf8').trim()
  if (!['usr/sbin/grub-install', 'usr/sbin/grub2-install'].some((path) => paths.has(path)))
    work.progress.note('it has no grub-install: a clone of it will not be able to start from its disk')
  const os = osOfRelease(osRelease?.toString('utf8') ?? '')
  const layerPaths = laid.layers.map(({ digest }) => stage.blobs.find((blob) => blob.digest === digest)!.path)
  const system = { arch, os, kernelRelease, layout: layout.layout }
  return {
    ...(await netbootBlobs(work, { laid: laid.members, readers, layerPaths, system, files })),
    source: /^[\w.-]{1,64}$/.test(from ?? '')
      ? from!
      : source.slice(source.lastIndexOf('/') + 1).slice(0, 64),
    ...{ arch, os, kernelRelease },
    sshHostKeyTypes: layout.sshHostKeyTypes ?? hostKeyTypesOf((path) => paths.has(path)),
  }
}

function chosenRelease(found: readonly string[], wanted: string | undefined): string {
  if (found.length === 0) throw noKernel()
  if (wanted === undefined || found.includes(wanted)) return wanted ?? found[0]!
  throw new UserError('the image has no such kernel', { what: wanted, allowed: found.join(' ') })
}

type Bootable = {
  laid: readonly Member[]
  readers: readonly LayerReader[]
  layerPaths: string[]
  system: Pick<ImageVersion, 'arch' | 'os' | 'kernelRelease' | 'layout'>
  files?: SystemFiles // opened before
}

/** Kernel and modules, and what else loaders fetch. Throws UserError when there is no kernel of that release. */
export async function netbootBlobs(
  { build, stage, images }: Work,
  { laid, readers, layerPaths, system, ...opened }: Bootable,
) {
  const lines = linesOf(laid)
  const files = opened.files ?? build.open(lines, readers)
  const places = kernelPlaces(system.kernelRelease)
  for (const kernelPath of places)
    if (await files.read(kernelPath))
      return build.netboot({ stage, images, lines, layerPaths, system: { ...system, kernelPath } })
  throw new UserError('the kernel is not in the image', {
    what: system.kernelRelease,
    allowed: places.map((place) => `/${place}`).join(', '),
  })
}

/** Made anew each time that they are asked for: as texts they take more room than as members. */
const linesOf = (members: readonly Member[]): Iterable<string> => ({
  *[Symbol.iterator]() {
    for (const { facts, stored } of members) yield renderManifestLine(facts, stored)
  },
})

async function archOf(files: SystemFiles, archName: string | undefined): Promise<Arch> {
  for (const place of programPlaces) {
    const program = await files.read(place)
    const arch = program && archOfProgram(program)
    if (arch) return arch
  }
  const said = archName === undefined ? undefined : archByName(archName)
  if (said) return said
  throw new UserError('the architecture of the image is not known', {
    what: `no program at ${programPlaces.map((place) => `/${place}`).join(', ')}`,
    allowed: 'x86_64, aarch64, ppc64le',
  })
}

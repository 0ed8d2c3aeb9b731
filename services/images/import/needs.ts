// What all parts of an import are given.
import type { ImageName } from '../../../src/address.ts'
import type { ImageKind, ImageVersion } from '../../../src/image/version.ts'
import type { LayerReader } from '../layer.ts'
import type { Stage } from '../stage.ts'
import type { Images } from '../store.ts'
import type { WorkProgress } from '../work-progress.ts'

export type SystemFiles = { read(path: string): Promise<Buffer | undefined> }
export type Netboot = Pick<ImageVersion, 'kernel' | 'modules' | 'netbootKey' | 'initrd' | 'shim' | 'grub'>
/** As a capture does it: services/capture/modules.ts and netboot.ts. `lines` are those of a manifest. */
type Build = {
  open(lines: Iterable<string>, readers: readonly LayerReader[]): SystemFiles
  /** Stages what nodes netboot. */
  netboot(needs: {
    stage: Stage
    images: Images
    lines: Iterable<string> // more than once
    layerPaths: string[]
    system: Pick<ImageVersion, 'arch' | 'os' | 'kernelRelease' | 'layout'> & { kernelPath: string }
  }): Promise<Netboot>
}
export type ImportNeeds = {
  images: Images
  image: ImageName
  source: string // a path on the server
  layout?: string // the text of a layout file
  place?: string
  is?: ImageKind // what the name stands for already
  excludes?: readonly string[] // words of the osimage's exclude=
  scrub?: readonly string[] // words of its scrub=
  choose: { ref?: string; arch?: string; kernel?: string }
  build: Build
  progress: WorkProgress
  signal: AbortSignal
  now: Date
  makeUuid: () => string
}
/** `stage` is published; `scratch` holds what is needed on the way. */
export type Work = ImportNeeds & { stage: Stage; scratch: Stage }

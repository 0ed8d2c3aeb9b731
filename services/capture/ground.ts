// What a capture builds upon, before anything is heard of the golden client: the version before, and what an earlier attempt
// had received.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ImageName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Stage } from '../images/stage.ts'
import type { Images } from '../images/store.ts'
import { sortRows } from './listing.ts'
import type { Progress } from './progress.ts'
import { type SalvagedLayer, salvage } from './salvage.ts'

type Needs = { images: Images; image: ImageName; progress: Pick<Progress, 'note'> }

export type Ground = {
  base: ImageVersion | undefined
  salvaged: SalvagedLayer[]
  folder: string // for lists
  baseRows: string[] // file of the rows of `base`, in the order of paths
}

export async function layGround(stage: Stage, needs: Needs): Promise<Ground> {
  const base = baseOf(needs)
  const salvaged = await salvage(stage, base?.layers.length ?? 0)
  const folder = join(stage.path, 'lists')
  mkdirSync(folder)
  const baseRows = base ? [join(folder, 'base')] : []
  if (base) await sortRows(baseRows[0]!, needs.images.blobPath(base.manifest.digest), folder)
  return { base, salvaged, folder, baseRows }
}

/** The newest version, whatever machine it is of; one that is damaged is not built upon. */
function baseOf({ images, image, progress }: Needs): ImageVersion | undefined {
  try {
    return images.get(image)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    progress.note(`the version before is not used: ${error.message}`)
    return undefined
  }
}

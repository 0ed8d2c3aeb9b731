// The rows of the database about images: made anew from the image store, which is the truth about them.
import type { ImageName } from '../src/address.ts'
import { type Osimage, osimageOf } from '../src/image/osimage.ts'
import type { Images } from './images/store.ts'
import type { Store } from './store/store.ts'

type Needs = { osimages: Store['osimages']; images: Images; imagesDir: string }

export function imageRows({ osimages, images, imagesDir }: Needs) {
  async function describe() {
    const newest = new Map(images.list().map((version) => [version.name, version]))
    for (const version of newest.values()) {
      const before = await osimages.get(version.name)
      await osimages.put(osimageOf(version, version.place ?? imagesDir, before))
    }
    // What lies on a disk that is not mounted is not gone.
    if (images.broken().length > 0) return
    for (const { captured, ...image } of await osimages.list())
      if (captured && !newest.has(image.name)) await osimages.put(image)
  }

  async function changed(like?: ImageName) {
    const model = like && (await osimages.get(like))
    if (model) await lendDefinition(model)
    await describe()
  }

  /** A copy has what a person set for what it is a copy of. */
  async function lendDefinition({ captured: _, ...model }: Osimage) {
    const defined = new Set((await osimages.list()).map(({ name }) => name))
    const fresh = new Set(images.list().map(({ name }) => name))
    for (const name of fresh) if (!defined.has(name)) await osimages.put({ ...model, name })
  }

  return { describe, changed }
}

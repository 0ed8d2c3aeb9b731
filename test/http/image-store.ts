// What the admin API needs of the image store, over versions that a test makes up.
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { UserError } from '../../src/fault.ts'
import type { ImageVersion } from '../../src/image/version.ts'

type ImageNeeds = Pick<AdminNeeds, 'imageStore' | 'imagesChanged' | 'startJob' | 'jobUsing'>

export function imageNeeds(versions: readonly ImageVersion[] = []): ImageNeeds {
  const named = (name: string) => versions.filter((version) => version.name === name)
  return {
    imageStore: {
      find({ name, version }) {
        const found = named(name).findLast((each) => version === undefined || each.version === version)
        if (found) return found
        throw new UserError('no such image', { what: name, object: name, status: 404 })
      },
      copy: async (from, name) => ({
        ...versions.find((each) => each.version === from.version)!,
        name,
        version: 1,
      }),
      remove: async () => ({ blobs: 1, bytes: 2_000_000 }),
      refs: ({ layers = [] }) => layers,
      broken: () => [],
      placeOf: () => ({ path: '/images' }) as never,
      blobPath: (digest) => `/images/${digest}`,
      numbersOf: (name) => named(name).map(({ version }) => version),
    },
    imagesChanged: async () => {},
    startJob: async () => ({ job: 'j2' }),
    jobUsing: () => undefined,
  }
}

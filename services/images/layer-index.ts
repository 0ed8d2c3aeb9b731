// What a layer of the store holds, read from the layer itself.
import { createHash } from 'node:crypto'
import { UserError, WireError } from '../../src/fault.ts'
import type { LayerMember } from '../../src/image/archive-index.ts'
import { indexArchive } from '../../src/image/archive-index.ts'
import type { Layer } from '../../src/image/version.ts'
import type { LayerReader } from './layer.ts'

/** Throws UserError when the layer is not what its records say. */
export async function indexLayer(
  reader: LayerReader,
  { digest, diffId }: Pick<Layer, 'digest' | 'diffId'>,
  progress: (bytes: number) => void,
): Promise<readonly LayerMember[]> {
  const index = indexArchive()
  const archive = createHash('sha256')
  try {
    for await (const piece of reader.from(0)) {
      archive.update(piece)
      index.push(piece)
      progress(piece.length)
    }
    index.end()
  } catch (error) {
    if (error instanceof WireError) throw damaged(digest, error.message)
    throw error
  }
  const found = `sha256:${archive.digest('hex')}`
  if (found !== diffId) throw damaged(digest, `its archive is ${found}, not ${diffId}`)
  return index.members
}

const damaged = (object: string, what: string) =>
  new UserError('layer is damaged', {
    what,
    allowed: 'sysclone fsck shows what else is',
    object,
    status: 500,
  })

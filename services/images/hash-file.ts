// The digest of a file as it is on disk.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import type { Digest } from '../../src/address.ts'

/** @param progress called with the bytes of each piece that was read */
export async function hashFile(path: string, progress: (bytes: number) => void = () => {}): Promise<Digest> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer)
    progress((chunk as Buffer).length)
  }
  return `sha256:${hash.digest('hex')}` as Digest
}

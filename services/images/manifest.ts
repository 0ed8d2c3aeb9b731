// The file manifest of a version as a blob: one line a path (src/image/compare-line.ts), zstd.
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { constants, createZstdDecompress, zstdCompress } from 'node:zlib'
import { UserError } from '../../src/fault.ts'
import type { FileFacts, Stored } from '../../src/image/compare-line.ts'
import { renderManifestLine } from '../../src/image/compare-line.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Images } from './store.ts'

const compress = promisify(zstdCompress)

/** Calls `line` with each of them; paths in it are one character a byte. Throws UserError when the blob is damaged. */
export async function readManifest(
  images: Pick<Images, 'placeOf'>,
  version: ImageVersion,
  line: (line: string) => void,
): Promise<void> {
  let rest = ''
  const path = images.placeOf(version).blobPath(version.manifest.digest)
  try {
    await pipeline(createReadStream(path), createZstdDecompress(), async (stream: AsyncIterable<Buffer>) => {
      for await (const chunk of stream) {
        const lines = (rest + chunk.toString('latin1')).split('\n')
        rest = lines.pop()!
        for (const each of lines) line(each)
      }
    })
  } catch (error) {
    if (error instanceof UserError) throw error
    throw damaged(version, (error as Error).message)
  }
  if (rest !== '') throw damaged(version, 'its last line is cut')
}

const damaged = (version: ImageVersion, what: string) =>
  new UserError('the file manifest is damaged', {
    what,
    allowed: 'sysclone fsck shows what else is',
    object: versionName(version),
    status: 500,
  })

/** The blob's content, sorted as the manifest of a capture is. */
export async function renderManifest(
  members: readonly { facts: FileFacts; stored: Stored }[],
): Promise<Buffer> {
  const lines = members.map(({ facts, stored }) => `${renderManifestLine(facts, stored)}\n`).sort()
  const params = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 }
  return compress(Buffer.from(lines.join(''), 'latin1'), { params })
}

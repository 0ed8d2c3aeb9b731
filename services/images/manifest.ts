// The file manifest of a version as a blob: one line a path (src/image/compare-line.ts), zstd.
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib'
import { UserError } from '../../src/fault.ts'
import type { FileFacts, Stored } from '../../src/image/compare-line.ts'
import { parseManifestLine, renderCompareLine, renderManifestLine } from '../../src/image/compare-line.ts'
import type { TreeEntry } from '../../src/image/tree.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Images } from './store.ts'

const PIECE = 10_000 // lines

/** Calls `line` with each of them; paths in it are one character a byte. Throws UserError when the blob is damaged. */
export async function readManifest(
  images: Pick<Images, 'placeOf'>,
  version: ImageVersion,
  line: (line: string) => void,
): Promise<void> {
  return readLines(images.placeOf(version).blobPath(version.manifest.digest), versionName(version), line)
}

async function readLines(path: string, object: string, line: (line: string) => void): Promise<void> {
  let rest = ''
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
    throw damaged(object, (error as Error).message)
  }
  if (rest !== '') throw damaged(object, 'its last line is cut')
}

const damaged = (object: string, what: string) =>
  new UserError('the file manifest is damaged', {
    what,
    allowed: 'sysclone fsck shows what else is',
    object,
    status: 500,
  })

/** What the manifest says beyond the archives, by path. Throws UserError when it and the layers do not agree. */
export async function checkManifest(
  path: string,
  object: string,
  entries: readonly TreeEntry[],
): Promise<Map<string, Pick<Stored, 'inode' | 'ctimeNs'>>> {
  const there = new Map(entries.map((entry) => [entry.facts.path, renderCompareLine(entry.facts)]))
  const known = new Map<string, Pick<Stored, 'inode' | 'ctimeNs'>>()
  const disagree = (wrong: string) =>
    new UserError('the file manifest and the layers do not agree', { what: `/${wrong}`, object, status: 500 })
  await readLines(path, object, (line) => {
    const {
      sha256: _,
      xattrs: __,
      layer: ___,
      offset: ____,
      inode,
      ctimeNs,
      ...facts
    } = parseManifestLine(line)
    if (there.get(facts.path) !== renderCompareLine(facts)) throw disagree(facts.path)
    there.delete(facts.path)
    known.set(facts.path, {
      ...(inode !== undefined && { inode }),
      ...(ctimeNs !== undefined && { ctimeNs }),
    })
  })
  for (const missing of there.keys()) throw disagree(missing)
  return known
}

/** The blob's content, sorted as the manifest of a capture is. */
export function renderManifest(
  members: readonly { facts: FileFacts; stored: Stored }[],
): AsyncIterable<Buffer> {
  const lines = members.map(({ facts, stored }) => `${renderManifestLine(facts, stored)}\n`).sort()
  // No string, and no buffer, is as long as the lines of many millions of files.
  function* pieces() {
    for (let at = 0; at < lines.length; at += PIECE)
      yield Buffer.from(lines.slice(at, at + PIECE).join(''), 'latin1')
  }
  const params = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 }
  const zstd = createZstdCompress({ params })
  pipeline(Readable.from(pieces()), zstd).catch(() => {}) // is a fault of what is read from it
  return zstd
}

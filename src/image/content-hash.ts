// sha256 of a file's content as a program on the machine would read it: holes of sparse files are zeros.
import { createHash, hash } from 'node:crypto'
import type { TarEntry } from './tar.ts'
import { holesExceed, readTar } from './tar.ts'

// /var/log/lastlog may claim a terabyte of holes: nobody gains from hashing those.
const MAX_HOLES = 4 * 2 ** 30
const zeros = Buffer.alloc(1 << 20)

/** Fed with the runs of real data in order. `digest` is undefined where there is too much nothing to hash. */
export function contentHash(entry: TarEntry) {
  const hash = createHash('sha256')
  const skip = holesExceed(entry, MAX_HOLES)
  const extents = entry.extents ?? [{ offset: 0, length: entry.storedBytes }]
  let run = 0 // which run is being fed
  let inRun = 0
  let position = 0

  function fillTo(offset: number) {
    while (position < offset) {
      const length = Math.min(zeros.length, offset - position)
      hash.update(zeros.subarray(0, length))
      position += length
    }
  }
  function update(chunk: Buffer) {
    if (skip) return
    for (let at = 0; at < chunk.length; ) {
      const { offset, length } = extents[run]!
      if (inRun === length) {
        run++
        inRun = 0
        continue
      }
      if (inRun === 0) fillTo(offset)
      const part = chunk.subarray(at, at + length - inRun)
      hash.update(part)
      at += part.length
      inRun += part.length
      position += part.length
    }
  }
  function digest(): string | undefined {
    if (skip) return undefined
    fillTo(entry.facts.size ?? 0)
    return hash.digest('hex')
  }
  return { update, digest }
}

/** Reads an archive that is fed to it; `done` gets each member with the sha256 of its content, where it has one of its own. */
export function readHashedTar(done: (entry: TarEntry, sha256: string | undefined) => void) {
  let content: ReturnType<typeof contentHash> | undefined
  let whole: string | undefined // of what came in one piece, as most files do: an object for each would take longer
  const hasContent = ({ facts, hardLinkTo }: TarEntry) => facts.type === 'f' && hardLinkTo === undefined
  return readTar({
    entry() {
      content = undefined
      whole = undefined
    },
    data(entry, chunk) {
      if (chunk.length === entry.storedBytes && entry.extents === undefined) {
        whole = hash('sha256', chunk)
        return
      }
      content ??= contentHash(entry)
      content.update(chunk)
    },
    done(entry) {
      if (!hasContent(entry)) return done(entry, undefined)
      done(entry, whole ?? (content ?? contentHash(entry)).digest())
    },
  })
}

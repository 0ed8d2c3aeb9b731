// One layer: archived on the golden client, indexed while it is written into the store's staging folder.
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Digest } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { FileFacts, ListedFile, Stored } from '../../src/image/compare-line.ts'
import { contentHash } from '../../src/image/content-hash.ts'
import type { TarEntry } from '../../src/image/tar.ts'
import { readTar } from '../../src/image/tar.ts'
import type { Report } from '../../src/image/tar-report.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import type { Layer } from '../../src/image/version.ts'
import type { Frame } from '../../src/image/zstd-frames.ts'
import { renderSeekTable } from '../../src/image/zstd-frames.ts'
import type { Stage } from '../images/stage.ts'
import type { Running, Ssh } from '../remote/ssh.ts'
import type { LayerFrame } from './frames.ts'
import { madeFrames, receivedFrames } from './frames.ts'

const MAX_STDERR = 1 << 20

/** A member with all that the manifest says of it. */
export type Member = { facts: FileFacts; stored: Stored }
export type CapturedLayer = { layer: Layer; path: string; members: Member[]; report: Report }

export type LayerNeeds = {
  ssh: Ssh
  script: string // bootfiles/capture/archive.sh
  root: string
  compress: boolean // the golden client can
  stage: Stage
  index: number
  files: readonly ListedFile[]
  progress: (tarBytes: number, wireBytes: number) => void // of this piece
}

export async function captureLayer(needs: LayerNeeds): Promise<CapturedLayer> {
  const { ssh, script, root, compress, stage, files } = needs
  const names = Buffer.from(files.map((file) => `${file.path}\0`).join(''), 'latin1')
  const running = await ssh.runScript(script, [root, compress ? 'zstd' : 'plain'], Readable.from([names]))
  const said = collect(running.stderr, MAX_STDERR)
  const index = indexLayer(needs)
  const frames = (compress ? receivedFrames : madeFrames)(running.stdout)
  const blob = await stage.writeBlob(layerBytes(frames, index, needs.progress)).catch(preferLoss(running))
  const [exit, stderr] = [await running.exit, await said]
  const report = parseReport(stderr)
  judge(report, exit)
  const { members, diffId, tarBytes } = index.end()
  refuseGaps(files, members, report)
  const directories = files.some((file) => file.type === 'd')
  const layer = {
    digest: blob.digest,
    bytes: blob.bytes,
    diffId,
    tarBytes,
    entryCount: members.length,
    directories,
  }
  return { layer, path: blob.path, members, report }
}

/** When the connection breaks, its own fault says more than what a cut stream looks like. */
const preferLoss = (running: Running) => async (error: unknown) => {
  if ((error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE') await running.exit
  throw error
}

async function* layerBytes(
  frames: AsyncIterable<LayerFrame>,
  index: ReturnType<typeof indexLayer>,
  progress: LayerNeeds['progress'],
) {
  const table: Frame[] = []
  for await (const { zstd, content } of frames) {
    index.push(content)
    table.push({ compressed: zstd.length, content: content.length })
    progress(content.length, zstd.length)
    yield zstd
  }
  yield renderSeekTable(table)
}

/** Reads the archive on its way: what it holds, where, and the digests of archive and contents. */
function indexLayer({ index: layer, files }: LayerNeeds) {
  const listed = new Map(files.map((file) => [file.path, file]))
  const byPath = new Map<string, Member>()
  const archive = createHash('sha256')
  let tarBytes = 0
  let content: ReturnType<typeof contentHash> | undefined
  const tar = readTar({
    entry(entry) {
      content = entry.facts.type === 'f' && entry.hardLinkTo === undefined ? contentHash(entry) : undefined
    },
    data: (_, chunk) => content?.update(chunk),
    done(entry) {
      const inode = listed.get(entry.facts.path)?.inode
      if (inode === undefined || byPath.has(entry.facts.path))
        throw new UserError('the golden client sent a file that was not asked for', {
          what: entry.facts.path,
        })
      byPath.set(entry.facts.path, memberOf(entry, { inode, sha256: content?.digest() }))
    },
  })

  function memberOf(
    entry: TarEntry,
    { inode, sha256 }: { inode: string; sha256: string | undefined },
  ): Member {
    const { xattrs, ctimeNs, offset } = entry
    const base = { layer, offset, inode, ...(ctimeNs === undefined ? {} : { ctimeNs }) }
    if (entry.hardLinkTo !== undefined) {
      const first = byPath.get(entry.hardLinkTo)
      if (first === undefined)
        throw new UserError('a hard link came before its file', { what: entry.facts.path })
      return { facts: { ...first.facts, path: entry.facts.path }, stored: { ...first.stored, ...base } }
    }
    const found = { ...(sha256 === undefined ? {} : { sha256 }), ...(xattrs === undefined ? {} : { xattrs }) }
    return { facts: entry.facts, stored: { ...found, ...base } }
  }

  function push(bytes: Buffer) {
    archive.update(bytes)
    tarBytes += bytes.length
    tar.push(bytes)
  }
  function end() {
    tar.end()
    const diffId = `sha256:${archive.digest('hex')}` as Digest
    return { members: [...byPath.values()], diffId, tarBytes }
  }
  return { push, end }
}

/** A running machine changes: files that vanish or are written to are normal, everything else is not. */
function judge(report: Report, exit: number) {
  const tolerable =
    report.exit === 0 || report.exit === 1 || (report.exit === 2 && report.vanished.length > 0)
  if (exit === 0 && tolerable && report.fatal.length === 0) return
  const what = report.fatal.slice(0, 3).join('; ') || `exit code ${exit}, tar ${report.exit ?? 'did not end'}`
  throw new UserError('archiving failed on the golden client', { what })
}

function refuseGaps(files: readonly ListedFile[], members: Member[], { vanished }: Report) {
  if (files.length - members.length <= vanished.length) return
  const there = new Set(members.map((member) => member.facts.path))
  const missing = files.filter((file) => !there.has(file.path)).map((file) => `/${file.path}`)
  throw new UserError('the archive lacks files that were listed', { what: missing.slice(0, 5).join(', ') })
}

/** All that comes, up to a limit beyond which the rest is dropped with a note that parseReport takes for a fault. */
export async function collect(stream: AsyncIterable<Buffer>, limit: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream) {
      if (size <= limit) parts.push(chunk)
      size += chunk.length
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
  }
  const text = Buffer.concat(parts).toString('latin1')
  return size > limit ? `${text}\nsysclone: more than ${limit} bytes of messages\n` : text
}

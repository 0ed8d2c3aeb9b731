// What an import reads: a file in whatever compression, a folder, or an OCI image layout in either form. Nothing is ever
// unpacked onto the server's file system: names out of archives are compared and never opened.
import { type ChildProcess, spawn } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { lstat, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import type { Digest } from '../../../src/address.ts'
import { UserError, WireError } from '../../../src/fault.ts'
import type { TarEntry } from '../../../src/image/tar.ts'
import { readTar } from '../../../src/image/tar.ts'
import type { Stage, StagedBlob } from '../stage.ts'

/** An OCI image layout, wherever it is. */
export type OciSource = {
  index: Buffer
  /** Its content in the stage; undefined when the layout has no such blob. Throws UserError when it is another content. */
  stageBlob(digest: Digest): Promise<StagedBlob | undefined>
}
export type Kind = 'oci-folder' | 'oci-archive' | 'root-folder' | 'root-archive'

const MAX_INDEX = 16 << 20
const STEP = 65536

/** What lies at that path. Throws UserError for what can be no source. */
export async function kindOf(path: string): Promise<Kind> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new UserError('the source cannot be read', { what: `${path}: ${error.code ?? error.message}` })
  })
  if (found.isDirectory()) return (await exists(join(path, 'oci-layout'))) ? 'oci-folder' : 'root-folder'
  if (!found.isFile())
    throw new UserError('not a source of images', {
      what: path,
      allowed: 'an archive, an OCI image layout, a folder',
    })
  const first = await firstFile(path)
  if (first === 'manifest.json' || /^[0-9a-f]{64}(\.json$|\/)/.test(first))
    throw new UserError("docker's own archive format is not read", {
      what: path,
      allowed: `skopeo copy docker-archive:${path} oci-archive:OTHER first`,
    })
  return /^(oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(first) ? 'oci-archive' : 'root-archive'
}

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  )

/** The path of the first regular file in an archive. */
async function firstFile(path: string): Promise<string> {
  let first: string | undefined
  const tar = readTar({
    entry: ({ facts }) => {
      if (facts.type === 'f') first ??= facts.path
    },
  })
  try {
    for await (const chunk of openFile(path)) {
      for (let at = 0; at < chunk.length && first === undefined; at += STEP)
        tar.push(chunk.subarray(at, at + STEP))
      if (first !== undefined) return first
    }
    return ''
  } catch (error) {
    throw notAnArchive(path, error)
  }
}

export const notAnArchive = (path: string, error: unknown): unknown => {
  const { code, message } = error as NodeJS.ErrnoException
  if (!(error instanceof WireError) && !/^(Z_|ZSTD_)/.test(code ?? '')) return error
  return new UserError('the archive cannot be read', {
    what: `${path}: ${message}`,
    allowed: 'tar, also compressed by gzip, zstd, xz or bzip2',
  })
}

// ---- streams ----

const compressions: [magic: string, open: () => NodeJS.ReadWriteStream | string[]][] = [
  ['1f8b', createGunzip],
  ['28b52ffd', createZstdDecompress],
  ['fd377a585a00', () => ['xz', '-dc']],
  ['425a68', () => ['bzip2', '-dc']],
]

/** The content of a file, decompressed by what its first bytes say. */
export async function* openFile(path: string): AsyncGenerator<Buffer> {
  yield* decompressed(createReadStream(path, { highWaterMark: 1 << 20 }), await magicOf(path))
}

async function magicOf(path: string): Promise<string> {
  const handle = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(6), 0, 6, 0)
    return buffer.subarray(0, bytesRead).toString('hex')
  } finally {
    await handle.close()
  }
}

async function* decompressed(source: Readable, magic: string): AsyncGenerator<Buffer> {
  const row = compressions.find(([start]) => magic.startsWith(start))
  if (row === undefined) return yield* source
  const codec = row[1]()
  if (Array.isArray(codec)) return yield* through(codec, source)
  const out = new PassThrough({ highWaterMark: 1 << 20 })
  const done = pipeline(source, codec, out)
  done.catch(() => {}) // it is thrown by reading
  yield* out
  await done
}

/** A program's standard output; `source` goes into it. Throws UserError with what it said when it fails. */
export async function* through(argv: string[], source?: Readable): AsyncGenerator<Buffer> {
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: [source ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  })
  const ended = endOf(child)
  if (source) pipeline(source, child.stdin!).catch(() => {})
  try {
    yield* child.stdout! as AsyncIterable<Buffer>
    const why = await ended
    if (why !== undefined) throw new UserError(`${argv[0]} failed`, { what: why })
  } finally {
    child.kill('SIGKILL')
    source?.destroy()
    await ended
  }
}

function endOf(child: ChildProcess): Promise<string | undefined> {
  let said = ''
  child.stderr!.on('data', (text) => {
    said = (said + text).slice(-4000)
  })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve((error as NodeJS.ErrnoException).code ?? error.message))
    child.once('close', (code) =>
      resolve(code === 0 ? undefined : said.trim().split('\n').slice(-3).join('; ') || `exit code ${code}`),
    )
  })
}

/** The archive of a folder, made by GNU tar; other file systems in it stay out. */
export const archiveFolder = (path: string): AsyncGenerator<Buffer> =>
  through([
    ...[
      'tar',
      '-c',
      '-f',
      '-',
      '-C',
      path,
      '--format=posix',
      '--pax-option=delete=atime',
      '--one-file-system',
    ],
    ...['--xattrs', '--xattrs-include=*', '--acls', '--sparse', '--numeric-owner', '--sort=name', '.'],
  ])

// ---- OCI layouts ----

export async function openOciFolder(path: string, stage: Stage): Promise<OciSource> {
  const index = await readFile(join(path, 'index.json'))
  async function stageBlob(digest: Digest) {
    const file = join(path, 'blobs', 'sha256', digest.slice('sha256:'.length))
    const found = await lstat(file).catch(() => undefined)
    if (!found?.isFile()) return undefined
    return expectDigest(
      stage,
      await stage.writeBlob(createReadStream(file, { highWaterMark: 1 << 20 })),
      digest,
    )
  }
  return { index, stageBlob }
}

async function expectDigest(stage: Stage, blob: StagedBlob, digest: Digest): Promise<StagedBlob> {
  if (blob.digest === digest) return blob
  await stage.drop(blob)
  throw new UserError('a blob of the source is damaged', { what: `${digest}: its content is ${blob.digest}` })
}

/** All blobs of the archive come into the stage, each under a name of ours; those that are not asked for are to be dropped. */
export async function openOciArchive(
  path: string,
  stage: Stage,
): Promise<OciSource & { staged: StagedBlob[] }> {
  const staged = new Map<string, StagedBlob>()
  const small = new Map<string, Buffer[]>()
  let blob: Awaited<ReturnType<Stage['openBlob']>> | undefined
  let name = ''
  const work: (() => Promise<void>)[] = [] // what the reader found, done in order before more is read
  const tar = readTar({
    entry(entry) {
      begin(entry)
    },
    data(_, chunk) {
      const copy = Buffer.from(chunk)
      if (small.has(name)) small.get(name)!.push(copy)
      else if (name !== '') work.push(async () => blob?.write(copy))
    },
    done() {
      const digest = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1]
      if (digest !== undefined) work.push(() => finish(digest))
      name = ''
    },
  })
  function begin({ facts, hardLinkTo, extents }: TarEntry) {
    name = ''
    if (facts.type === 'd') return
    if (facts.type !== 'f' || hardLinkTo !== undefined || extents !== undefined)
      throw new WireError(`${facts.path} is no plain file`)
    if (facts.path === 'index.json' || facts.path === 'oci-layout') {
      if ((facts.size ?? 0) > MAX_INDEX) throw new WireError(`${facts.path} has ${facts.size} bytes`)
      small.set(facts.path, [])
    } else if (/^blobs\/sha256\/[0-9a-f]{64}$/.test(facts.path)) {
      work.push(async () => {
        blob = await stage.openBlob()
      })
    } else return
    name = facts.path
  }
  async function finish(digest: string) {
    const made = await expectDigest(stage, await blob!.end(), `sha256:${digest}` as Digest)
    blob = undefined
    const twin = staged.get(digest)
    if (twin) await stage.drop(made)
    else staged.set(digest, made)
  }
  try {
    for await (const chunk of openFile(path))
      for (let at = 0; at < chunk.length; at += STEP) {
        tar.push(chunk.subarray(at, at + STEP))
        for (let next = work.shift(); next !== undefined; next = work.shift()) await next()
      }
    tar.end()
  } catch (error) {
    throw notAnArchive(path, error)
  } finally {
    await blob?.close()
  }
  const index = small.get('index.json')
  if (index === undefined) throw new UserError('not an OCI archive', { what: `${path} has no index.json` })
  return {
    index: Buffer.concat(index),
    stageBlob: async (digest) => staged.get(digest.slice('sha256:'.length)),
    staged: [...staged.values()],
  }
}

const MAX_JSON = 16 << 20

/** A blob that must be there, with its content: manifests and configs. */
export async function needed(
  source: OciSource,
  digest: Digest,
): Promise<{ blob: StagedBlob; content: Buffer }> {
  const blob = await mustStage(source, digest)
  if (blob.bytes > MAX_JSON) throw new WireError(`${digest} has ${blob.bytes} bytes`)
  const parts: Buffer[] = []
  for await (const chunk of openFile(blob.path)) parts.push(chunk)
  return { blob, content: Buffer.concat(parts) }
}

export async function mustStage(source: OciSource, digest: Digest): Promise<StagedBlob> {
  const blob = await source.stageBlob(digest)
  if (blob) return blob
  throw new UserError('a blob of the image is missing', { what: digest, allowed: 'the whole image layout' })
}

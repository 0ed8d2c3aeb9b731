// Boot files: the ramdisk template and the GRUB cores, built from Debian packages of this machine by
// bootfiles/*/build.sh. Kept twice: in the cache by a hash of everything they are made of, so that a second state
// folder does not build again; and in the state folder by digest, as the image store keeps its blobs.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Digest, parseDigest } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { BlobRef } from '../../src/image/version.ts'
import type { Emit } from '../emit.ts'
import { run } from './command.ts'

export type BootArch = 'x86_64'
/** `loaders` by the name that firmware asks for. */
export type Bootfiles = { arch: BootArch; ramdisk: BlobRef; loaders: Record<string, BlobRef> }

const sources = join(import.meta.dirname, '../../bootfiles')

/** What each script leaves in its output folder, and the name that it is published by. */
const loaderNames: Record<BootArch, Record<string, string>> = {
  x86_64: {
    'loaders/x86_64-efi/core.efi': 'boot/grub/x86_64-efi/core.efi',
    'loaders/i386-pc/core.0': 'boot/grub/i386-pc/core.0',
  },
}

type Needs = { stateDir: string; cacheDir: string; arch: BootArch; emit?: Emit }

/** Builds what is not in the cache yet, puts it into the state folder and writes the index last. */
export async function buildBootfiles({ stateDir, cacheDir, arch, emit }: Needs): Promise<Bootfiles> {
  const folder = await cachedBuild(cacheDir, emit)
  const store = (name: string) => storeBlob(join(folder, name), stateDir)
  const loaders: Record<string, BlobRef> = {}
  for (const [file, name] of Object.entries(loaderNames[arch])) loaders[name] = await store(file)
  const built: Bootfiles = { arch, ramdisk: await store('ramdisk/ramdisk.img'), loaders }
  await writeDurably(indexPath(stateDir, arch), `${JSON.stringify(built, null, 2)}\n`)
  return built
}

/** Reads the index and every file that it names; a file that is not what it should be is a fault, not a surprise at boot. */
export async function loadBootfiles(stateDir: string, arch: BootArch): Promise<Bootfiles> {
  const text = await readFile(indexPath(stateDir, arch), 'utf8').catch(() => undefined)
  if (text === undefined)
    throw new UserError('no boot files', {
      what: `${indexPath(stateDir, arch)} is missing`,
      allowed: 'run: sysclone bootfiles build',
    })
  const index = parseIndex(text, stateDir, arch)
  for (const ref of [index.ramdisk, ...Object.values(index.loaders)]) await checkBlob(ref, stateDir)
  return index
}

/** The file of a blob of the boot files. */
export const bootfilePath = (stateDir: string, digest: Digest) =>
  join(stateDir, 'bootfiles/blobs/sha256', digest.replace('sha256:', ''))
const indexPath = (stateDir: string, arch: BootArch) => join(stateDir, 'bootfiles', `${arch}.json`)

function parseIndex(text: string, stateDir: string, arch: BootArch): Bootfiles {
  try {
    const { ramdisk, loaders } = JSON.parse(text)
    return {
      arch,
      ramdisk: parseRef(ramdisk),
      loaders: Object.fromEntries(
        Object.keys(loaderNames[arch]).map((k) => loaderEntry(loaders, loaderNames[arch][k]!)),
      ),
    }
  } catch (error) {
    throw damaged(`${indexPath(stateDir, arch)}: ${error instanceof Error ? error.message : error}`)
  }
}
const loaderEntry = (loaders: Record<string, unknown>, name: string) =>
  [name, parseRef(loaders[name])] as const

function parseRef(ref: any): BlobRef {
  if (!Number.isSafeInteger(ref?.bytes)) throw new Error('not a list of files')
  return { digest: parseDigest(String(ref.digest)), bytes: ref.bytes }
}

async function checkBlob({ digest, bytes }: BlobRef, stateDir: string) {
  const path = bootfilePath(stateDir, digest)
  const found = await fileRef(path).catch(() => undefined)
  if (!found) throw damaged(`${path} is missing`)
  if (found.digest !== digest || found.bytes !== bytes) throw damaged(`${path} is not what its name says`)
}

const damaged = (what: string) =>
  new UserError('boot files are damaged', { what, allowed: 'run: sysclone bootfiles build' })

async function fileRef(path: string): Promise<BlobRef> {
  const hash = createHash('sha256')
  let bytes = 0
  await pipeline(createReadStream(path), async (chunks) => {
    for await (const chunk of chunks) {
      hash.update(chunk)
      bytes += chunk.length
    }
  })
  return { digest: parseDigest(`sha256:${hash.digest('hex')}`), bytes }
}

async function storeBlob(from: string, stateDir: string): Promise<BlobRef> {
  const ref = await fileRef(from)
  const path = bootfilePath(stateDir, ref.digest)
  const there = await fileRef(path).catch(() => undefined)
  if (there?.digest !== ref.digest) await placeDurably(path, (tmp) => copyFile(from, tmp))
  return ref
}

const writeDurably = (path: string, text: string) =>
  placeDurably(path, async (tmp) => {
    const file = await open(tmp, 'w')
    await file.writeFile(text)
    await file.close()
  })

/** Write beside, fsync, rename, fsync the folder: after a power cut the file is whole or was never there. */
async function placeDurably(path: string, fill: (tmp: string) => Promise<void>) {
  await mkdir(dirname(path), { recursive: true })
  const tmp = `${path}.${process.pid}.tmp`
  try {
    await fill(tmp)
    await sync(tmp)
    await rename(tmp, path)
  } finally {
    await rm(tmp, { force: true })
  }
  await sync(dirname(path))
}

async function sync(path: string) {
  const file = await open(path, 'r')
  await file.sync()
  await file.close()
}

/** The folder with everything built; one builder at a time on this machine, the others wait and find it done. */
async function cachedBuild(cacheDir: string, emit?: Emit): Promise<string> {
  const key = await recipeKey()
  const folder = join(cacheDir, `bootfiles-${key}`)
  if (await exists(join(folder, 'done'))) return folder
  emit?.('job.start', { job: 'bootfiles', kind: 'bootfiles' })
  await mkdir(cacheDir, { recursive: true })
  // flock(1) gives the lock back however its holder ends.
  await run('flock', [
    '--timeout',
    '900',
    join(cacheDir, 'bootfiles.lock'),
    'sh',
    '-euc',
    BUILD,
    'sh',
    folder,
    sources,
  ])
  return folder
}

const BUILD = `
folder=$1 sources=$2
[ ! -e "$folder/done" ] || exit 0
rm -rf "$folder" "$folder.tmp"
mkdir -p "$folder.tmp/ramdisk" "$folder.tmp/loaders"
sh "$sources/ramdisk/build.sh" "$folder.tmp/ramdisk/ramdisk.img"
sh "$sources/loaders/build.sh" "$folder.tmp/loaders"
: > "$folder.tmp/done"
sync "$folder.tmp"/*/* "$folder.tmp"/loaders/*/*
mv "$folder.tmp" "$folder"
`

const exists = (path: string) =>
  readFile(path).then(
    () => true,
    () => false,
  )

/** What decides the bytes: the scripts and what they copy, and the versions of the packages that they take from. */
async function recipeKey(): Promise<string> {
  const hash = createHash('sha256')
  const packages: string[] = []
  for (const part of ['ramdisk', 'loaders']) {
    const folder = join(sources, part)
    const entries = (await readdir(folder, { withFileTypes: true })).filter((e) => e.isFile())
    for (const { name } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const text = await readFile(join(folder, name), 'utf8')
      if (name === 'packages') packages.push(...text.split('\n').filter(Boolean))
      // The library of the phases travels with the autoinstall script, not with the ramdisk.
      if (name !== 'lib.sh') hash.update(`${part}/${name}\0${text}\0`)
    }
  }
  return hash
    .update(await packageVersions(packages))
    .digest('hex')
    .slice(0, 16)
}

async function packageVersions(packages: string[]): Promise<string> {
  const format = '${Package} ${Version} ${db:Status-Abbrev}\n'
  const { out } = await run('dpkg-query', ['-W', '-f', format, ...packages], { anyCode: true })
  const installed = new Map(
    out
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, , status]) => status === 'ii')
      .map(([name, version]) => [name, version]),
  )
  const missing = [...new Set(packages)].filter((name) => !installed.has(name))
  if (missing.length > 0)
    throw new UserError('Debian packages are missing', {
      what: missing.join(' '),
      allowed: `run: apt-get install ${missing.join(' ')}`,
    })
  return [...installed]
    .map(([name, version]) => `${name}=${version}`)
    .sort()
    .join('\n')
}

// Boot files: the ramdisk template and the loaders of each architecture, made by bootfiles/*/build.sh from Debian
// packages: those of this machine, and others that are fetched and never installed. Kept twice: in the cache by a hash of
// everything they are made of, so that a second state folder does not build again; and in the state folder by digest.
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseDigest } from '../../src/address.ts'
import { loaderFiles } from '../../src/boot/loaders.ts'
import { UserError } from '../../src/fault.ts'
import type { Arch, BlobRef } from '../../src/image/version.ts'
import type { Emit } from '../emit.ts'
import { storeBlob, whyBad, writeDurably } from './blobs.ts'
import { run } from './command.ts'
import { ownIndex } from './own.ts'
import { buildKey, fetchKey, sources } from './recipe.ts'

export const archs: Arch[] = ['x86_64', 'aarch64', 'ppc64le']

/** `loaders` by the name that firmware asks for; `ramdisk` for the architectures that are installed. */
export type Bootfiles = { ramdisk?: BlobRef; loaders: Record<string, BlobRef> }
/** `lacking`: why what had to be fetched is not among them. */
export type Built = Bootfiles & { lacking?: string }

type Needs = {
  stateDir: string
  cacheDir: string
  arch: Arch
  /** `always` asks the mirror anew; `try` goes on without when there is none. */
  fetch?: 'once' | 'always' | 'try'
  emit?: Emit
}

/** Builds what is not in the cache yet, puts it into the state folder and writes the index last. */
export async function buildBootfiles({
  stateDir,
  cacheDir,
  arch,
  fetch = 'once',
  emit,
}: Needs): Promise<Built> {
  const fetched = await fetchPackages({ cacheDir, arch, fetch })
  const folder = await build({ cacheDir, arch, fetched: fetched.folder, emit })
  const loaders: Record<string, BlobRef> = {}
  for (const [name, { file, from }] of Object.entries(loaderFiles[arch]))
    if (from === 'here' || fetched.folder)
      loaders[name] = await storeBlob(join(folder, 'loaders', file), stateDir)
  // What was fetched before is as good as ever.
  if (fetched.lacking !== undefined) {
    const before = await loadIndex(stateDir, arch).catch(() => undefined)
    for (const [name, ref] of Object.entries(before?.loaders ?? {})) loaders[name] ??= ref
  }
  const ramdisk = arch === 'x86_64' && (await storeBlob(join(folder, 'ramdisk/ramdisk.img'), stateDir))
  const built: Bootfiles = { ...(ramdisk && { ramdisk }), loaders }
  await writeDurably(indexPath(stateDir, arch), `${JSON.stringify(built, null, 2)}\n`)
  return { ...built, ...(fetched.lacking !== undefined && { lacking: fetched.lacking }) }
}

/**
 * Everything that was built, of all architectures. Reads each index and every file that it names; a file that is not what
 * it should be is a fault, not a surprise at boot.
 */
export async function loadBootfiles(
  stateDir: string,
): Promise<{ ramdisks: Partial<Record<Arch, BlobRef>>; loaders: Record<string, BlobRef> }> {
  const all = { ramdisks: {} as Partial<Record<Arch, BlobRef>>, loaders: {} as Record<string, BlobRef> }
  for (const arch of archs) {
    const index = await loadIndex(stateDir, arch)
    if (index?.ramdisk) all.ramdisks[arch] = index.ramdisk
    Object.assign(all.loaders, index?.loaders)
  }
  Object.assign(all.loaders, await loadOwn(stateDir))
  return all
}

/** The operator's own win over Debian's of the same name. */
async function loadOwn(stateDir: string): Promise<Record<string, BlobRef>> {
  const path = ownIndex(stateDir)
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return {}
  const { loaders } = parsed(
    path,
    () => ({ loaders: parseRefs(JSON.parse(text).loaders) }),
    'start the server',
  )
  await checkAll(Object.values(loaders), stateDir, 'start the server')
  return loaders
}

async function checkAll(refs: BlobRef[], stateDir: string, cure: string) {
  for (const ref of refs) {
    const why = await whyBad(ref, stateDir)
    if (why) throw damaged(why, cure)
  }
}

async function loadIndex(stateDir: string, arch: Arch): Promise<Bootfiles | undefined> {
  const path = indexPath(stateDir, arch)
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) {
    if (arch !== 'x86_64') return undefined
    throw new UserError('no boot files', {
      what: `${path} is missing`,
      allowed: 'run: sysclone bootfiles build',
    })
  }
  const cure = `run: sysclone bootfiles build ${arch}`
  const index = parsed(path, () => parseIndex(text, arch), cure)
  await checkAll([...(index.ramdisk ? [index.ramdisk] : []), ...Object.values(index.loaders)], stateDir, cure)
  return index
}

const indexPath = (stateDir: string, arch: Arch) => join(stateDir, 'bootfiles', `${arch}.json`)

function parseIndex(text: string, arch: Arch): Bootfiles {
  const { ramdisk, loaders = {} } = JSON.parse(text)
  const needed = Object.entries(loaderFiles[arch]).filter(
    ([name, { from }]) => from === 'here' || loaders[name],
  )
  return {
    ...(arch === 'x86_64' && { ramdisk: parseRef(ramdisk) }),
    loaders: parseRefs(Object.fromEntries(needed.map(([name]) => [name, loaders[name]]))),
  }
}

function parsed<T>(path: string, parse: () => T, cure: string): T {
  try {
    return parse()
  } catch (error) {
    throw damaged(`${path}: ${error instanceof Error ? error.message : error}`, cure)
  }
}

const parseRefs = (loaders: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(loaders).map(([name, ref]) => [name, parseRef(ref)]))

function parseRef(ref: any): BlobRef {
  if (!Number.isSafeInteger(ref?.bytes)) throw new Error('not a list of files')
  return { digest: parseDigest(String(ref.digest)), bytes: ref.bytes }
}

const damaged = (what: string, cure: string) =>
  new UserError('boot files are damaged', { what, allowed: cure })

/** The folder of the packages that this machine need not have; none in mode `try` when they can't be had. */
async function fetchPackages({
  cacheDir,
  arch,
  fetch,
}: Pick<Needs, 'cacheDir' | 'arch' | 'fetch'>): Promise<{ folder?: string; lacking?: string }> {
  const folder = join(cacheDir, `loader-packages-${arch}-${await fetchKey(arch)}`)
  if (fetch === 'always') await rm(folder, { recursive: true, force: true })
  if (await exists(join(folder, 'versions'))) return { folder }
  try {
    // A server that starts without a way to the mirror must not stand still for long.
    await once(cacheDir, folder, 'versions', FETCH, [arch, fetch === 'try' ? '60' : '600'])
    return { folder }
  } catch (error) {
    const { fault } = error as UserError
    if (!fault || fetch !== 'try') throw error
    return { lacking: fault.what ?? fault.error }
  }
}

/** The folder with everything built. */
async function build({
  cacheDir,
  arch,
  fetched,
  emit,
}: {
  cacheDir: string
  arch: Arch
  fetched: string | undefined
  emit: Emit | undefined
}): Promise<string> {
  const versions = fetched ? await readFile(join(fetched, 'versions'), 'utf8') : ''
  const folder = join(cacheDir, `bootfiles-${arch}-${await buildKey(arch, versions)}`)
  if (await exists(join(folder, 'done'))) return folder
  emit?.('job.start', { job: 'bootfiles', kind: 'bootfiles' })
  await once(cacheDir, folder, 'done', BUILD, [arch, fetched ?? ''])
  return folder
}

/** Makes `folder` whole or not at all; one at a time on this machine, the others wait and find it done. */
async function once(cacheDir: string, folder: string, mark: string, script: string, args: string[]) {
  // flock(1) gives the lock back however its holder ends.
  const lock = ['--timeout', '900', join(cacheDir, 'bootfiles.lock'), 'sh', '-euc', script, 'sh']
  await run('mkdir', ['-p', cacheDir])
  await run('flock', [...lock, folder, mark, sources, ...args])
}

const HEAD = `
folder=$1 mark=$2 sources=$3 arch=$4
[ ! -e "$folder/$mark" ] || exit 0
rm -rf "$folder" "$folder.tmp"
`
const FETCH = `${HEAD}
timeout "$5" sh "$sources/loaders/fetch.sh" "$folder.tmp" "$sources/loaders/fetched" "$arch"
mv "$folder.tmp" "$folder"
`
const BUILD = `${HEAD}
mkdir -p "$folder.tmp/ramdisk" "$folder.tmp/loaders"
[ "$arch" != x86_64 ] || sh "$sources/ramdisk/build.sh" "$folder.tmp/ramdisk/ramdisk.img"
sh "$sources/loaders/build.sh" "$folder.tmp/loaders" "$arch" "$5"
: > "$folder.tmp/done"
sync "$folder.tmp"/*/* "$folder.tmp"/loaders/*/*
mv "$folder.tmp" "$folder"
`

const exists = (path: string) =>
  readFile(path).then(
    () => true,
    () => false,
  )

// The kernel of an image and an initramfs of those of its modules that the ramdisk needs, read out of the layers. Modules
// stay byte for byte as they are: stripping would break their signatures, and a locked-down kernel then refuses them.
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { UserError } from '../../src/fault.ts'
import { parseManifestLine } from '../../src/image/compare-line.ts'
import type { CpioFile } from '../../src/image/cpio.ts'
import { renderCpio } from '../../src/image/cpio.ts'
import { chooseModules, depmodInputs } from '../../src/image/modules.ts'
import type { LayerReader } from '../images/layer.ts'

const MAX_FILE = 256 << 20
const run = promisify(execFile)
const compress = promisify(gzip)

/** Reads files of the capture by path. */
export type CapturedFiles = ReturnType<typeof openCaptured>

type Member = ReturnType<typeof parseManifestLine>

/** `rows`: lines of the manifest, of what can be asked for and of the links that lead there; `layers` are theirs. */
export function openCaptured(rows: Iterable<string>, layers: readonly LayerReader[]) {
  const byPath = new Map<string, Member>()
  const firstOf = new Map<string, Member>() // hard links hold their content in the first member of the group
  for (const row of rows) {
    const member = parseManifestLine(row)
    byPath.set(member.path, member)
    if (member.type !== 'f') continue
    const first = firstOf.get(contentKey(member))
    if (first === undefined || member.offset < first.offset) firstOf.set(contentKey(member), member)
  }

  /** Follows symbolic links in every part of the path, as the machine does. */
  function find(path: string, hops = 16): Member | undefined {
    const parts = path.split('/')
    for (let i = 1; i <= parts.length; i++) {
      const member = byPath.get(parts.slice(0, i).join('/'))
      if (member?.type !== 'l') continue
      if (hops === 0) return undefined
      const target = posix.resolve('/', dirname(member.path), member.target!, ...parts.slice(i))
      return find(target.slice(1), hops - 1)
    }
    return byPath.get(path)
  }
  async function read(path: string): Promise<Buffer | undefined> {
    const found = find(path)
    if (found?.type !== 'f') return undefined
    const { layer, offset } = firstOf.get(contentKey(found)) ?? found
    return layers[layer]!.readFile(offset, MAX_FILE)
  }
  /** In the order in which they lie in the layers: each frame is decompressed once. */
  const inStoredOrder = (paths: readonly string[]): string[] =>
    paths
      .map((path) => ({ path, found: find(path) }))
      .sort(
        (a, b) =>
          (a.found?.layer ?? 0) - (b.found?.layer ?? 0) || (a.found?.offset ?? 0) - (b.found?.offset ?? 0),
      )
      .map(({ path }) => path)
  const paths = () => byPath.keys()
  return { read, inStoredOrder, paths }
}

/** Inode numbers are those of one file system; with the content they are enough. */
const contentKey = ({ layer, inode, sha256 }: Member): string => `${layer} ${inode} ${sha256}`

export async function readKernel(files: CapturedFiles, path: string): Promise<Buffer> {
  const kernel = await files.read(path)
  if (kernel === undefined) throw new UserError('the kernel is not in the capture', { what: `/${path}` })
  return kernel
}

export type ModulesNeeds = {
  files: CapturedFiles
  release: string
  loaded: readonly string[]
  filesystems: readonly string[]
  workDir: string // an empty place that the caller removes
}

/** `lib/modules/RELEASE/` as a gzip-compressed cpio archive, with the tables of depmod for exactly these modules. */
export async function buildModules(needs: ModulesNeeds): Promise<Buffer> {
  const { files, release, loaded, filesystems, workDir } = needs
  const source = `lib/modules/${release}`
  const modulesDep = await files.read(`${source}/modules.dep`)
  if (modulesDep === undefined)
    throw new UserError('the modules of the running kernel are not in the capture', {
      what: `/${source}/modules.dep`,
    })
  const chosen = chooseModules({ modulesDep: modulesDep.toString('latin1'), loaded, filesystems })
  const target = join(workDir, source)
  await mkdir(target, { recursive: true })
  const modules: CpioFile[] = []
  for (const path of files.inStoredOrder([...depmodInputs, ...chosen].map((name) => `${source}/${name}`))) {
    const content = await files.read(path)
    if (content === undefined) continue // named in modules.dep and deleted since
    const name = path.slice(source.length + 1)
    await mkdir(dirname(join(target, name)), { recursive: true })
    await writeFile(join(target, name), content)
    if (!name.startsWith('modules.')) modules.push({ path, content })
  }
  const tables = await runDepmod(workDir, release)
  return compress(renderCpio([...modules, ...tables]), { level: 6 })
}

/** kmod finds nothing without the .bin tables, busybox reads the texts: both go in. */
async function runDepmod(workDir: string, release: string): Promise<CpioFile[]> {
  await run('depmod', ['-b', workDir, release], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
  }).catch((error) => {
    const missing = error.code === 'ENOENT'
    throw new UserError(
      missing ? 'depmod is missing on this server' : 'depmod failed on the modules of the image',
      {
        what: missing ? 'package kmod' : String(error.stderr || error.message).slice(0, 500),
      },
    )
  })
  const folder = join(workDir, 'lib/modules', release)
  const needless = /^modules\.(order|symbols|symbols\.bin|builtin\.modinfo)$/ // for depmod itself and for developers
  const names = (await readdir(folder))
    .filter((name) => name.startsWith('modules.') && !needless.test(name))
    .sort()
  return Promise.all(
    names.map(async (name) => ({
      path: `lib/modules/${release}/${name}`,
      content: await readFile(join(folder, name)),
    })),
  )
}

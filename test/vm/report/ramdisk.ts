// The kernel and the small ramdisk that a machine of the matrix boots: Debian's kernel of its architecture and busybox,
// which reports the machine's command line back by HTTP. From the cache, else built of downloaded packages.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { cached, recipeKey } from '../../../services/lab/cache.ts'
import { must } from '../../../services/lab/command.ts'
import { type DebianArch, unpackDebian } from '../../../services/lab/debian.ts'

export type Processor = 'x86_64' | 'aarch64' | 'ppc64le'
/** Paths of the two files. */
export type TestSystem = { kernel: string; initrd: string }

const debian: Record<Processor, { arch: DebianArch; kernel: string }> = {
  x86_64: { arch: 'amd64', kernel: 'linux-image-amd64' },
  aarch64: { arch: 'arm64', kernel: 'linux-image-arm64' },
  ppc64le: { arch: 'ppc64el', kernel: 'linux-image-powerpc64le' },
}
const suite = 'bookworm'
/** With all they depend on; what is built into a kernel is not looked for. */
const modules = ['virtio_pci', 'virtio_net', 'e1000', 'ibmveth', 'af_packet']
const sources = import.meta.dirname

export function ensureTestSystem(cache: string, processor: Processor): Promise<TestSystem> {
  const files = ['init', 'udhcpc.script'].map((name) => readFileSync(join(sources, name), 'utf8'))
  const key = recipeKey({ ...debian[processor], suite, modules, files, version: 1 })
  const folder = cached(cache, `test-system-${processor}-${key}`, (path) => build(processor, path))
  return folder.then((path) => ({ kernel: join(path, 'vmlinuz'), initrd: join(path, 'initrd.img') }))
}

async function build(processor: Processor, folder: string) {
  const { arch, kernel } = debian[processor]
  const tree = join(folder, 'tree')
  mkdirSync(folder, { recursive: true })
  await unpackDebian({ arch, suite, packages: ['busybox-static'], metapackages: [kernel] }, tree)
  const image = readdirSync(join(tree, 'boot')).find((name) => /^vmlinu[xz]-/.test(name))!
  await placeKernel(join(tree, 'boot', image), join(folder, 'vmlinuz'))
  await packRamdisk(tree, join(folder, 'initrd.img'))
  rmSync(tree, { recursive: true })
}

/** Power has no compressed kernel format of its own; GRUB unpacks gzip, and a quarter of the bytes is sent. */
async function placeKernel(from: string, to: string) {
  if (basename(from).startsWith('vmlinux-'))
    await must(['sh', '-euc', 'gzip -6nc "$1" > "$2"', 'sh', from, to])
  else copyFileSync(from, to)
}

async function packRamdisk(tree: string, initrd: string) {
  const root = join(tree, 'ramdisk')
  for (const folder of ['bin', 'dev', 'proc', 'sys', 'modules', 'tmp'])
    mkdirSync(join(root, folder), { recursive: true })
  for (const name of ['init', 'udhcpc.script']) {
    copyFileSync(join(sources, name), join(root, name))
    chmodSync(join(root, name), 0o755)
  }
  copyFileSync(join(tree, 'bin/busybox'), join(root, 'bin/busybox'))
  // By name: the busybox of another processor can not be asked here which applets it has.
  for (const applet of applets) symlinkSync('busybox', join(root, 'bin', applet))
  const loadOrder = await modulesInOrder(tree)
  for (const path of loadOrder) copyFileSync(path, join(root, 'modules', basename(path)))
  writeFileSync(join(root, 'modules/order'), loadOrder.map((path) => `${basename(path)}\n`).join(''))
  const pack = 'cd "$1" && find . | sort | cpio --quiet -o -H newc -R 0:0 | gzip -6n > "$2"'
  await must(['sh', '-euc', pack, 'sh', root, initrd])
}
const applets =
  'sh mount insmod tr sed tail grep basename dirname usleep sleep ip udhcpc cat uname dmesg wget ls'.split(
    ' ',
  )

/** Each module after those it depends on, byte for byte: under Secure Boot the kernel takes none without its signature. */
async function modulesInOrder(tree: string): Promise<string[]> {
  const release = readdirSync(join(tree, 'lib/modules'))[0]!
  await must(['depmod', '-b', tree, release])
  const base = join(tree, 'lib/modules', release)
  const needs = new Map(
    readFileSync(join(base, 'modules.dep'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(':'))
      .map(([path, rest]) => [path!, rest!.split(' ').filter(Boolean)] as const),
  )
  const ordered = new Set<string>()
  const add = (path: string) => {
    for (const needed of needs.get(path)!) add(needed)
    ordered.add(path)
  }
  for (const name of modules) for (const path of needs.keys()) if (basename(path, '.ko') === name) add(path)
  return [...ordered].map((path) => join(base, path)).filter((path) => existsSync(path))
}

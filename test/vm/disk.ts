// A small disk that starts the test system, by BIOS and by UEFI, or as arm64 and POWER do it, and says in the kernel's command
// line which of its boot loaders did: report.disk=bios | fallback | recorded | prep. Made of plain files, as the golden
// client's disk is.
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { embedBiosCore } from '../../services/lab/bios-boot.ts'
import { cached, recipeKey } from '../../services/lab/cache.ts'
import { must } from '../../services/lab/command.ts'
import { type DebianPackages, unpackDebian } from '../../services/lab/debian.ts'
import type { TestSystem } from './report/ramdisk.ts'

const mib = 1024 * 1024
const layout = { bytes: 68 * mib, bios: 1 * mib, esp: 2 * mib, espBytes: 64 * mib }
const espSerial = '5C10BE57'
/** What a clone would have reported of its boot loader. */
export const recorded = { espUuid: '5C10-BE57', path: '/EFI/recorded/grubx64.efi' }

type Signed = { shim: string; grub: string }
type Wanted = { folder: string; system: TestSystem; server: string; signed?: Signed }

/** Debian's shim and the signed GRUB that starts from a disk: for one that must start under Secure Boot. */
export async function ensureSigned(cache: string): Promise<Signed> {
  const wanted: DebianPackages = {
    arch: 'amd64',
    suite: 'bookworm',
    packages: ['shim-signed', 'grub-efi-amd64-signed'],
  }
  const folder = await cached(cache, `signed-loaders-${recipeKey(wanted)}`, async (path) => {
    const tree = join(path, 'tree')
    await unpackDebian(wanted, tree)
    copyFileSync(join(tree, 'usr/lib/shim/shimx64.efi.signed'), join(path, 'shim'))
    copyFileSync(join(tree, 'usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed'), join(path, 'grub'))
    rmSync(tree, { recursive: true })
  })
  return { shim: join(folder, 'shim'), grub: join(folder, 'grub') }
}

/** Makes the disk in `folder` and gives its path. */
export async function makeTestDisk({ folder, system, server, signed }: Wanted): Promise<string> {
  mkdirSync(folder, { recursive: true })
  const at = (name: string) => join(folder, name)
  const script = (name: string, loader: string) => {
    writeFileSync(at(name), bootScript(server, loader))
    return at(name)
  }
  const disk = at('disk.raw')
  await partition(disk)
  const bios = at('core.img')
  await core('i386-pc', ['biosdisk'], script('bios.cfg', 'bios'), bios)
  embedBiosCore(
    disk,
    { at: layout.bios, bytes: layout.esp - layout.bios },
    { bootSector: '/usr/lib/grub/i386-pc/boot.img', bios },
  )
  await core('x86_64-efi', [], script('recorded.cfg', 'recorded'), at('recorded.efi'))
  const files: Record<string, string> = {
    '/report/vmlinuz': system.kernel,
    '/report/initrd.img': system.initrd,
    [recorded.path]: at('recorded.efi'),
    ...(await fallback(signed, script('fallback.cfg', 'fallback'), at('fallback.efi'))),
  }
  await fillEsp(disk, files)
  return disk
}

async function fallback(
  signed: Signed | undefined,
  config: string,
  image: string,
): Promise<Record<string, string>> {
  if (signed)
    return {
      '/EFI/BOOT/BOOTX64.EFI': signed.shim,
      '/EFI/BOOT/grubx64.efi': signed.grub,
      '/EFI/debian/grub.cfg': config, // where Debian's signed GRUB looks
    }
  await core('x86_64-efi', [], config, image)
  return { '/EFI/BOOT/BOOTX64.EFI': image }
}

/** Processors whose kernels find their console by themselves, the part of the disk that firmware starts, and its GRUB. */
const others = {
  aarch64: {
    part: 'esp',
    platform: 'arm64-efi',
    packages: { arch: 'arm64', suite: 'bookworm', packages: ['grub-efi-arm64-bin'] },
  },
  ppc64le: {
    part: 'prep',
    platform: 'powerpc-ieee1275',
    packages: { arch: 'ppc64el', suite: 'testing', packages: ['grub-ieee1275-bin'] },
  },
} as const

type Other = { folder: string; cache: string; system: TestSystem; server: string }

/** The same for another processor, with the one loader that its firmware looks for. */
export async function makeOtherDisk(processor: keyof typeof others, wanted: Other): Promise<string> {
  const { folder, cache, system, server } = wanted
  const { part, platform, packages } = others[processor]
  mkdirSync(folder, { recursive: true })
  const at = (name: string) => join(folder, name)
  const loader = part === 'esp' ? 'fallback' : 'prep'
  writeFileSync(at('boot.cfg'), bootScript(server, loader, ''))
  const tree = await cached(cache, `grub-${recipeKey(packages)}`, (path) =>
    unpackDebian({ ...packages, packages: [...packages.packages] }, path),
  )
  // Kernels for POWER are compressed as a whole.
  await core(platform, ['gzio'], at('boot.cfg'), at('core'), join(tree, 'usr/lib/grub', platform))
  const disk = at('disk.raw')
  await partition(disk, part === 'prep' ? '9E1A2D38-C612-4316-AA26-8B49521E5A8B' : undefined)
  if (part === 'prep') {
    await must(['dd', `if=${at('core')}`, `of=${disk}`, 'bs=1M', 'seek=1', 'conv=notrunc', 'status=none'])
  }
  await fillEsp(disk, {
    '/report/vmlinuz': system.kernel,
    '/report/initrd.img': system.initrd,
    ...(part === 'esp' && { '/EFI/BOOT/BOOTAA64.EFI': at('core') }),
  })
  return disk
}

function bootScript(server: string, loader: string, console = 'console=ttyS0,115200 ') {
  return `search --file --set=root /report/vmlinuz
linux /report/vmlinuz ${console}quiet report.server=${server} report.disk=${loader}
initrd /report/initrd.img
boot
`
}

const core = (
  platform: string,
  modules: string[],
  config: string,
  image: string,
  from = `/usr/lib/grub/${platform}`,
) =>
  must([
    ...['grub-mkimage', '-d', from, '-O', platform, '-p', '/', '-c', config, '-o', image],
    ...['part_gpt', 'fat', 'search', 'search_fs_file', 'linux', 'boot', ...modules],
  ])

async function partition(disk: string, first = '21686148-6449-6E6F-744E-656564454649') {
  const at = (from: number, bytes: number, type: string) =>
    `start=${from / 512}, size=${bytes / 512}, type=${type}\n`
  const table = [
    'label: gpt\n',
    at(layout.bios, layout.esp - layout.bios, first),
    at(layout.esp, layout.espBytes, 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B'),
  ]
  await must(['truncate', '-s', String(layout.bytes), disk])
  await must(['sfdisk', '--quiet', disk], { input: table.join('') })
}

async function fillEsp(disk: string, files: Record<string, string>) {
  const esp = `${disk}@@${layout.esp}`
  const sectors = String(layout.espBytes / 512)
  await must([
    'mformat',
    '-i',
    esp,
    '-T',
    sectors,
    '-h',
    '64',
    '-s',
    '32',
    '-N',
    espSerial,
    '-v',
    'ESP',
    '::',
  ])
  const folders = new Set<string>()
  for (const name of Object.keys(files))
    for (let end = name.indexOf('/', 1); end > 0; end = name.indexOf('/', end + 1))
      folders.add(name.slice(0, end))
  for (const folder of folders) await must(['mmd', '-i', esp, `::${folder}`])
  for (const [name, file] of Object.entries(files)) await must(['mcopy', '-i', esp, file, `::${name}`])
}

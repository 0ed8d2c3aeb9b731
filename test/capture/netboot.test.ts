// Where distributions keep the loaders that they have signed: paths as their packages install them.
import { expect, test } from 'vitest'
import { signedLoaders } from '../../services/capture/netboot.ts'
import type { ImageVersion } from '../../src/image/version.ts'

const debian = { x86_64: ['x64', 'x86_64'], aarch64: ['aa64', 'arm64'] } as const
const ofDebian = (arch: keyof typeof debian) => {
  const [suffix, platform] = debian[arch]
  return [
    `usr/lib/shim/shim${suffix}.efi.signed`,
    `usr/lib/grub/${platform}-efi-signed/grubnet${suffix}.efi.signed`,
  ]
}
const onDisk = (folder: string, suffix = 'x64') => [
  `${folder}/shim${suffix}.efi`,
  `${folder}/grub${suffix}.efi`,
]
const ofSuse = (arch: string) => [`usr/share/efi/${arch}/shim.efi`, `usr/share/efi/${arch}/grub.efi`]

// What os-release says, the architecture, the files that are there, and which of them are taken.
const cases: [id: string, arch: ImageVersion['arch'], files: string[], taken?: string[]][] = [
  ['debian', 'x86_64', [...ofDebian('x86_64'), ...onDisk('boot/efi/EFI/debian')], ofDebian('x86_64')],
  ['debian', 'aarch64', [...ofDebian('aarch64'), ...ofDebian('x86_64')], ofDebian('aarch64')],
  ['ubuntu', 'x86_64', ofDebian('x86_64'), ofDebian('x86_64')],
  ['debian', 'x86_64', onDisk('boot/efi/EFI/debian')], // that GRUB has no network
  ['ubuntu', 'x86_64', onDisk('boot/efi/EFI/ubuntu')],
  ['sles', 'x86_64', ofSuse('x86_64'), ofSuse('x86_64')],
  ['opensuse-leap', 'aarch64', ofSuse('aarch64'), ofSuse('aarch64')],
  ['opensuse-tumbleweed', 'x86_64', onDisk('boot/efi/EFI/opensuse'), onDisk('boot/efi/EFI/opensuse')],
  ['rocky', 'x86_64', onDisk('boot/efi/EFI/rocky'), onDisk('boot/efi/EFI/rocky')],
  ['rocky', 'aarch64', onDisk('boot/efi/EFI/rocky', 'aa64'), onDisk('boot/efi/EFI/rocky', 'aa64')],
  ['almalinux', 'x86_64', onDisk('boot/efi/EFI/almalinux'), onDisk('boot/efi/EFI/almalinux')],
  ['centos', 'x86_64', onDisk('boot/efi/EFI/centos'), onDisk('boot/efi/EFI/centos')],
  ['fedora', 'x86_64', onDisk('efi/EFI/fedora'), onDisk('efi/EFI/fedora')],
  ['rhel', 'x86_64', onDisk('boot/efi/EFI/redhat'), onDisk('boot/efi/EFI/redhat')],
  ['rhel', 'aarch64', onDisk('boot/efi/EFI/redhat', 'aa64'), onDisk('boot/efi/EFI/redhat', 'aa64')],
  ['ol', 'x86_64', onDisk('boot/efi/EFI/redhat'), onDisk('boot/efi/EFI/redhat')],
  ['rocky', 'x86_64', onDisk('boot/efi/EFI/redhat')], // another distribution's, beside it on the disk
  ['rhel', 'aarch64', onDisk('boot/efi/EFI/redhat', 'x64')],
  ['rocky', 'x86_64', onDisk('boot/efi/EFI/rocky').slice(0, 1)], // a shim alone
  ['debian', 'x86_64', [ofDebian('x86_64')[0]!, ofSuse('x86_64')[1]!]], // of two kinds
  ['constructor', 'x86_64', onDisk('boot/efi/EFI/constructor'), onDisk('boot/efi/EFI/constructor')],
  ['debian', 'ppc64le', [...ofDebian('x86_64'), ...ofSuse('ppc64le')]], // has no Secure Boot of this kind
]
test.each(cases)('%s on %s with %j', async (id, arch, files, taken) => {
  const read = async (path: string) => (files.includes(path) ? Buffer.from(path) : undefined)
  const found = await signedLoaders({ read }, { arch, os: { id, version: '9', name: id } })
  expect(found && [found.shim, found.grub].map(String)).toEqual(taken)
})

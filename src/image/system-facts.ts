// What an image is a system of, read from its files: which kernel, which architecture, which distribution.
import { UserError } from '../fault.ts'
import type { Arch } from './version.ts'

/** Releases of kernels with modules in the tree, the newest first. */
export function kernelReleases(paths: Iterable<string>): string[] {
  const found = new Set<string>()
  for (const path of paths) {
    const release = /^(?:usr\/)?lib\/modules\/([A-Za-z0-9][A-Za-z0-9._+~-]{0,199})\/modules\.dep$/.exec(
      path,
    )?.[1]
    if (release !== undefined) found.add(release)
  }
  return [...found].sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
}

/** Where a kernel of that release may lie, relative to the root. */
export const kernelPlaces = (release: string): string[] => [
  `boot/vmlinuz-${release}`,
  `boot/vmlinux-${release}`,
  `boot/Image-${release}`,
  `lib/modules/${release}/vmlinuz`,
  `usr/lib/modules/${release}/vmlinuz`,
]

/** Programs of which every system has one. */
export const programPlaces = [
  'bin/sh',
  'usr/bin/sh',
  'bin/bash',
  'usr/bin/bash',
  'sbin/init',
  'usr/sbin/init',
]

const machines: Record<number, Arch> = { 62: 'x86_64', 183: 'aarch64', 21: 'ppc64le' }

/** ELF: magic 4 | class 1 | byte order 1 | ... | type 2 | machine 2 at 18 */
export function archOfProgram(elf: Buffer): Arch | undefined {
  if (elf.length < 20 || elf.toString('latin1', 0, 4) !== '\x7fELF' || elf[5] !== 1) return undefined
  return machines[elf.readUInt16LE(18)]
}

const goNames: Record<string, Arch> = { amd64: 'x86_64', arm64: 'aarch64', ppc64le: 'ppc64le' }
/** As OCI images name it; our own names are taken too. */
export const archByName = (name: string): Arch | undefined =>
  goNames[name] ?? Object.values(goNames).find((arch) => arch === name)

/** os-release(5): shell-like assignments. */
export function osOfRelease(text: string): { id: string; version: string; name: string } {
  const value = (key: string) => {
    const raw = new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1]?.trim() ?? ''
    return raw.replace(/^(["'])(.*)\1$/s, '$2').replace(/\\(["'$`\\])/g, '$1')
  }
  const id = value('ID') || 'linux'
  return { id, version: value('VERSION_ID'), name: value('PRETTY_NAME') || id }
}

/** Host keys of the kinds that the image has; those of a fresh sshd, where it has one and no keys. */
export function hostKeyTypesOf(has: (path: string) => boolean): string[] {
  const kinds = ['ecdsa', 'ed25519', 'rsa']
  const found = kinds.filter((kind) => has(`etc/ssh/ssh_host_${kind}_key.pub`))
  return found.length > 0 || !has('etc/ssh/sshd_config') ? found : kinds
}

export const noKernel = () =>
  new UserError('the image has no kernel', {
    what: 'no lib/modules/RELEASE/modules.dep in it',
    allowed: 'an image with a kernel package (linux-image-..., kernel-core), whose modules depmod knows',
  })

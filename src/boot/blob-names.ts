// The names that kernels and ramdisks are published by.
import type { Digest } from '../address.ts'
import type { SignedArch } from './plan.ts'

const BLOBS = 'blobs/sha256/'
export const blobName = (digest: Digest): string => `${BLOBS}${hexOf(digest)}`
/** One file as it is in the store: every image server has it. A joined one is made here, beside the texts. */
export const isBlobName = (name: string): boolean => name.startsWith(BLOBS)

/** Files one after the other as one file, for loaders that take one ramdisk: the kernel unpacks what follows, too. */
export const joinedName = (files: { name: string }[]): string =>
  files.length === 1
    ? files[0]!.name
    : `blobs/joined/${files.map(({ name }) => name.slice(BLOBS.length)).join('.')}`

/** The key of a joined file among the public ones. */
export const joinedKey = (digests: Digest[]): string => digests.map(hexOf).join('.')

/** `boot/signed/img/3/shimx64.efi`: the names by which shim finds the others in its own folder. */
export const signedName = (image: string, part: 'shim' | 'grub', arch: SignedArch): string =>
  `boot/signed/${image.replace(':', '/')}/${part}${arch === 'x86_64' ? 'x64' : 'aa64'}.efi`

const hexOf = (digest: Digest) => digest.slice('sha256:'.length)

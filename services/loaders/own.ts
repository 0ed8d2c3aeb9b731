// Loaders that the operator names in the configuration: copied into the state folder, so that what is served is what was
// there when the server started, whole.
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ownLoaders } from '../../src/boot/loaders.ts'
import { UserError } from '../../src/fault.ts'
import type { BlobRef } from '../../src/image/version.ts'
import { storeBlob, writeDurably } from './blobs.ts'

type Key = keyof typeof ownLoaders
type Paths = { [K in Key]?: string | undefined }
const mostBytes = 16 << 20

/** The index of what was kept. */
export const ownIndex = (stateDir: string) => join(stateDir, 'bootfiles', 'own.json')

/** Throws UserError for a file that can not be such a loader. */
export async function checkOwnLoaders(paths: Paths) {
  for (const [key, path] of named(paths)) await check(key, path)
}

/** Copies them, by the names they are published by. */
export async function keepOwnLoaders(stateDir: string, paths: Paths) {
  await checkOwnLoaders(paths)
  const loaders: Record<string, BlobRef> = {}
  for (const [key, path] of named(paths)) {
    loaders[ownLoaders[key]] = await storeBlob(path, stateDir)
    // From version 5 on pxelinux has most of itself in this file, which must be of its own version.
    const beside = join(dirname(path), 'ldlinux.c32')
    if (key === 'pxelinux' && (await readable(beside)))
      loaders['ldlinux.c32'] = await storeBlob(beside, stateDir)
  }
  await writeDurably(ownIndex(stateDir), `${JSON.stringify({ loaders }, null, 2)}\n`)
}

const named = (paths: Paths) =>
  Object.entries(paths).filter((entry): entry is [Key, string] => entry[1] !== undefined)

const readable = (path: string) =>
  readFile(path).then(
    () => true,
    () => false,
  )

async function check(key: Key, path: string) {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw refused(key, path, error.code ?? error.message)
  })
  if (bytes.length === 0 || bytes.length > mostBytes) throw refused(key, path, `${bytes.length} bytes`)
  const why = key === 'elilo' || key === 'snponly' ? whyNotEfi(bytes) : undefined
  if (why) throw refused(key, path, why)
}

/** A PE file for x86_64 (Microsoft PE format: the offset of its header is at 60, the machine 4 bytes after that). */
function whyNotEfi(bytes: Buffer): string | undefined {
  const at = bytes.length >= 64 && bytes.toString('latin1', 0, 2) === 'MZ' ? bytes.readUInt32LE(60) : -1
  if (at < 0 || at + 6 > bytes.length || bytes.toString('latin1', at, at + 4) !== 'PE\0\0')
    return 'not an EFI program'
  const machine = bytes.readUInt16LE(at + 4)
  return machine === 0x8664
    ? undefined
    : `an EFI program for machine 0x${machine.toString(16)}, not for x86_64`
}

const refused = (key: Key, path: string, why: string) =>
  new UserError('not a loader', {
    what: `${path}: ${why}`,
    object: `loaders.${key}`,
    allowed: 'the path of a file that the server can read',
  })

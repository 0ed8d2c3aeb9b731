// The key that the server shows to golden clients and clones.
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import ssh2 from 'ssh2'
import { UserError } from '../../src/fault.ts'
import { fingerprintOf } from './login.ts'

/**
 * Makes an ed25519 key pair at `path` (and `path.pub`) unless there is one; an admin puts the public half into the
 * golden client's authorized_keys.
 */
export async function ensureIdentity(path: string): Promise<void> {
  if (existsSync(path)) return
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'sysclone' })
  await writeFile(`${path}.pub`, `${pair.public}\n`, { mode: 0o644 })
  await writeFile(path, `${pair.private}\n`, { mode: 0o600, flag: 'wx' })
}

/** The line for authorized_keys, and its fingerprint as ssh-keygen -lf prints it. */
export type PublicIdentity = { publicKey: string; fingerprint: string; path: string }

/** Taken from the private key, which is what logs in: a .pub file beside it may be of another one. */
export async function readPublicIdentity(path: string): Promise<PublicIdentity> {
  const key = ssh2.utils.parseKey(await readFile(path))
  if (key instanceof Error)
    throw new UserError('not a private key without a passphrase', {
      what: key.message,
      allowed: 'what ssh-keygen -t ed25519 -N "" makes',
      object: path,
      status: 500,
    })
  const blob = key.getPublicSSH()
  const publicKey = `${key.type} ${blob.toString('base64')} ${key.comment || 'sysclone'}`
  return { publicKey, fingerprint: fingerprintOf(blob), path }
}

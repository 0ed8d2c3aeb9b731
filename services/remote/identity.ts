// The key that the server shows to golden clients and clones.
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import ssh2 from 'ssh2'

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

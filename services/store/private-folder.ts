// Folders whose files only root may read, and whom root lets.
import { chmod, mkdir, stat } from 'node:fs/promises'

/**
 * Makes the folder when there is none. No other user of this server gets in, whatever the folder was before; its group does
 * when the administrator has set that (for a web server in front of ours).
 */
export async function makePrivate(folder: string) {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const { mode, gid } = await stat(folder)
  await chmod(folder, gid === 0 ? 0o700 : 0o700 | (mode & 0o010))
}

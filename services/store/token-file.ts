// A token that this server makes for others to show: a file that only root can read.
import { randomBytes } from 'node:crypto'
import { link, open, rm } from 'node:fs/promises'

/** Makes the file where there is none; one that is there stays. */
export async function ensureTokenFile(file: string): Promise<void> {
  const fresh = `${file}.${process.pid}`
  const handle = await open(fresh, 'wx', 0o600)
  try {
    await handle.writeFile(`${randomBytes(32).toString('base64url')}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await link(fresh, file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await rm(fresh)
}

// A unix socket of our own: mode 0600 from its first moment, taken over only from a server that is gone.
import { lstat, mkdir, unlink } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { UserError } from '../../src/fault.ts'

/** Makes the app listen on `path`; refuses when somebody answers there already, or the file is no socket. */
export async function listenPrivately(app: FastifyInstance, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await removeStale(path)
  await app.ready()
  // The file gets its mode when it is made: a chmod after it would leave a moment in which anyone may connect.
  const before = process.umask(0o177)
  try {
    await app.listen({ path })
  } finally {
    process.umask(before)
  }
}

async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (!found) return
  if (!found.isSocket())
    throw new UserError('not a socket', { what: path, allowed: 'another api.socket, or remove the file' })
  if (await answers(path))
    throw new UserError('a server answers there already', {
      what: path,
      allowed: 'stop it, or another api.socket',
    })
  await unlink(path)
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

// Where work says what it found: a file that is made, or a unix socket that somebody listens on (who wants it as a stream).
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import { connect } from 'node:net'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { isDiskFull, UserError } from '../../src/fault.ts'

export type Outlet = Awaited<ReturnType<typeof openOutlet>>

/** A file appears under its name when all of it is there; one that is there already is never touched. */
export async function openOutlet(path: string) {
  const found = await stat(path).catch(() => undefined)
  if (found && !found.isSocket())
    throw new UserError('the file exists already', { what: path, allowed: 'another name', status: 409 })
  const partial = `${path}.partial`
  const stream: Writable = found ? connect(path) : createWriteStream(partial, { flags: 'wx', mode: 0o600 })
  let broken: NodeJS.ErrnoException | undefined
  const gone = new Promise<void>((resolve) => {
    stream.once('error', (error) => {
      broken = error
      resolve()
    })
    stream.once('close', resolve)
  })
  if (found) await Promise.race([once(stream, 'connect'), gone])
  else await Promise.race([once(stream, 'open'), gone])
  check()

  /** Waits while who reads is slow. */
  async function write(chunk: Uint8Array | string) {
    check()
    if (!stream.write(chunk)) await Promise.race([once(stream, 'drain').catch(() => {}), gone])
    check()
  }
  function check() {
    if (!broken && !stream.closed) return
    throw new UserError('it cannot be written', {
      what: `${path}: ${broken ? (broken.code ?? broken.message) : 'nobody reads it any more'}`,
      status: isDiskFull(broken) ? 507 : 400,
    })
  }
  async function end() {
    stream.end()
    await finished(stream).catch(() => {})
    if (broken) check()
    if (!found) await rename(partial, path)
  }
  /** Gives up: a file that is not whole does not stay. */
  async function abort() {
    stream.destroy()
    await gone
    if (!found) await rm(partial, { force: true })
  }
  return { write, end, abort }
}

/** Runs `work` with it; whatever becomes of the work, nothing half stays behind. */
export async function withOutlet<T>(path: string, work: (outlet: Outlet) => Promise<T>): Promise<T> {
  const outlet = await openOutlet(path)
  try {
    const result = await work(outlet)
    await outlet.end()
    return result
  } catch (error) {
    await outlet.abort()
    throw error
  }
}

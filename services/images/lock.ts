// One writer at a time over all processes. flock(1) is held by a child that lives as long as our end of its stdin: the
// kernel frees it whatever becomes of us.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { UserError } from '../../src/fault.ts'

const WAIT_SECONDS = 60

/** Runs `work` alone among all that lock the same file. */
export async function withLock<T>(file: string, work: () => Promise<T>): Promise<T> {
  const holder = spawn(
    'flock',
    ['--timeout', String(WAIT_SECONDS), file, 'sh', '-c', 'echo locked; exec cat'],
    {
      stdio: ['pipe', 'pipe', 'ignore'],
    },
  )
  const closed = new Promise<void>((resolve) => holder.once('close', () => resolve()))
  holder.stdin.on('error', () => {})
  try {
    await Promise.race([once(holder.stdout, 'data'), closed, failed(holder)])
    if (holder.exitCode !== null)
      throw new UserError('image store is locked', { what: file, allowed: 'try again', status: 503 })
    return await work()
  } finally {
    holder.stdin.end()
    if (holder.pid !== undefined) await closed
  }
}

function failed(holder: ReturnType<typeof spawn>): Promise<never> {
  return once(holder, 'error').then(([error]) => {
    throw new UserError('flock cannot be run', {
      what: (error as Error).message,
      allowed: 'package util-linux',
    })
  })
}

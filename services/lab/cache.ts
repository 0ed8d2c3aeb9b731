// The cache of things that are dear to build. Keyed by a hash of the recipe, one builder at a time, whole or not there.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { UserError } from '../../src/fault.ts'

/** Hash of everything that decides what a build gives. */
export const recipeKey = (recipe: unknown) =>
  createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16)

/** The path of `name` in the cache; built by `build(temporary path)` when it is not there. */
export async function cached(
  cache: string,
  name: string,
  build: (path: string) => Promise<void>,
): Promise<string> {
  const path = join(cache, name)
  if (existsSync(path)) return path
  mkdirSync(cache, { recursive: true })
  const unlock = await lock(join(cache, `${name}.lock`))
  try {
    if (existsSync(path)) return path // another one built it while we waited
    const temporary = join(cache, `partial-${name}`)
    rmSync(temporary, { recursive: true, force: true }) // left by a build that was killed: the lock is ours
    await build(temporary)
    renameSync(temporary, path)
    return path
  } finally {
    unlock()
  }
}

/** flock(1) holds the lock for as long as its pipe to us is open: a killed builder never leaves a lock behind. */
function lock(path: string): Promise<() => void> {
  const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo locked; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  return new Promise((resolve, reject) => {
    holder.once('error', reject)
    holder.once('exit', (code) =>
      reject(new UserError('cannot lock the cache', { what: `flock ended with ${code}`, object: path })),
    )
    createInterface(holder.stdout).once('line', () => resolve(() => holder.stdin.end()))
  })
}

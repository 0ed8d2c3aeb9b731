// How a script of ours is begun on another machine: fixed scripts only, never a command built from input. What a script
// needs to know comes on its stdin. Who is not root runs them by sudo.
import { Transform } from 'node:stream'
import { UserError } from '../../src/fault.ts'
import type { SshHost } from './login.ts'

// A login shell may print of its own before our script begins: bash under sshd reads ~/.bashrc. This line ends that.
export const MARK = '--sysclone-output-begins--\n'
const MAX_NOISE = 1 << 20
const SHOWN_NOISE = 2000

/** -n: it never asks for a password, which nobody could type here. */
const asRoot = 'env LC_ALL=C sudo -n -- '

/** What the other machine is told, and what it reads first: the script by its exact length, then `lines`. */
export type Start = { command: string; input: Buffer }

/** Nothing of what follows the script on stdin is taken for a command. */
export function startOf(user: string, script: string, lines: readonly string[]): Start {
  if (lines.some((line) => /[\n\0]/.test(line))) throw new Error('a parameter line holds a newline')
  const text = Buffer.from(script)
  const sh = `${user === 'root' ? '' : asRoot}sh -c`
  return {
    command: `exec ${sh} 'echo ${MARK.trim()}; echo ${MARK.trim()} >&2; eval "$(head -c ${text.length})"' sh`,
    input: Buffer.concat([text, ...lines.map((line) => Buffer.from(`${line}\n`))]),
  }
}

/** Drops all up to the mark; without one nothing comes out, and `noise` is what there was instead. */
export function afterMark() {
  const mark = Buffer.from(MARK)
  let before: Buffer | undefined = Buffer.alloc(0)
  const stream = new Transform({
    transform(chunk: Buffer, _, done) {
      if (before === undefined) return done(null, chunk)
      before = Buffer.concat([before, chunk])
      const at = before.indexOf(mark)
      if (at >= 0) {
        const rest = before.subarray(at + mark.length)
        before = undefined
        stream.emit('begun')
        return done(null, rest.length > 0 ? rest : undefined)
      }
      // Only its tail can hold the beginning of the mark.
      if (before.length > MAX_NOISE) before = before.subarray(-SHOWN_NOISE)
      done()
    },
  })
  return { stream, noise: () => before?.subarray(-SHOWN_NOISE).toString('utf8') }
}

/** What there was instead of the script's beginning. The mark comes on both at once: one of them is enough. */
export function noiseOf(...streams: Pick<ReturnType<typeof afterMark>, 'noise'>[]): string | undefined {
  const noise = streams.map((stream) => stream.noise())
  return noise.includes(undefined) ? undefined : noise.join('\n').trim()
}

const sudoFaults: [RegExp, error: string][] = [
  [/a password is required|a terminal is required|no password was provided/, 'sudo asks for a password'],
  [/not in the sudoers file|may not run sudo|is not allowed to/, 'sudo is not allowed'],
  [/must have a tty/, 'sudo wants a terminal'],
  [/sudo.*(not found|No such file)/, 'sudo is not installed'],
]

/** Why the shell never came to our script. */
export function startFault(
  { host, port, user }: Pick<SshHost, 'host' | 'port' | 'user'>,
  code: number,
  said: string,
): UserError {
  const object = `${host}:${port}`
  const lines = said.split('\n').filter(Boolean)
  const what = lines.at(-1)?.slice(0, 300) ?? `exit code ${code}`
  const error = user === 'root' ? undefined : sudoFaults.find(([shape]) => shape.test(said))?.[1]
  if (error === undefined) return new UserError('no shell on the golden client', { what, object })
  return new UserError(error, {
    what: `${user}: ${what}`,
    allowed: `${user} ALL=(root) NOPASSWD: ALL in /etc/sudoers.d there, or sshuser=root`,
    object,
  })
}

// Scripts of ours on another machine: fixed scripts only, never a command built from input. What a script needs to know
// comes on its stdin. Who is not root runs them by sudo.
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ClientChannel } from 'ssh2'
import { UserError } from '../../src/fault.ts'
import { login, type SshTarget } from './login.ts'

/**
 * A running script. `exit` settles when both streams have ended; it fails when the connection was lost, and when the
 * script was never started, as by sudo that asks for a password.
 */
export type Running = { stdout: Readable; stderr: Readable; exit: Promise<number> }
export type Ssh = Awaited<ReturnType<typeof connectSsh>>

// A login shell may print of its own before our script begins: bash under sshd reads ~/.bashrc. This line ends that.
const MARK = '--sysclone-output-begins--'
const MAX_NOISE = 1 << 20
const SHOWN_NOISE = 2000

/** Drops all up to the mark; without one nothing comes out, and `noise` is what there was instead. */
function afterMark() {
  const mark = Buffer.from(`${MARK}\n`)
  let before: Buffer | undefined = Buffer.alloc(0)
  const stream = new Transform({
    transform(chunk: Buffer, _, done) {
      if (before === undefined) return done(null, chunk)
      before = Buffer.concat([before, chunk])
      const at = before.indexOf(mark)
      if (at >= 0) {
        const rest = before.subarray(at + mark.length)
        before = undefined
        return done(null, rest.length > 0 ? rest : undefined)
      }
      // Only its tail can hold the beginning of the mark.
      if (before.length > MAX_NOISE) before = before.subarray(-SHOWN_NOISE)
      done()
    },
  })
  return { stream, noise: () => before?.subarray(-SHOWN_NOISE).toString('utf8') }
}

/** Logs in; see login.ts for the faults. */
export async function connectSsh(target: SshTarget) {
  const { host, port, user } = target
  const { client, close } = await login(target)
  let lost: Error | undefined
  client.on('error', (error) => {
    lost = error
  })
  const connectionLost = (what: string) =>
    new UserError('ssh connection lost', { what, object: `${host}:${port}`, status: 502 })

  /** `begin` is called at once: of a command that ends at once its exit code comes in the same packet as the channel. */
  function exec<T>(command: string, begin: (channel: ClientChannel) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const refused = (error: Error) => reject(connectionLost(error.message))
      try {
        client.exec(command, (error, channel) => (error ? refused(error) : resolve(begin(channel))))
      } catch (error) {
        refused(error as Error) // ssh2 throws at once when the socket is gone
      }
    })
  }

  /**
   * Runs a script of ours by `sh`: `lines` are what it reads first from stdin, `input` is the rest. The shell gets the
   * script by its exact length, so that nothing of what follows is taken for a command.
   */
  async function runScript(
    script: string,
    lines: readonly string[] = [],
    input?: Readable,
  ): Promise<Running> {
    if (lines.some((line) => /[\n\0]/.test(line))) throw new Error('a parameter line holds a newline')
    const text = Buffer.from(script)
    const sh = `${user === 'root' ? '' : asRoot}sh -c`
    return exec(
      `exec ${sh} 'echo ${MARK}; echo ${MARK} >&2; eval "$(head -c ${text.length})"' sh`,
      (channel): Running => {
        const [stdout, stderr] = [afterMark(), afterMark()]
        const exit = exitOf(channel, () => {
          const [out, err] = [stdout.noise(), stderr.noise()]
          // The mark comes on both at once: one of them is enough.
          return out === undefined || err === undefined ? undefined : `${out}\n${err}`.trim()
        })
        exit.catch(() => {}) // may settle before anybody waits
        channel.write(Buffer.concat([text, ...lines.map((line) => Buffer.from(`${line}\n`))]))
        if (input === undefined) channel.end()
        // A script that ends early closes its stdin: its exit code says why, not the broken pipe.
        else pipeline(input, channel, { end: true }).catch(() => {})
        return { stdout: channel.pipe(stdout.stream), stderr: channel.stderr.pipe(stderr.stream), exit }
      },
    )
  }

  function exitOf(channel: ClientChannel, instead: () => string | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      let code: number | undefined
      channel.once('exit', (number: number | null) => {
        code = number ?? 128 // ended by a signal
      })
      channel.once('close', () => {
        const said = instead()
        if (code !== undefined && said !== undefined) return reject(startFault(target, code, said))
        if (code !== undefined) return resolve(code)
        reject(connectionLost(lost?.message ?? 'it ended without an exit code'))
      })
    })
  }

  /** `close` ends everything at once, running scripts included. */
  return { runScript, close }
}

/** -n: it never asks for a password, which nobody could type here. */
const asRoot = 'env LC_ALL=C sudo -n -- '

const sudoFaults: [RegExp, error: string][] = [
  [/a password is required|a terminal is required|no password was provided/, 'sudo asks for a password'],
  [/not in the sudoers file|may not run sudo|is not allowed to/, 'sudo is not allowed'],
  [/must have a tty/, 'sudo wants a terminal'],
  [/sudo.*(not found|No such file)/, 'sudo is not installed'],
]

/** Why the shell never came to our script. */
function startFault({ host, port, user }: SshTarget, code: number, said: string): UserError {
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

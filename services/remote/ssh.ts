// Scripts of ours on another machine, by ssh2: all that is small goes this way. What is large: openssh.ts.
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ClientChannel } from 'ssh2'
import { UserError } from '../../src/fault.ts'
import { login, type SshTarget } from './login.ts'
import { afterMark, noiseOf, startFault, startOf } from './shell.ts'

/**
 * A running script. `exit` settles when both streams have ended; it fails when the connection was lost, and when the
 * script was never started, as by sudo that asks for a password.
 */
export type Running = { stdout: Readable; stderr: Readable; exit: Promise<number> }
export type Ssh = Awaited<ReturnType<typeof connectSsh>>

/** Logs in; see login.ts for the faults. */
export async function connectSsh(target: SshTarget) {
  const { client, close, hostKeys } = await login(target)
  let lost: Error | undefined
  client.on('error', (error) => {
    lost = error
  })
  const connectionLost = (what: string) => lostFault(target, what)

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
    const { command, input: first } = startOf(target.user, script, lines)
    return exec(command, (channel): Running => {
      const [stdout, stderr] = [afterMark(), afterMark()]
      const exit = exitOf(channel, () => noiseOf(stdout, stderr))
      exit.catch(() => {}) // may settle before anybody waits
      channel.write(first)
      if (input === undefined) channel.end()
      // A script that ends early closes its stdin: its exit code says why, not the broken pipe.
      else pipeline(input, channel, { end: true }).catch(() => {})
      return { stdout: channel.pipe(stdout.stream), stderr: channel.stderr.pipe(stderr.stream), exit }
    })
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
  return { runScript, close, hostKeys }
}

export const lostFault = ({ host, port }: SshTarget, what: string) =>
  new UserError('ssh connection lost', { what, object: `${host}:${port}`, status: 502 })

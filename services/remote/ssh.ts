// ssh to a machine that we were told the host key of: login by key only, fixed scripts only, never a command built from
// input. What a script needs to know comes on its stdin.
import { createHash } from 'node:crypto'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Algorithms, ClientChannel } from 'ssh2'
import { Client } from 'ssh2'
import { UserError } from '../../src/fault.ts'

// aes128-gcm first: the cheapest for both sides. Without SHA-1 and DSS, which ssh2 would still offer.
const algorithms: Algorithms = {
  kex: [
    'curve25519-sha256',
    'curve25519-sha256@libssh.org',
    'ecdh-sha2-nistp256',
    'ecdh-sha2-nistp384',
    'ecdh-sha2-nistp521',
    'diffie-hellman-group16-sha512',
    'diffie-hellman-group18-sha512',
    'diffie-hellman-group14-sha256',
  ],
  serverHostKey: [
    'ssh-ed25519',
    'ecdsa-sha2-nistp256',
    'ecdsa-sha2-nistp384',
    'ecdsa-sha2-nistp521',
    'rsa-sha2-512',
    'rsa-sha2-256',
  ],
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr', 'aes256-ctr'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com', 'hmac-sha2-256', 'hmac-sha2-512'],
  compress: ['none'],
}

export type SshTarget = {
  host: string
  port: number
  user: string
  privateKey: string
  hostKey: string | undefined // 'SHA256:...'; undefined: first contact, which only shows the fingerprint
  timeoutMs: number
}

/** A running script. `exit` settles when both streams have ended; it fails when the connection was lost. */
export type Running = { stdout: Readable; stderr: Readable; exit: Promise<number> }
export type Ssh = Awaited<ReturnType<typeof connectSsh>>

/** `SHA256:...` as OpenSSH writes it. */
export const fingerprintOf = (key: Buffer): string =>
  `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`

// A login shell may print of its own before our script begins: bash under sshd reads ~/.bashrc. This line ends that.
const MARK = '--sysclone-output-begins--'
const MAX_NOISE = 1 << 20

/** Drops all up to the mark; without one, nothing comes out. */
function afterMark(): Transform {
  const mark = Buffer.from(`${MARK}\n`)
  let noise: Buffer | undefined = Buffer.alloc(0)
  return new Transform({
    transform(chunk: Buffer, _, done) {
      if (noise === undefined) return done(null, chunk)
      noise = Buffer.concat([noise, chunk])
      const at = noise.indexOf(mark)
      if (at >= 0) {
        const rest = noise.subarray(at + mark.length)
        noise = undefined
        return done(null, rest.length > 0 ? rest : undefined)
      }
      // Only its tail can hold the beginning of the mark.
      if (noise.length > MAX_NOISE) noise = noise.subarray(-mark.length)
      done()
    },
  })
}

/** Logs in. Every fault is a UserError naming the machine; an unknown or wrong host key ends it before any login. */
export async function connectSsh(target: SshTarget) {
  const { host, port, user, privateKey, hostKey, timeoutMs } = target
  const client = new Client()
  let seen: string | undefined
  let lost: Error | undefined
  await new Promise<void>((resolve, reject) => {
    client
      .once('ready', resolve)
      .once('error', (error) => reject(connectFault(target, seen, error)))
      .once('close', () => reject(connectFault(target, seen, new Error('connection closed'))))
    client.connect({
      host,
      port,
      username: user,
      privateKey,
      algorithms,
      readyTimeout: timeoutMs,
      keepaliveInterval: 10_000,
      keepaliveCountMax: 6,
      hostVerifier: (key: Buffer) => {
        seen = fingerprintOf(key)
        return seen === hostKey
      },
    })
  }).catch((error) => {
    client.on('error', () => {}) // what still comes in while the socket closes
    client.destroy()
    throw error
  })
  client.on('error', (error) => {
    lost = error
  })

  function exec(command: string): Promise<ClientChannel> {
    return new Promise((resolve, reject) => {
      const refused = (error: Error) =>
        reject(
          new UserError('ssh connection lost', {
            what: error.message,
            object: `${host}:${port}`,
            status: 502,
          }),
        )
      try {
        client.exec(command, (error, channel) => (error ? refused(error) : resolve(channel)))
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
    const channel = await exec(
      `exec sh -c 'echo ${MARK}; echo ${MARK} >&2; eval "$(head -c ${text.length})"' sh`,
    )
    const exit = exitOf(channel)
    exit.catch(() => {}) // may settle before anybody waits
    channel.write(Buffer.concat([text, ...lines.map((line) => Buffer.from(`${line}\n`, 'latin1'))]))
    if (input === undefined) channel.end()
    // A script that ends early closes its stdin: its exit code says why, not the broken pipe.
    else pipeline(input, channel, { end: true }).catch(() => {})
    return { stdout: channel.pipe(afterMark()), stderr: channel.stderr.pipe(afterMark()), exit }
  }

  function exitOf(channel: ClientChannel): Promise<number> {
    return new Promise((resolve, reject) => {
      let code: number | undefined
      channel.once('exit', (number: number | null) => {
        code = number ?? 128 // ended by a signal
      })
      channel.once('close', () => {
        if (code !== undefined) return resolve(code)
        const what = lost?.message ?? 'it ended without an exit code'
        reject(new UserError('ssh connection lost', { what, object: `${host}:${port}`, status: 502 }))
      })
    })
  }

  /** Ends everything at once, running scripts included. */
  function close() {
    client.destroy()
  }
  return { runScript, close }
}

function connectFault(target: SshTarget, seen: string | undefined, error: Error): UserError {
  const object = `${target.host}:${target.port}`
  if (seen !== undefined && target.hostKey === undefined)
    return new UserError('ssh host key is not known yet', {
      object,
      what: `it presents ${seen}`,
      allowed: `compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there, then --accept-hostkey ${seen}`,
    })
  if (seen !== undefined && seen !== target.hostKey)
    return new UserError('ssh host key is not the known one', {
      object,
      what: `it presents ${seen}, known is ${target.hostKey}`,
      allowed: 'the known key; after a reinstallation set sshhostkey= of the node anew',
    })
  if ((error as { level?: string }).level === 'client-authentication')
    return new UserError('ssh login refused', {
      object,
      what: `user ${target.user}, by public key`,
      allowed: `our public key in ~${target.user}/.ssh/authorized_keys there`,
    })
  return new UserError('not reachable by ssh', { object, what: error.message, status: 502 })
}

/**
 * The fingerprint that an sshd presents; undefined when none answers in time. Sees whether a clone has come up: no
 * login is tried.
 */
export function probeHostKey({
  host,
  port,
  timeoutMs,
}: Pick<SshTarget, 'host' | 'port' | 'timeoutMs'>): Promise<string | undefined> {
  return new Promise((resolve) => {
    const client = new Client()
    const finish = (key?: string) => {
      clearTimeout(timer)
      resolve(key)
      client.destroy()
    }
    const timer = setTimeout(finish, timeoutMs)
    client.on('error', () => finish()).on('close', () => finish())
    client.connect({
      host,
      port,
      username: 'probe',
      algorithms,
      readyTimeout: timeoutMs,
      hostVerifier: (key: Buffer) => {
        finish(fingerprintOf(key))
        return false
      },
    })
  })
}

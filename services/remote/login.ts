// Logging in to a machine by ssh: by key only, and only where the host key is the one we were told. The way may lead over a
// jump host, whose key is checked in the same way.
import { createHash } from 'node:crypto'
import type { Algorithms, ClientChannel, ConnectConfig } from 'ssh2'
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

/** An sshd, and who logs in there. */
export type SshHost = {
  host: string
  port: number
  user: string
  hostKey: string | undefined // 'SHA256:...'; undefined: first contact, which only shows the fingerprint
}
export type SshTarget = SshHost & {
  privateKey: string
  timeoutMs: number
  jump?: SshHost | undefined // the way leads over this one
}

/** `SHA256:...` as OpenSSH writes it. */
export const fingerprintOf = (key: Buffer): string =>
  `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`

/** Public keys as they come by the wire (RFC 4253, 6.6), of those we are told to trust. */
export type HostKeys = { host: Buffer; jump?: Buffer }
export type Login = { client: Client; hostKeys: HostKeys; close(): void }

/** Logs in. Every fault is a UserError naming the machine; an unknown or wrong host key ends it before any login. */
export async function login(target: SshTarget): Promise<Login> {
  if (target.jump === undefined) {
    const { client, key } = await logInTo(target, target, 'host')
    return { client, hostKeys: { host: key }, close: () => client.destroy() }
  }
  const { client: way, key: jump } = await logInTo(target.jump, target, 'jump host')
  way.on('error', () => {}) // the connection inside says that it was lost
  try {
    const sock = await forward(way, target)
    const { client, key } = await logInTo(target, target, 'host', { sock })
    const close = () => {
      client.destroy()
      way.destroy()
    }
    client.once('close', close)
    return { client, hostKeys: { host: key, jump }, close }
  } catch (error) {
    way.destroy()
    throw error
  }
}

type Role = 'host' | 'jump host'

async function logInTo(
  host: SshHost,
  { privateKey, timeoutMs, jump }: SshTarget,
  role: Role,
  by: Pick<ConnectConfig, 'sock'> = {},
): Promise<{ client: Client; key: Buffer }> {
  const client = new Client()
  let seen: string | undefined
  let presented = Buffer.alloc(0)
  // The key of the jump host is not kept before all is well: it has to be said again.
  const before = role === 'host' && jump?.hostKey ? `${keyWords['jump host'].option} ${jump.hostKey} ` : ''
  const fault = (error: Error) => connectFault(host, role, seen, error, before)
  await new Promise<void>((resolve, reject) => {
    client
      .once('ready', resolve)
      .once('error', (error) => reject(fault(error)))
      .once('close', () => reject(fault(new Error('connection closed'))))
    client.connect({
      host: host.host,
      port: host.port,
      ...by,
      username: host.user,
      privateKey,
      algorithms,
      readyTimeout: timeoutMs,
      keepaliveInterval: 10_000,
      keepaliveCountMax: 6,
      hostVerifier: (key: Buffer) => {
        presented = Buffer.from(key)
        seen = fingerprintOf(key)
        return seen === host.hostKey
      },
    })
  }).catch((error) => {
    client.on('error', () => {}) // what still comes in while the socket closes
    client.destroy()
    throw error
  })
  return { client, key: presented }
}

function forward(way: Client, { host, port, jump, timeoutMs }: SshTarget): Promise<ClientChannel> {
  const fault = (what: string) =>
    new UserError('not reachable from the jump host', {
      what: `${jump!.host}: ${what}`,
      object: `${host}:${port}`,
      status: 502,
    })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(fault('no answer in time')), timeoutMs)
    way.forwardOut('127.0.0.1', 0, host, port, (error, channel) => {
      clearTimeout(timer)
      if (error) reject(fault(error.message))
      else resolve(channel)
    })
  })
}

const keyWords = {
  host: { option: '--accept-hostkey', attribute: 'sshhostkey' },
  'jump host': { option: '--accept-jump-hostkey', attribute: 'sshjumphostkey' },
}

function connectFault(
  host: SshHost,
  role: Role,
  seen: string | undefined,
  error: Error,
  before: string, // options that go with the one that accepts the key
): UserError {
  const object = `${host.host}:${host.port}`
  const { option, attribute } = keyWords[role]
  const key = role === 'host' ? 'ssh host key' : 'ssh host key of the jump host'
  if (seen !== undefined && host.hostKey === undefined)
    return new UserError(`${key} is not known yet`, {
      object,
      what: `it presents ${seen}`,
      allowed: `compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there, then ${before}${option} ${seen}`,
    })
  if (seen !== undefined && seen !== host.hostKey)
    return new UserError(`${key} is not the known one`, {
      object,
      what: `it presents ${seen}, known is ${host.hostKey}`,
      allowed: `the known key; after a reinstallation set ${attribute}= of the node anew`,
    })
  if ((error as { level?: string }).level === 'client-authentication')
    return new UserError(role === 'host' ? 'ssh login refused' : 'ssh login refused by the jump host', {
      object,
      what: `user ${host.user}, by public key`,
      allowed: `our public key (sysclone key prints it) in ~${host.user}/.ssh/authorized_keys there`,
    })
  const what = error.message
  return new UserError(role === 'host' ? 'not reachable by ssh' : 'jump host not reachable by ssh', {
    object,
    what,
    status: 502,
  })
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

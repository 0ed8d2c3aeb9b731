// What OpenSSH's client is told: as ssh_config(5) and sshd(8) (known_hosts) say it. Nothing of what a person or another
// program has set on this machine counts.

export type SshConfigHost = { host: string; port: number; user: string; key: Buffer }
export type SshConfigNeeds = {
  host: SshConfigHost
  jump?: SshConfigHost // the way leads over this one
  agent: string // path of the socket of an agent that has the key
  knownHosts: string // path of the file that holds renderKnownHosts
  timeoutMs: number
}

// The hosts' names in these two files. What they are called elsewhere does not matter.
export const HOST = 'golden'
const JUMP = 'jump'

/** Algorithms without SHA-1; the cheapest cipher for both sides first, as services/remote/login.ts has them. */
const common = [
  ['BatchMode', 'yes'],
  ['PreferredAuthentications', 'publickey'],
  ['IdentityFile', 'none'],
  ['GlobalKnownHostsFile', '/dev/null'],
  ['StrictHostKeyChecking', 'yes'],
  ['UpdateHostKeys', 'no'],
  ['CheckHostIP', 'no'],
  ['Ciphers', 'aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr'],
  ['MACs', 'hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512'],
  ['Compression', 'no'],
  ['ClearAllForwardings', 'yes'],
  ['ForwardAgent', 'no'],
  ['ControlMaster', 'no'],
  ['ControlPath', 'none'],
  ['RequestTTY', 'no'],
  ['EscapeChar', 'none'],
  ['LogLevel', 'ERROR'],
  ['ServerAliveInterval', '10'],
  ['ServerAliveCountMax', '6'],
]

/** @returns the text of a file for `ssh -F` */
export function renderSshConfig({ host, jump, agent, knownHosts, timeoutMs }: SshConfigNeeds): string {
  const shared = [
    ...common,
    ['IdentityAgent', quoted(agent)],
    ['UserKnownHostsFile', quoted(knownHosts)],
    ['ConnectTimeout', String(Math.max(1, Math.ceil(timeoutMs / 1000)))],
  ]
  return [
    ...(jump ? section(JUMP, jump, []) : []),
    ...section(HOST, host, jump ? [['ProxyJump', JUMP]] : []),
    ...block('*', shared),
  ].join('')
}

/** @returns the text of a known_hosts file: these keys, and no others */
export const renderKnownHosts = ({ host, jump }: Pick<SshConfigNeeds, 'host' | 'jump'>): string =>
  [[HOST, host] as const, ...(jump ? [[JUMP, jump] as const] : [])]
    .map(([name, { key }]) => `${name} ${typeOf(key)} ${key.toString('base64')}\n`)
    .join('')

const section = (name: string, { host, port, user, key }: SshConfigHost, more: string[][]) =>
  block(name, [
    ['HostName', quoted(host)],
    ['Port', String(port)],
    ['User', plain(user)],
    ['HostKeyAlias', name],
    ['HostKeyAlgorithms', algorithmsOf(typeOf(key))],
    ...more,
  ])

const block = (name: string, options: string[][]) => [
  `Host ${name}\n`,
  ...options.map(([key, value]) => `  ${key} ${value}\n`),
]

/** Quotes, backslashes and control characters have no place in names of hosts, users and our files. */
function plain(word: string): string {
  if (/[\x00-\x1f"\\\x7f]/.test(word)) throw new Error(`not for an ssh_config: ${JSON.stringify(word)}`)
  return `"${word}"`
}

/** Where tokens are known a percent sign begins one. */
const quoted = (word: string): string => plain(word).replaceAll('%', '%%')

/** The key's own name: the string it begins with (RFC 4253, 6.6). */
function typeOf(key: Buffer): string {
  const length = key.length < 4 ? 0 : key.readUInt32BE(0)
  const type = key.toString('latin1', 4, 4 + length)
  if (type.length !== length || !/^[a-z0-9@.-]{1,64}$/.test(type)) throw new Error('not a public key')
  return type
}

/** An RSA key signs in several ways; SHA-1 is none of them. */
const algorithmsOf = (type: string): string => (type === 'ssh-rsa' ? 'rsa-sha2-512,rsa-sha2-256' : type)

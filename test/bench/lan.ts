// A network of the bench's own: two namespaces and a cable between them. Servers stand in one, clients in the other.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import type { Ipv4 } from '../../src/address.ts'

export const serverAddress = '10.77.0.1' as Ipv4
export const subnet = '10.77.0.0/16'
/** Addresses of clients: the pool of each DHCP server, and what client number i has without asking. */
export const pool = { from: '10.77.128.1' as Ipv4, to: '10.77.254.254' as Ipv4 }
/** Of client number 0; the others follow. */
export const firstClient = pool.from
const clientsRange = '10.77.128.0/17'
const clientAddress = '10.77.0.2'
export const devices = { server: 'srv0', client: 'cli0' }

export type Lan = ReturnType<typeof makeLan>

const ip = (...argv: string[]) => void execFileSync('ip', argv, { stdio: ['ignore', 'ignore', 'inherit'] })

export function makeLan() {
  removeLeft()
  const names = { server: `scbs${process.pid}`, client: `scbc${process.pid}` }
  const inside = (side: keyof typeof names, argv: string[]) => ['ip', 'netns', 'exec', names[side], ...argv]

  for (const name of Object.values(names)) ip('netns', 'add', name)
  const { server, client } = devices
  ip('-n', names.server, 'link', 'add', server, 'type', 'veth', 'peer', 'name', client, 'netns', names.client)
  for (const side of ['server', 'client'] as const) {
    const address = side === 'server' ? serverAddress : clientAddress
    ip('-n', names[side], 'addr', 'add', `${address}/16`, 'dev', devices[side])
    for (const device of ['lo', devices[side]]) ip('-n', names[side], 'link', 'set', device, 'up')
  }
  // Each client has an address of its own, and the kernels need neither a list of them nor a neighbour entry for each.
  ip('-n', names.client, 'route', 'add', 'local', clientsRange, 'dev', 'lo')
  ip('-n', names.server, 'route', 'add', clientsRange, 'via', clientAddress)
  ip('-n', names.client, 'route', 'add', 'broadcast', '255.255.255.255', 'dev', devices.client)
  // An address that nobody has taken yet must not answer a server that looks whether it is free.
  execFileSync('ip', ['netns', 'exec', names.client, 'sysctl', '-qw', 'net.ipv4.icmp_echo_ignore_all=1'])

  const nft = (rules: string) =>
    execFileSync('ip', ['netns', 'exec', names.client, 'nft', '-f', '-'], { input: rules })
  return {
    inServer: (argv: string[]) => inside('server', argv),
    inClient: (argv: string[]) => inside('client', argv),
    /** Loses this share of the UDP packets in both directions, each with the same probability. */
    lose(percent: number) {
      const lossy = `ip protocol udp numgen random mod 1000 < ${percent * 10} drop`
      const chain = (name: string, hook: string) =>
        `add chain ip bench ${name} { type filter hook ${hook} priority 0; }\nadd rule ip bench ${name} ${lossy}\n`
      nft(`add table ip bench\n${chain('in', 'prerouting')}${chain('out', 'postrouting')}`)
    },
    loseNothing: () => nft('delete table ip bench\n'),
    close() {
      for (const name of Object.values(names)) ip('netns', 'del', name)
    },
  }
}

/** Of a run that was killed: its number is in the name. */
function removeLeft() {
  const folder = '/run/netns'
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const pid = /^scb[sc](\d+)$/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) ip('netns', 'del', name)
  }
}

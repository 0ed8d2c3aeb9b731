// A capture of one tree over ssh, by us and by rsync -aHAXS, in turns; both read it from the page cache of the same sshd.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { heapOf } from '../../services/process.ts'
import { openAccount, watchMemory } from './accounting.ts'
import { devices } from './lan.ts'
import { launch } from './process.ts'
import { note } from './report.ts'
import type { Ground } from './site.ts'

const PORT = 2222
const goldenAddress = '10.77.0.2'
const MB = 1e6

export type Turn = {
  seconds: number
  cpu: number // seconds here
  goldenCpu: number // seconds there
  wire: number // bytes
  memory: number // the most bytes that were seen
  said: string
}
type Contestant = { name: string; argv(store: string): string[] }
type Sshd = Awaited<ReturnType<typeof startSshd>>

/** @param tree a folder @param name of what is made in `ground.work` */
export function openContest(ground: Ground, sshd: Sshd, tree: string, name: string) {
  const { lan, work } = ground
  const store = (contestant: string) => join(work, `${name}-${contestant}`)
  const order = (images: string) => ({
    ...{ images, tree, host: goldenAddress, port: PORT },
    ...{ hostKey: sshd.hostKey, identity: sshd.identity },
  })
  const ours: Contestant = {
    name: 'sysclone',
    argv: (images) => [
      ...[process.execPath, '--disable-warning=ExperimentalWarning', ...heapOf.job],
      ...[join(import.meta.dirname, 'capture-ours.ts'), JSON.stringify(order(images))],
    ],
  }
  const rsync: Contestant = {
    name: 'rsync',
    argv: (into) => [
      ...['rsync', '-aHAXS', '--numeric-ids', '--delete', '-e', sshd.client],
      ...[`root@${goldenAddress}:${tree}/`, `${into}/`],
    ],
  }
  const wireBytes = () => {
    const argv = lan.inServer(['cat', `/sys/class/net/${devices.server}/statistics/rx_bytes`])
    return Number(execFileSync(argv[0]!, argv.slice(1)))
  }

  async function turn({ name, argv }: Contestant, into: string): Promise<Turn> {
    mkdirSync(into, { recursive: true })
    const account = openAccount()
    const [program, ...words] = account.enter(lan.inServer(argv(into)))
    const [wire, golden, from] = [wireBytes(), sshd.cpu(), performance.now()]
    const child = spawn(program!, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const memory = watchMemory([child.pid!])
    let said = ''
    child.stdout.on('data', (chunk) => {
      said += chunk
    })
    const [code] = await once(child, 'close')
    const seconds = (performance.now() - from) / 1000
    if (code !== 0) throw new Error(`${name} ended with ${code}`)
    const cpu = account.seconds(child.pid!)
    account.close()
    return {
      ...{ seconds, cpu, goldenCpu: sshd.cpu() - golden, wire: wireBytes() - wire },
      ...{ memory: memory.stop(), said },
    }
  }

  async function both(what: string): Promise<[Turn, Turn]> {
    const our = await turn(ours, store('ours'))
    const their = await turn(rsync, store('rsync'))
    for (const [name, { seconds, cpu, goldenCpu, wire, memory }] of [
      ['sysclone', our],
      ['rsync', their],
    ] as const)
      note(
        `${what}, ${name}: ${seconds.toFixed(2)} s, ${cpu.toFixed(1)} s CPU here, ${goldenCpu.toFixed(1)} s there, ` +
          `${(wire / MB).toFixed(0)} MB over the wire, ${(memory / MB).toFixed(0)} MB of memory`,
      )
    return [our, their]
  }
  const stored = (contestant: 'ours' | 'rsync') => sizeOf(store(contestant))
  const forget = () => {
    for (const contestant of ['ours', 'rsync']) rmSync(store(contestant), { recursive: true, force: true })
  }
  return { both, stored, forget }
}

/** Bytes on the disk. */
const sizeOf = (folder: string): number =>
  Number(execFileSync('du', ['-sB1', folder]).toString().split('\t')[0])

export async function startSshd({ lan, work }: Ground) {
  mkdirSync('/run/sshd', { recursive: true })
  const folder = join(work, 'sshd')
  mkdirSync(folder)
  const key = (name: string) => {
    const path = join(folder, name)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path])
    return path
  }
  const [host, identity] = [key('host'), key('client')]
  const config = join(folder, 'config')
  const options = {
    ...{ Port: PORT, ListenAddress: goldenAddress, HostKey: host, AuthorizedKeysFile: `${identity}.pub` },
    ...{ StrictModes: 'no', PermitRootLogin: 'yes', UsePAM: 'no', PidFile: 'none' },
    SetEnv: 'SHLVL=2', // bash then does not read what this machine's root has in ~/.bashrc
  }
  writeFileSync(
    config,
    Object.entries(options)
      .map((pair) => `${pair.join(' ')}\n`)
      .join(''),
  )
  const argv = lan.inClient(['/usr/sbin/sshd', '-D', '-e', '-f', config])
  const running = await launch('sshd', { argv, log: join(folder, 'log'), listens: { tcp: [PORT] } })
  const known = join(folder, 'known')
  writeFileSync(known, `[${goldenAddress}]:${PORT} ${readFileSync(`${host}.pub`, 'utf8')}`)
  const hostKey = execFileSync('ssh-keygen', ['-lf', `${host}.pub`])
    .toString()
    .split(' ')[1]!
  const client = `ssh -p ${PORT} -i ${identity} -o UserKnownHostsFile=${known} -o BatchMode=yes`
  return { ...running, hostKey, identity, client }
}

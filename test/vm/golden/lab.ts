// The place where golden clients of several makes are captured: a server, one machine at a time, and a gate that leads to a
// network where the server itself reaches nobody.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { demoSettings } from '../../../services/cli/lab.ts'
import { must, run } from '../../../services/lab/command.ts'
import { fingerprint } from '../../../services/lab/golden.ts'
import { bridge, serverAddress, subnet } from '../../../services/lab/network.ts'
import { openSite, race, until } from '../../../services/lab/site.ts'
import { layOut, readTold, type Tree } from './compare.ts'
import { ensureLabKey, ensureMachine, type Make } from './machines.ts'

export type GoldenLab = Awaited<ReturnType<typeof openGoldenLab>>
type Inside = (argv: string[]) => string[]
const file = (name: string) => join(import.meta.dirname, name)
export const script = (name: string) => readFileSync(file(name), 'utf8')

/** They end what hangs; they do not judge a slow machine. */
const limits = { bootMs: 15 * 60_000, scriptMs: 15 * 60_000 }
const gate = { name: 'gate', bridge: 'br1', uplink: '10.77.0.2', lan: '10.78.0.1', port: 2222 }

export async function openGoldenLab(signal: AbortSignal, say: (line: string) => void) {
  const settings = demoSettings()
  const key = await race(ensureLabKey(settings.cache), signal)
  const site = await openSite({ ...settings, say, signal })
  const { network, work, socket } = site
  const wait = { limitMs: limits.bootMs, everyMs: 1000, signal }

  const startServer = () =>
    site.startServer(`stateDir: ${join(work, 'state')}
networks: [{ interface: ${bridge}, subnet: ${subnet}, address: ${serverAddress}, mode: dhcp }]
http: { port: 80, imagePort: 8081, workers: 1 }
tftp: { port: 69 }
api: { socket: ${socket} }
ssh: { identity: ${key} }
`)

  /** Its disks and ssh host key: minutes, when they are not in the cache. */
  const built = (make: Make) => race(ensureMachine(settings.cache, make, say), signal)

  /** Switches it on and waits for its sshd; `inside`: where it can be reached from, if not from the server. */
  async function boot(make: Make, { mac, ip, inside }: { mac: string; ip: string; inside?: Inside }) {
    const { disks } = await built(make)
    const [disk = '', ...moreDisks] = disks
    const machine = await site.addMachine({
      ...{ name: make, firmware: 'bios', mac, disk, moreDisks, boots: 'disk', pristine: true, processors: 2 },
      ...(inside && { bridge: gate.bridge }),
    })
    await machine.powerOn('disk')
    const ssh = await reach(make, ip, inside)
    return { ssh, powerOff: machine.powerOff }
  }

  /** Waits for the sshd of a machine and gives what runs scripts there as root; a script that fails is a fault. */
  async function reach(name: string, ip: string, from: Inside = network.inside) {
    const ssh = (text: string, ...args: string[]) =>
      race(
        must(from([...login(ip), 'sh', '-eu', '-s', '--', ...args]), {
          input: text,
          timeoutMs: limits.scriptMs,
        }),
        signal,
      )
    await until(`${name} answers ssh`, wait, async () => {
      site.check()
      const { code } = await race(run(from([...login(ip), 'true']), { timeoutMs: 60_000 }), signal)
      return code === 0 ? true : undefined
    })
    // What still starts would change files while they are told.
    await ssh('systemctl is-system-running --wait || true')
    return ssh
  }
  const login = (ip: string) => [
    ...['ssh', '-F', '/dev/null', '-i', key, '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=10'],
    ...['-o', 'StrictHostKeyChecking=accept-new', '-o', `UserKnownHostsFile=${join(work, 'known_hosts')}`],
    `root@${ip}`,
  ]

  /** A host between the server and a network of its own, with an sshd that lets the server's key in. */
  async function openGate() {
    await network.addBridge(gate.bridge)
    const host = await network.addHost(gate.name)
    await host.plug('uplink', bridge, `${gate.uplink}/24`)
    await host.plug('lan', gate.bridge, `${gate.lan}/24`)
    mkdirSync('/run/sshd', { recursive: true }) // where Debian's sshd separates privileges
    const at = (name: string) => join(work, `gate.${name}`)
    await must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', gate.name, '-f', at('key')])
    const config = {
      ...{
        Port: gate.port,
        ListenAddress: gate.uplink,
        HostKey: at('key'),
        AuthorizedKeysFile: `${key}.pub`,
      },
      ...{ StrictModes: 'no', PermitRootLogin: 'yes', UsePAM: 'no', PidFile: 'none' },
    }
    const lines = Object.entries(config).map((pair) => `${pair.join(' ')}\n`)
    writeFileSync(at('config'), lines.join(''))
    await site.startOther(gate.name, host.inside(['/usr/sbin/sshd', '-D', '-e', '-f', at('config')]))
    const hostKey = fingerprint(readFileSync(`${at('key')}.pub`, 'utf8'))
    return { inside: host.inside, jump: `root@${gate.uplink}:${gate.port}`, hostKey }
  }

  /** The files of a version, as a person gets them from its export. */
  async function filesOf(version: string): Promise<Tree> {
    const archive = join(work, 'export.tar')
    const folder = join(work, 'export')
    await site.sysclone('imgexport', version, archive)
    layOut(archive, folder)
    const told = await must(['sh', file('told.sh'), folder])
    for (const path of [archive, folder]) rmSync(path, { recursive: true })
    return readTold(told)
  }

  return { ...site, startServer, built, boot, reach, openGate, filesOf }
}

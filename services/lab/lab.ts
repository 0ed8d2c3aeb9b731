// A lab: a site with the golden client's disk, and ssh to everything that was cloned from it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import { run } from './command.ts'
import { ensureGolden, fingerprint, type Golden } from './golden.ts'
import { type Firmware, makeBlankDisk } from './machine.ts'
import { bridge, serverAddress, subnet } from './network.ts'
import { openSite, race, type SiteOptions } from './site.ts'

export type Lab = Awaited<ReturnType<typeof openLab>>

/** Opens a lab without a server and without machines. */
export async function openLab(options: SiteOptions) {
  const { cache, say, signal } = options
  const golden = await race(ensureGolden(cache, say), signal)
  const site = await openSite(options)
  const { work, network, socket } = site

  async function machine(wanted: { name: string; firmware: Firmware; mac: string; diskBytes: number }) {
    const disk = join(work, `${wanted.name}.raw`)
    await makeBlankDisk(disk, wanted.diskBytes)
    return site.addMachine({ ...wanted, disk, boots: 'network' })
  }
  const goldenMachine = (mac: string) =>
    site.addMachine({
      name: 'golden',
      firmware: 'bios',
      mac,
      disk: golden.disk,
      boots: 'disk',
      pristine: true,
      processors: 2,
    })

  const startServer = () => site.startServer(serverConfig({ work, socket, golden }))

  /** Runs a script on a machine as root; `undefined` while its sshd does not answer. */
  async function ssh(name: string, address: string, script: string): Promise<string | undefined> {
    const known = join(work, `${name}.known_hosts`)
    const settings = ['BatchMode=yes', 'StrictHostKeyChecking=accept-new', `UserKnownHostsFile=${known}`]
    const argv = [
      'ssh',
      '-F',
      '/dev/null',
      '-i',
      golden.key,
      ...['ConnectTimeout=5', ...settings].flatMap((s) => ['-o', s]),
    ]
    const argument = [...argv, `root@${address}`, 'sh', '-eu', '-s']
    const { code, stdout, stderr } = await race(
      run(network.inside(argument), { input: script, timeoutMs: 60_000 }),
      signal,
    )
    if (code === 0) return stdout
    if (code === 255 || code === 137) return undefined
    throw new UserError(`a command on ${name} ended with exit code ${code}`, { what: stderr.trim() })
  }

  return {
    ...site,
    ...{ golden, machine, goldenMachine, startServer, ssh },
    /** 'SHA256:...' of the host key that a machine showed at its first ssh contact in this lab. */
    hostKeyOf: (name: string) => {
      const line = readFileSync(join(work, `${name}.known_hosts`), 'utf8').trim()
      return fingerprint(line.slice(line.indexOf(' ') + 1))
    },
  }
}

function serverConfig(lab: { work: string; socket: string; golden: Golden }) {
  return `# One private network, one namespace: nothing outside it hears this server.
stateDir: ${join(lab.work, 'state')}
networks: [{ interface: ${bridge}, subnet: ${subnet}, address: ${serverAddress}, mode: dhcp }]
http: { port: 80, imagePort: 8081, workers: 2 }
tftp: { port: 69 }
api: { socket: ${lab.socket} }
ssh: { identity: ${lab.golden.key} }
`
}

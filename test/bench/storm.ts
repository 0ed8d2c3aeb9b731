// A rack of 1,000 machines that is switched on: each gets an address, loads 1 MB by TFTP, its configuration and 10 MB by
// HTTP. The time is that of the last one.
import { memoryOf, watchMemory } from './accounting.ts'
import { makeRack, type Step } from './client.ts'
import { sysclone } from './ours.ts'
import { type Contestant, combined, peers } from './peers.ts'
import { heading, note, plain, ratio } from './report.ts'
import { takeTurns } from './rounds.ts'
import { fileBytes, type Ground, type Site } from './site.ts'

const MACHINES = 1000
const ROUNDS = 2

type Booting = Contestant & { steps(site: Site): Step[] }
const ours: Booting = {
  ...sysclone({ nodes: MACHINES }),
  steps: ({ digests: { loader, blob } }) => [
    { kind: 'dhcp' },
    { kind: 'tftp', window: 1, file: `blobs/sha256/${loader}` },
    { kind: 'http', port: 80, bytes: 0, path: '/boot/ipxe/%m' },
    { kind: 'http', port: 8081, bytes: fileBytes.blob, path: `/blobs/sha256/${blob}` },
  ],
}
const booting = (contestant: Contestant): Booting => ({
  ...contestant,
  steps: () => [
    { kind: 'dhcp' },
    { kind: 'tftp', window: 1, file: 'loader' },
    { kind: 'http', port: 80, bytes: 0, path: '/config/%m' },
    { kind: 'http', port: 80, bytes: fileBytes.blob, path: '/blob' },
  ],
})
const contestants = [
  ours,
  booting(combined(peers.dnsmasq, peers.nginx)),
  booting(combined(peers.kea, peers.tftpdHpa, peers.nginx)),
]

export async function storm(ground: Ground) {
  heading('Boot storm: 1,000 machines, DHCP + 1 MB by TFTP + configuration + 10 MB by HTTP')
  const rack = makeRack(ground.lan, ground.work)
  const found = await takeTurns(contestants, ROUNDS, async (contestant) => {
    const site = ground.site()
    const server = await contestant.start(site)
    try {
      const idle = memoryOf(server.pids)
      const memory = watchMemory(server.pids)
      const before = server.cpu()
      const result = await rack(MACHINES, contestant.steps(site), 120)
      const cpu = server.cpu() - before
      const { done, seconds, dhcpSent, dhcpRetries, tftpRetries, httpRetries, steps } = result
      if (result.error) note(`${contestant.name}: ${result.error}`)
      const [dhcp, tftp, , blob] = steps.map(({ most }) => most)
      return {
        ...{ done, seconds, cpu, dhcpRetries, tftpRetries, httpRetries, idle, memory: memory.stop() },
        ...{ again: (100 * dhcpRetries) / dhcpSent, dhcp: dhcp!, tftp: tftp!, blob: blob! },
      }
    } finally {
      await server.stop()
    }
  })
  const [our, dnsmasq, kea] = contestants.map(({ name }) => found.get(name)!)
  const time = ({ seconds }: { seconds: number }) => ({ value: seconds, unit: 's' })
  plain('machines that have not booted', { value: MACHINES - our!.done, unit: '' }, { atMost: 0 })
  ratio('until all have booted, against dnsmasq + nginx', time(our!), time(dnsmasq!), { atMost: 0.4 })
  ratio('the same, against Kea + tftpd-hpa + nginx', time(our!), time(kea!), { atMost: 0.75 })
  plain('DHCP packets sent again', { value: our!.again, unit: '%' }, { atMost: 1 })
  plain('memory of all our processes at most', { value: our!.memory / 1e6, unit: 'MB' }, { atMost: 250 })
  for (const [name, n] of found)
    note(
      `${name}: ${n.done} in ${n.seconds.toFixed(1)} s, ${n.cpu.toFixed(1)} s CPU, ` +
        `${(n.idle / 1e6).toFixed(0)} -> ${(n.memory / 1e6).toFixed(0)} MB; longest DHCP ${n.dhcp.toFixed(1)} s, ` +
        `TFTP ${n.tftp.toFixed(1)} s, blob ${n.blob.toFixed(1)} s; sent again: ${n.dhcpRetries} DHCP, ` +
        `${n.tftpRetries} TFTP, ${n.httpRetries} HTTP`,
    )
}

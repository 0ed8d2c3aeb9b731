// TFTP: a rack that loads its loader at once, one client that asks for a window, and a network that loses packets.
import { memoryOf } from './accounting.ts'
import { makeRack, type RackResult } from './client.ts'
import { sysclone } from './ours.ts'
import { type Contestant, peers } from './peers.ts'
import type { Running } from './process.ts'
import { heading, note, plain, ratio } from './report.ts'
import { takeTurns } from './rounds.ts'
import type { Ground, Site } from './site.ts'

const ROUNDS = 2
const LOSS_PERCENT = 1

/** `name`: what the file is called there. */
type TftpServer = Contestant & { fileName(site: Site, file: 'loader' | 'blob'): string }
const ours: TftpServer = {
  ...sysclone({ nodes: 1 }),
  fileName: ({ digests }, file) => `blobs/sha256/${digests[file]}`,
}
const two: TftpServer = {
  ...sysclone({ nodes: 1, config: ['tftp: { workers: 2 }'] }, 'sysclone, 2 workers'),
  fileName: ours.fileName,
}
const named = (peer: Contestant): TftpServer => ({ ...peer, fileName: (_, file) => file })
const contestants = [ours, two, named(peers.tftpdHpa), named(peers.dnsmasq)]

type Turn = { rack: number; rackCpu: number; done: number; window: number; loss: number; memory: number }

/** All three loads of one server in one turn: it is started once. */
export async function tftp(ground: Ground) {
  heading('TFTP, blocks of 1,468 bytes')
  const rack = makeRack(ground.lan, ground.work)
  const found = await takeTurns(contestants, ROUNDS, async (contestant): Promise<Turn> => {
    const site = ground.site()
    const server = await contestant.start(site)
    const get = (clients: number, window: number, file: 'loader' | 'blob') =>
      rack(clients, [{ kind: 'tftp', window, file: contestant.fileName(site, file) }], 60)
    try {
      await get(20, 1, 'loader') // what is compiled, mapped and opened at the first packets
      const many = await costed(server, () => get(1000, 1, 'loader'))
      const window = await get(1, 8, 'blob')
      ground.lan.lose(LOSS_PERCENT)
      const lossy = await get(20, 1, 'loader').finally(ground.lan.loseNothing)
      return {
        rack: speedOf(many.result),
        rackCpu: many.cpu,
        done: many.result.done,
        window: speedOf(window),
        loss: lossy.done === lossy.clients ? lossy.seconds : Number.POSITIVE_INFINITY,
        memory: memoryOf(server.pids),
      }
    } finally {
      await server.stop()
    }
  })
  say(found)
}

async function costed(server: Running, work: () => Promise<RackResult>) {
  const before = server.cpu()
  const result = await work()
  return { result, cpu: server.cpu() - before }
}
const speedOf = ({ bytes, seconds }: RackResult) => bytes / seconds / 1e6

function say(found: Map<string, Turn>) {
  const [our, workers, hpa, dnsmasq] = contestants.map(({ name }) => found.get(name)!) as Turn[]
  if (!our || !workers || !hpa || !dnsmasq) return
  const speed = (value: number) => ({ value, unit: 'MB/s' })
  const cpu = (value: number) => ({ value, unit: 's CPU' })
  const time = (value: number) => ({ value, unit: 's' })
  plain('1,000 clients x 1 MB: not complete', { value: 1000 - our.done, unit: '' }, { atMost: 0 })
  ratio('1,000 x 1 MB, against tftpd-hpa', speed(our.rack), speed(hpa.rack), { atLeast: 0.95 })
  ratio('1,000 x 1 MB, CPU against tftpd-hpa', cpu(our.rackCpu), cpu(hpa.rackCpu), { atMost: 1 })
  ratio('1,000 x 1 MB, two workers, against dnsmasq', speed(workers.rack), speed(dnsmasq.rack), {
    atLeast: 0.6,
  })
  ratio('window 8, one client, against tftpd-hpa', speed(our.window), speed(hpa.window), { atLeast: 4 })
  ratio('window 8, one client, against dnsmasq', speed(our.window), speed(dnsmasq.window), { atLeast: 4 })
  const bestLoss = Math.min(hpa.loss, dnsmasq.loss)
  ratio(`${LOSS_PERCENT} % loss, 20 x 1 MB, against the best peer`, time(our.loss), time(bestLoss), {
    atMost: 0.5,
  })
  for (const [name, turn] of found)
    note(
      `${name}: ${turn.done} of 1,000 done, ${turn.rack.toFixed(0)} MB/s, ${turn.rackCpu.toFixed(1)} s CPU, ` +
        `${(turn.memory / 1e6).toFixed(0)} MB; window 8 ${turn.window.toFixed(0)} MB/s; loss ${turn.loss.toFixed(1)} s`,
    )
}

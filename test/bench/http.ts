// HTTP: a blob of 1 GB from the page cache, to one client and to eight at once, and what a gigabyte costs the server.
import { join } from 'node:path'
import { makeRack } from './client.ts'
import { serverAddress } from './lan.ts'
import { sysclone } from './ours.ts'
import { type Contestant, nginxOf, peers } from './peers.ts'
import { together } from './process.ts'
import { heading, note, ratio } from './report.ts'
import { takeTurns } from './rounds.ts'
import { fileBytes, type Ground, type Site } from './site.ts'

const ROUNDS = 3
const FRONT_PORT = 8090

type HttpServer = Contestant & { port: number; path(site: Site): string }
const digestPath = ({ digests }: Site) => `/blobs/sha256/${digests.big}`

const ours: HttpServer = { ...sysclone(), port: 8081, path: digestPath }
const nginx: HttpServer = { ...peers.nginx, port: 80, path: () => '/big' }
/** What http.imageUrls names: nginx with our state folder, which clones are sent to instead of the blob workers. */
const front: HttpServer = {
  name: 'nginx in front of sysclone',
  port: FRONT_PORT,
  path: digestPath,
  async start(site) {
    const state = join(site.folder, 'state')
    const folders = ['images', 'bootfiles', 'bootonly'].map((name) => `/${name}/blobs/sha256/$1`)
    const files = `root ${state}; location ~ ^/blobs/sha256/([0-9a-f]+)$ { try_files ${folders.join(' ')} =404; }`
    const behind = await sysclone({
      config: [`http: { imageUrls: ["http://${serverAddress}:${FRONT_PORT}"] }`],
    }).start(site)
    const before = nginxOf(`listen ${serverAddress}:${FRONT_PORT}; ${files}`, FRONT_PORT)
    return together(this.name, [behind, await before.start(site)])
  },
}
const contestants = [ours, nginx, front]

export async function http(ground: Ground) {
  heading('HTTP: 1 GB from the page cache')
  const rack = makeRack(ground.lan, ground.work)
  const found = await takeTurns(contestants, ROUNDS, async (contestant) => {
    const site = ground.site()
    const server = await contestant.start(site)
    const get = async (clients: number) => {
      const step = {
        kind: 'http',
        port: contestant.port,
        bytes: fileBytes.big,
        path: contestant.path(site),
      } as const
      const before = server.cpu()
      const { bytes, seconds, error } = await rack(clients, [step], 60)
      if (error) throw new Error(`${contestant.name}: ${error}`)
      return { speed: bytes / seconds / 1e6, cpu: (server.cpu() - before) / (bytes / 1e9) }
    }
    try {
      await get(1)
      const one = await get(1)
      const eight = await get(8)
      return { one: one.speed, oneCpu: one.cpu, eight: eight.speed, eightCpu: eight.cpu }
    } finally {
      await server.stop()
    }
  })
  const [our, bare, fronted] = contestants.map(({ name }) => found.get(name)!)
  const speed = (value: number) => ({ value, unit: 'MB/s' })
  const cpu = (value: number) => ({ value, unit: 's CPU/GB' })
  const time = (value: number) => ({ value: 1000 / value, unit: 's' })
  ratio('one stream, against nginx', speed(our!.one), speed(bare!.one), { atLeast: 0.6 })
  ratio('one stream, CPU a GB against nginx', cpu(our!.oneCpu), cpu(bare!.oneCpu), { atMost: 2 })
  ratio('eight streams, against nginx', speed(our!.eight), speed(bare!.eight), { atLeast: 0.4 })
  ratio('one stream, nginx in front, against nginx', time(fronted!.one), time(bare!.one), { atMost: 1.05 })
  for (const [name, { one, oneCpu, eight, eightCpu }] of found)
    note(
      `${name}: ${one.toFixed(0)} MB/s at ${oneCpu.toFixed(2)} s CPU/GB, ` +
        `eight ${eight.toFixed(0)} MB/s at ${eightCpu.toFixed(2)} s CPU/GB`,
    )
}

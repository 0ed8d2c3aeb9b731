// sysclone as a person starts it, with as many nodes as asked; all of its processes count.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { devices, pool, serverAddress, subnet } from './lan.ts'
import type { Contestant } from './peers.ts'
import { launch } from './process.ts'
import { linkBlob, type Site } from './site.ts'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const node = [process.execPath, '--disable-warning=ExperimentalWarning']
const cache = process.env.SYSCLONE_CACHE || '/var/cache/sysclone'

type Options = {
  /** Nodes that are defined and to boot `kernel` and `initrd`; the others are machines that nobody knows. */
  nodes?: number
  /** Another DHCP server gives the addresses. */
  proxy?: boolean
  /** Lines of the configuration beside networks, stateDir and api. */
  config?: string[]
}

export function sysclone(
  { nodes = 0, proxy = false, config = [] }: Options = {},
  name = 'sysclone',
): Contestant {
  return {
    name,
    async start(site) {
      const file = join(site.folder, 'sysclone.yaml')
      writeFileSync(file, [...configLines(site, { nodes, proxy }), ...config, ''].join('\n'))
      if (site.digests.big) linkBlob(site, 'big', join(site.folder, 'state/images/blobs/sha256'))
      const running = await launch(name, {
        argv: site.lan.inServer([...node, main, 'serve', '--config', file]),
        log: join(site.folder, 'sysclone.log'),
        listens: { udp: [67, 69], tcp: [80, 8081] },
        env: { SYSCLONE_CACHE: cache },
      })
      if (nodes > 0) defineNodes(site, nodes)
      return running
    },
  }
}

/** Nodes have the first half of the addresses that are otherwise given to anybody. */
const configLines = ({ folder }: Site, { nodes, proxy }: { nodes: number; proxy: boolean }) => [
  `stateDir: ${join(folder, 'state')}`,
  `networks: [{ interface: ${devices.server}, subnet: ${subnet}, address: ${serverAddress}, ${proxy ? 'mode: proxy' : `pool: ${nodes > 0 ? middle : pool.from}-${pool.to}`} }]`,
  `api: { socket: ${socketOf(folder)} }`,
]
const middle = '10.77.192.1'
const socketOf = (folder: string) => join(folder, 'api.sock')

/** Node number i has the MAC of client number i of the rack. Their osimage is the site's loader as kernel and its blob. */
function defineNodes({ folder, root }: Site, count: number) {
  const command = (words: string[], input = '') =>
    execFileSync(node[0]!, [...node.slice(1), main, ...words], {
      input,
      env: { ...process.env, SYSCLONE_SERVER: socketOf(folder) },
      stdio: ['pipe', 'ignore', 'inherit'],
    })
  const stanzas = Array.from({ length: count }, (_, i) => {
    const mac = `52:54:00:${[i >> 16, i >> 8, i].map((n) => (n & 255).toString(16).padStart(2, '0')).join(':')}`
    return `n${i + 1}:\n    objtype=node\n    mac=${mac}\n    ip=10.77.${(0x8001 + i) >> 8}.${(0x8001 + i) & 255}\n    groups=rack\n`
  })
  command(['mkdef', '-z'], stanzas.join('\n'))
  const [kernel, initrd] = [join(root, 'loader'), join(root, 'blob')]
  command([
    'mkdef',
    '-t',
    'osimage',
    '-o',
    'bench',
    'provmethod=boot',
    `kernel=${kernel}`,
    `initrd=${initrd}`,
  ])
  command(['nodeset', 'rack', 'osimage=bench'])
}

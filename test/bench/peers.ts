// The servers that people use today, each set up as well as its manual allows for a rack that is switched on.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { devices, pool, serverAddress, subnet } from './lan.ts'
import { launch, type Running, together } from './process.ts'
import type { Site } from './site.ts'

export type Contestant = { name: string; start(site: Site): Promise<Running> }

/** As many open files as this machine allows: 1,000 transfers are more than the usual 1,024. */
const allFiles = ['sh', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@"', 'sh']

/** Leases in memory and a journal without fsync; no clean-up of it during a run. */
function keaConfig(folder: string, threads: boolean) {
  return {
    Dhcp4: {
      'interfaces-config': { interfaces: [devices.server] },
      'lease-database': {
        type: 'memfile',
        persist: true,
        name: join(folder, 'kea.leases'),
        'lfc-interval': 0,
      },
      'multi-threading': { 'enable-multi-threading': threads, 'thread-pool-size': 2 },
      'valid-lifetime': 3600,
      'next-server': serverAddress,
      'boot-file-name': 'loader',
      subnet4: [{ subnet, pools: [{ pool: `${pool.from}-${pool.to}` }] }],
      loggers: [
        { name: 'kea-dhcp4', severity: 'ERROR', output_options: [{ output: join(folder, 'kea.log') }] },
      ],
    },
  }
}
function kea(name: string, threads: boolean): Contestant {
  return {
    name,
    start({ lan, folder }) {
      const file = join(folder, 'kea.json')
      writeFileSync(file, JSON.stringify(keaConfig(folder, threads)))
      return launch(name, {
        argv: lan.inServer(['kea-dhcp4', '-c', file]),
        env: { KEA_PIDFILE_DIR: folder, KEA_LOCKFILE_DIR: 'none' },
        log: join(folder, 'kea.out'),
        listens: { udp: [67] },
      })
    },
  }
}

/** Logs nothing, asks no address whether it is free, and has no limit that a rack reaches. */
const dnsmasqOptions = ({ folder, root }: Site) => [
  ...['--keep-in-foreground', '--conf-file=/dev/null', `--pid-file=${join(folder, 'dnsmasq.pid')}`],
  ...['--user=root', `--interface=${devices.server}`, '--port=0', '--no-ping', '--dhcp-authoritative'],
  ...[`--dhcp-range=${pool.from},${pool.to},255.255.0.0,1h`, '--dhcp-lease-max=40000'],
  ...[`--dhcp-leasefile=${join(folder, 'dnsmasq.leases')}`, '--dhcp-boot=loader'],
  ...['--enable-tftp', `--tftp-root=${root}`, '--tftp-max=4000'],
  ...['--quiet-dhcp', '--quiet-tftp', '--log-facility=/dev/null'],
]

/** sendfile, one worker for each processor. `server`: what stands in the server block; it listens on `port`. */
export function nginxOf(server: string, port: number): Contestant {
  return {
    name: 'nginx',
    start({ lan, folder }) {
      const own = join(folder, `nginx-${port}`)
      mkdirSync(own)
      const spare = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
        (name) => `${name}_temp_path ${own};`,
      )
      const file = join(own, 'nginx.conf')
      writeFileSync(
        file,
        `daemon off; user root; worker_processes auto; pid ${own}/pid; error_log ${own}/error.log crit;
events { worker_connections 10000; multi_accept on; }
http {
  access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; open_file_cache max=1000;
  ${spare.join(' ')}
  server { ${server} }
}
`,
      )
      return launch('nginx', {
        argv: lan.inServer([...allFiles, 'nginx', '-c', file, '-p', own]),
        log: join(own, 'out'),
        listens: { tcp: [port] },
      })
    },
  }
}

export const peers = {
  kea: kea('Kea', false),
  keaThreads: kea('Kea, 2 threads', true),
  dnsmasq: {
    name: 'dnsmasq',
    start: (site) =>
      launch('dnsmasq', {
        argv: site.lan.inServer([...allFiles, 'dnsmasq', ...dnsmasqOptions(site)]),
        log: join(site.folder, 'dnsmasq.out'),
        listens: { udp: [67, 69] },
      }),
  },
  tftpdHpa: {
    name: 'tftpd-hpa',
    start: ({ lan, folder, root }) =>
      launch('tftpd-hpa', {
        argv: lan.inServer([
          ...['in.tftpd', '--foreground', '--user', 'root', '--address', `${serverAddress}:69`],
          ...['--secure', root],
        ]),
        log: join(folder, 'tftpd.out'),
        listens: { udp: [69] },
      }),
  },
  nginx: {
    name: 'nginx',
    start: (site) =>
      nginxOf(
        `listen ${serverAddress}:80 backlog=4096; root ${site.root}; location /config { try_files /config =404; }`,
        80,
      ).start(site),
  },
} satisfies Record<string, Contestant>

/** Several of them as one set-up. */
export const combined = (...parts: Contestant[]): Contestant => ({
  name: parts.map(({ name }) => name).join(' + '),
  async start(site) {
    const running: Running[] = []
    for (const part of parts) running.push(await part.start(site))
    return together(parts.map(({ name }) => name).join(' + '), running)
  },
})

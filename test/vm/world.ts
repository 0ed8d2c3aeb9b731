// What the rows of the matrix share: one real server, boot-only osimages of the test system, and the receiver of the
// reports. A row is one machine that is switched on and must report.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { demoSettings } from '../../services/cli/lab.ts'
import { must } from '../../services/lab/command.ts'
import type { Firmware, Machine } from '../../services/lab/machine.ts'
import { bridge, serverAddress, subnet } from '../../services/lab/network.ts'
import { readConsole } from '../../services/lab/serial.ts'
import { openSite, type Site, until } from '../../services/lab/site.ts'
import { ensureSigned, makeOtherDisk, makeTestDisk, recorded } from './disk.ts'
import { buildLoaders } from './loaders.ts'
import { ensureTestSystem, type Processor } from './report/ramdisk.ts'

export type Row = {
  /** Name of the node and of its machine. */
  node: string
  firmware: Firmware
  processor?: Processor // default x86_64
  card?: string
  network?: NetworkName // default ours
  /** A script for an iPXE that is there already, instead of what the card's ROM does. */
  script?: string
  /** Attributes of the node beside MAC, address and console. */
  attributes?: string[]
  /** What it must start: the osimage, or its disk after `nodeset boot`. */
  starts: 'osimage' | 'disk'
  /** The server knows the disk's loader as it knows that of a clone. */
  recorded?: boolean
}
export type Report = {
  time: number
  peer: string
  mac: string
  bootif: string
  machine: string
  firmware: string
  secureboot: string
  address: string
  cmdline: string
}
export type Boot = {
  report: Report
  /** From power on to the report. */
  seconds: number
  /** What the server did for the machine, in order: `ack FILE`, `tftp NAME`, `http NAME`, `blob`. */
  served: string[]
  console: string
  node: { mac: string; ip: string }
}
export type World = Awaited<ReturnType<typeof openWorld>>

// Where machines are: beside our DHCP, beside another's with ours in proxy mode, or behind a relay.
const networks = {
  ours: { bridge, prefix: '10.77.0' },
  proxy: { bridge: 'br1', prefix: '10.78.0' },
  relayed: { bridge: 'br2', prefix: '10.79.0' },
}
type NetworkName = keyof typeof networks
const firstMachine = 20

const reportPort = '9000'
/** Far more than any row takes on an idle machine: it ends what hangs, it does not judge a slow machine. */
const userlandMs = 5 * 60_000

export async function openWorld(signal: AbortSignal) {
  const site = await openSite({ ...demoSettings(), say: () => {}, signal })
  try {
    return await furnish(site)
  } catch (error) {
    say((await site.close(true)).join('\n'))
    throw error
  }
}

const say = (line: string) => void process.stderr.write(`${line}\n`)

async function furnish(site: Site) {
  const settings = demoSettings()
  const { network, work, signal } = site
  const receiver = [process.execPath, '--disable-warning=ExperimentalWarning', receiverFile, reportPort]
  const reports = await site.startOther('reports', network.inside(receiver))
  await buildLoaders(site, ['x86_64', 'aarch64', 'ppc64le'])
  await startForeignDhcp(site)
  await startRelay(site)
  await site.startOther('packets', network.inside(recordPackets(join(work, 'packets.pcap'))))
  // Verbose: what each row fetched is looked up in the log.
  await site.startServer(serverConfig(work, site.socket), '--verbose')
  let machines = 0
  const disks = new Map<string, Promise<string>>()
  const osimages = new Map<Processor, Promise<string>>()

  /** The osimage of a processor, defined when the first row needs it. */
  function osimage(processor: Processor): Promise<string> {
    return once(osimages, processor, async () => {
      const { kernel, initrd } = await ensureTestSystem(settings.cache, processor)
      const name = `report-${processor}`
      const files = [`kernel=${kernel}`, `initrd=${initrd}`]
      await site.sysclone(
        'mkdef',
        '-t',
        'osimage',
        '-o',
        name,
        'provmethod=boot',
        ...files,
        `kcmdline=quiet matrix=${name}`,
      )
      return name
    })
  }
  function disk({ firmware, processor = 'x86_64' }: Row): Promise<string> {
    const kind = processor !== 'x86_64' ? processor : firmware === 'uefi-secure' ? 'secure' : 'plain'
    return once(disks, kind, async () => {
      if (kind === 'aarch64' || kind === 'ppc64le') {
        const system = await ensureTestSystem(settings.cache, kind)
        const more = { cache: settings.cache, server: serverAddress }
        return makeOtherDisk(kind, { folder: join(work, `${kind}-disk`), system, ...more })
      }
      const system = await ensureTestSystem(settings.cache, 'x86_64')
      const wanted = { folder: join(work, `${kind}-disk`), system, server: serverAddress }
      return makeTestDisk({
        ...wanted,
        ...(kind === 'secure' && { signed: await ensureSigned(settings.cache) }),
      })
    })
  }

  /** Defines the node, switches its machine on and waits for the report. */
  async function boot(row: Row): Promise<Boot> {
    const { bridge, prefix } = networks[row.network ?? 'ours']
    const number = firstMachine + machines++
    const node = { mac: macOf(number), ip: `${prefix}.${number}` }
    const processor = row.processor ?? 'x86_64'
    // Consoles of the other processors are found by their kernels.
    const console = processor === 'x86_64' ? ['serialport=0', 'serialspeed=115200'] : []
    const attributes = [`mac=${node.mac}`, `ip=${node.ip}`, ...console, ...(row.attributes ?? [])]
    const image = await osimage(processor)
    await site.sysclone('mkdef', '-t', 'node', '-o', row.node, ...attributes)
    if (row.recorded) recordLoader(work, row.node)
    await site.sysclone('nodeset', row.node, row.starts === 'disk' ? 'boot' : `osimage=${image}`)
    const machine = await site.addMachine({
      ...{ name: row.node, firmware: row.firmware, mac: node.mac, boots: 'network', pristine: true },
      bridge,
      ...(row.card && { card: row.card }),
      ...(row.script && { given: givenScript(join(work, `${row.node}.ipxe`), row.script) }),
      ...(row.starts === 'disk' && { disk: await disk(row) }),
    })
    const from = Date.now()
    await machine.powerOn('network')
    try {
      const wait = { limitMs: userlandMs, everyMs: 250, signal }
      const report = await until(`the report of ${row.node}`, wait, async () => {
        site.check()
        return reportOf(node.mac)
      })
      const seconds = (report.time - from) / 1000
      return { report, seconds, served: served(row.node, node), console: readConsole(machine.console), node }
    } catch (error) {
      say(lastWords(row, machine, served(row.node, node)))
      throw error
    } finally {
      await machine.powerOff()
    }
  }

  const reportOf = (mac: string): Report | undefined =>
    jsonLines<Report>(reports).find((each) => each.mac === mac)

  function served(name: string, { mac, ip }: Boot['node']): string[] {
    const own = (event: ServerEvent) => event.node === name || event.mac === mac || event.peer === ip
    return jsonLines<ServerEvent>(site.serverLog)
      .filter(own)
      .flatMap((event) => describeEvent(event) ?? [])
  }

  return { boot, close: site.close, work }
}

/** Kept with the logs when a row fails: what firmware asked and what it was told. */
const recordPackets = (file: string) => [
  ...['tcpdump', '-i', 'any', '-n', '-U', '-Z', 'root', '-w', file],
  'udp port 67 or udp port 68 or udp port 69 or udp port 4011',
]
const receiverFile = join(import.meta.dirname, 'report/receiver.ts')

type ServerEvent = { type: string; node?: string; mac?: string; peer?: string; file?: string; why?: string }

function describeEvent({ type, file, why }: ServerEvent): string | undefined {
  switch (type) {
    case 'dhcp.ack':
      return `ack ${file ?? ''}`.trim()
    case 'tftp.done':
      return `tftp ${file}`
    case 'http.text':
      return `http ${file?.replace(/^\//, '')}`
    case 'http.blob':
      return 'blob'
    case 'tftp.fail':
    case 'http.fail':
    case 'dhcp.ignore':
    case 'dhcp.nak':
      return `${type} ${[file, why].filter(Boolean).join(': ')}`
    default:
      return undefined
  }
}

function serverConfig(work: string, socket: string) {
  const { proxy, relayed } = networks
  return `stateDir: ${join(work, 'state')}
networks:
  - { interface: ${bridge}, subnet: ${subnet}, address: ${serverAddress}, mode: dhcp }
  - { interface: ${proxy.bridge}, subnet: ${proxy.prefix}.0/24, address: ${proxy.prefix}.1, mode: proxy }
  - { subnet: ${relayed.prefix}.0/24, address: ${serverAddress}, gateway: ${relayed.prefix}.1 }
http: { port: 80, imagePort: 8081, workers: 1 }
tftp: { port: 69 }
api: { socket: ${socket} }
`
}

const macOf = (number: number) => `52:54:00:77:00:${number.toString(16)}`

/** A DHCP server that is not ours and knows nothing of netboot. */
async function startForeignDhcp({ network, work, startOther }: Site) {
  const { bridge: onto, prefix } = networks.proxy
  await network.addBridge(onto, `${prefix}.1/24`)
  const host = await network.addHost('dhcp')
  await host.plug('lan', onto, `${prefix}.2/24`)
  const hosts = Array.from({ length: 80 }, (_, index) => firstMachine + index)
  const file = join(work, 'dnsmasq.hosts')
  writeFileSync(file, hosts.map((number) => `${macOf(number)},${prefix}.${number}\n`).join(''))
  const range = `--dhcp-range=${prefix}.${firstMachine},${prefix}.250,255.255.255.0,1h`
  const quiet = [
    '--port=0',
    '--user=root',
    '--conf-file=/dev/null',
    `--dhcp-leasefile=${join(work, 'dnsmasq.leases')}`,
  ]
  // In this mode it keeps its user: a process that changes it forgets that it is to end with us.
  const argv = ['dnsmasq', '--no-daemon', ...quiet, '--interface=lan', '--bind-interfaces', range]
  await startOther('dnsmasq', host.inside([...argv, `--dhcp-hostsfile=${file}`]))
}

/** A router with ISC's relay on it, between a network without a server and ours. */
async function startRelay({ network, startOther }: Site) {
  const { bridge: onto, prefix } = networks.relayed
  await network.addBridge(onto)
  const router = await network.addHost('relay')
  await router.plug('lan', onto, `${prefix}.1/24`)
  await router.plug('uplink', bridge, `${networks.ours.prefix}.2/24`)
  await must(router.inside(['sysctl', '-qw', 'net.ipv4.ip_forward=1']))
  await must(network.inside(['ip', 'route', 'add', `${prefix}.0/24`, 'via', `${networks.ours.prefix}.2`]))
  const argv = ['dhcrelay', '-4', '-d', '--no-pid', '-id', 'lan', '-iu', 'uplink', serverAddress]
  await startOther('relay', router.inside(argv))
}

function givenScript(file: string, script: string) {
  writeFileSync(file, `#!ipxe\n${script}\n`)
  return { kernel: '/usr/lib/ipxe/ipxe.lkrn', initrd: file }
}

/** What the receipt of a clone leaves in the database; a disk that no clone was made on can not send one. */
function recordLoader(work: string, node: string) {
  const database = new DatabaseSync(join(work, 'state/sysclone.db'))
  database.prepare('update node set localLoader = ? where name = ?').run(JSON.stringify(recorded), node)
  database.close()
}

function jsonLines<T>(path: string): T[] {
  if (!existsSync(path)) return []
  const whole = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return whole.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as T)
}

function once<K, V>(made: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const there = made.get(key) ?? make()
  made.set(key, there)
  return there
}

/** What a person needs of a row that failed. */
function lastWords({ node }: Row, machine: Machine, served: string[]) {
  const text = readConsole(machine.console).replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '')
  const console = text
    .split(/[\r\n]+/)
    .filter((line) => line.trim())
    .slice(-25)
  return [`${node}: the server did:`, ...served, `${node}: its console ended with:`, ...console].join('\n  ')
}

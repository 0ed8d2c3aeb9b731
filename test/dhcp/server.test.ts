// Real clients against startDhcp, each side in a network namespace of its own.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { capture, captureNames } from './captures.ts'

const id = `scdhcp${process.pid}`
const [serverSpace, clientSpace] = [`${id}s`, `${id}c`]
const nodeMac = '52:54:00:77:00:21'
const strangerMac = '52:54:00:77:00:99'
let folder: string
let server: ChildProcess
const events: Record<string, any>[] = []

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sysclone-dhcp-'))
  for (const space of [serverSpace, clientSpace]) ip('netns', 'add', space)
  pair('s0', 'c0', nodeMac)
  pair('s1', 'c1', strangerMac)
  ip('-n', serverSpace, 'addr', 'add', '10.77.0.1/24', 'dev', 's0')
  // The second network has no DHCP; our server must not hear its machines.
  ip('-n', serverSpace, 'addr', 'add', '10.78.0.1/24', 'dev', 's1')
  ip('-n', serverSpace, 'route', 'add', 'default', 'via', '10.78.0.254')
  writeFileSync(join(folder, 'got'), '')
  writeFileSync(join(folder, 'script'), clientScript)
  chmodSync(join(folder, 'script'), 0o755)
  await startServer()
})
afterAll(async () => {
  await stopServer()
  for (const space of [serverSpace, clientSpace]) ip('netns', 'del', space)
  rmSync(folder, { recursive: true })
})

function ip(...args: string[]) {
  execFileSync('ip', args)
}
function pair(serverEnd: string, clientEnd: string, mac: string) {
  ip(
    '-n',
    serverSpace,
    'link',
    'add',
    serverEnd,
    'type',
    'veth',
    'peer',
    'name',
    clientEnd,
    'netns',
    clientSpace,
  )
  ip('-n', serverSpace, 'link', 'set', serverEnd, 'up')
  ip('-n', clientSpace, 'link', 'set', clientEnd, 'address', mac, 'up')
}

const network = {
  interface: 's0',
  subnet: parseSubnet('10.77.0.0/24'),
  address: '10.77.0.1',
  gateway: '10.77.0.254',
  dns: ['10.77.0.2'],
  domain: 'lab.test',
  pool: { from: '10.77.0.100', to: '10.77.0.109' },
}
const nodes = [{ name: 'n1', mac: [nodeMac], ip: '10.77.0.21', kernelArgs: [] }]

/** Runs the server; `more` are arguments of Node or other facts of the network. */
function runServer(more: { node?: string[]; network?: object } = {}): ChildProcess {
  const networks = [{ ...network, ...more.network }]
  const setup = { networks, nodes, journal: join(folder, 'leases.journal'), coexist: true }
  const program = join(import.meta.dirname, 'dhcp-process.ts')
  return inSpace(serverSpace, process.execPath, ...(more.node ?? []), program, JSON.stringify(setup))
}
async function startServer(more?: Parameters<typeof runServer>[0]) {
  server = runServer(more)
  createInterface({ input: server.stdout! }).on('line', (line) => events.push(JSON.parse(line)))
  let said = ''
  server.stderr!.on('data', (text) => {
    said += text
  })
  await until(() => {
    if (server.exitCode !== null) throw new Error(said)
    return events.some((event) => event.type === 'ready')
  })
}
async function stopServer() {
  if (!server || server.exitCode !== null) return
  const ended = once(server, 'exit')
  server.stdin!.end()
  await ended
}
function inSpace(space: string, ...command: string[]): ChildProcess {
  return spawn('ip', ['netns', 'exec', space, ...command])
}
async function until(met: () => boolean, timeoutMs = 10_000) {
  for (let waited = 0; !met(); waited += 20) {
    if (waited > timeoutMs)
      throw new Error(`still not so after ${timeoutMs} ms: ${met}\n${JSON.stringify(events)}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

// Writes what the client got to FOLDER/got and gives the interface the address, as a distribution's script does.
const clientScript = `#!/bin/sh
case "$1" in
bound|renew) ip addr replace "$ip/$mask" dev "$interface" ;;
deconfig) ip addr flush dev "$interface" ;;
esac
case "$reason" in
BOUND|RENEW|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface" ;;
esac
env > "\${0%/*}/new"
mv "\${0%/*}/new" "\${0%/*}/got"
`
const script = () => join(folder, 'script')
/** The environment of the last call of the script. */
const got = () =>
  Object.fromEntries(
    readFileSync(join(folder, 'got'), 'latin1')
      .split('\n')
      .map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]),
  )
const udhcpc = (device: string, ...more: string[]) =>
  inSpace(clientSpace, 'udhcpc', '-f', '-n', '-t', '4', '-T', '1', '-i', device, '-s', script(), ...more)
const seen = (type: string, mac = nodeMac) => events.filter((e) => e.type === type && e.mac === mac)

test('udhcpc: a lease with all that the network has, renewed by unicast, released at the end', async () => {
  const client = udhcpc('c0', '-R')
  await until(() => seen('dhcp.ack').length === 1)
  expect(seen('dhcp.discover')[0]).toMatchObject({ node: 'n1', client: 'os' })
  await until(() => got().ip === '10.77.0.21')
  expect(got()).toMatchObject({
    ...{ subnet: '255.255.255.0', router: '10.77.0.254', dns: '10.77.0.2', domain: 'lab.test' },
    ...{ hostname: 'n1', serverid: '10.77.0.1', lease: '43200' },
  })
  const discovers = seen('dhcp.discover').length
  client.kill('SIGUSR1') // renew now
  await until(() => seen('dhcp.ack').length === 2)
  expect(seen('dhcp.discover').length).toBe(discovers)
  const ended = once(client, 'exit')
  client.kill('SIGTERM')
  await until(() => seen('dhcp.release').length === 1)
  await ended
})

test('dhclient: a lease', async () => {
  const file = (name: string) => join(folder, name)
  for (const name of ['dhclient.conf', 'dhclient.leases']) writeFileSync(file(name), '')
  const acks = seen('dhcp.ack').length
  const options = ['-sf', script(), '-cf', file('dhclient.conf'), '-lf', file('dhclient.leases')]
  const client = inSpace(clientSpace, 'dhclient', '-d', '-1', ...options, '-pf', file('dhclient.pid'), 'c0')
  await until(() => seen('dhcp.ack').length === acks + 1)
  await until(() => got().new_ip_address === '10.77.0.21')
  expect(got()).toMatchObject({ new_routers: '10.77.0.254', new_host_name: 'n1' })
  const ended = once(client, 'exit')
  client.kill('SIGTERM')
  await ended
})

test('a machine on another interface of the server is not heard', async () => {
  const [code] = await once(udhcpc('c1', '-t', '2', '-q'), 'exit')
  expect(code).toBe(1)
  expect(events.filter((event) => event.mac === strangerMac)).toEqual([])
})

test('a stranger gets an address of the pool, and the same one after the server was killed', async () => {
  ip('-n', clientSpace, 'link', 'set', 'c0', 'address', strangerMac)
  await once(udhcpc('c0', '-q'), 'exit')
  await until(() => seen('dhcp.ack', strangerMac).length > 0)
  const address = seen('dhcp.ack', strangerMac)[0]?.address
  expect(address).toMatch(/^10\.77\.0\.10\d$/)
  expect(seen('dhcp.ack', strangerMac)[0]).not.toHaveProperty('node')

  const ended = once(server, 'exit')
  server.kill('SIGKILL')
  await ended
  events.length = 0
  await startServer()
  server.stdin!.write('leases\n')
  await until(() => events.some((event) => event.type === 'leases'))
  const known = events.find((event) => event.type === 'leases')!.leases
  expect(known).toContainEqual(expect.objectContaining({ address, mac: strangerMac, state: 'bound' }))
  await once(udhcpc('c0', '-q'), 'exit')
  await until(() => seen('dhcp.ack', strangerMac)[0]?.address === address)
  ip('-n', clientSpace, 'link', 'set', 'c0', 'address', nodeMac)
})

test('garbage is answered with nothing, and the server goes on', async () => {
  ip('-n', clientSpace, 'addr', 'flush', 'dev', 'c0')
  ip('-n', clientSpace, 'addr', 'add', '10.77.0.50/24', 'dev', 'c0')
  const packets = captureNames.flatMap((name) => {
    const bytes = capture(name)
    return [0, 1, 100, 239, 243].map((length) => bytes.subarray(0, length).toString('hex'))
  })
  const answers = execFileSync('ip', ['netns', 'exec', clientSpace, process.execPath, '-e', flood], {
    input: JSON.stringify(packets),
  })
  expect(answers.toString()).toBe('0')
  await until(() => events.some((event) => event.type === 'dhcp.ignore' && /malformed/.test(event.why)))
  const acks = seen('dhcp.ack').length
  await once(udhcpc('c0', '-q'), 'exit')
  await until(() => seen('dhcp.ack').length === acks + 1)
})

test('an interface or an address that is not there is refused by name', async () => {
  await stopServer()
  expect(await complaintOf({ network: { interface: 'eth9' } })).toMatch(
    /eth9: cannot listen for broadcasts \(SO_BINDTODEVICE eth9: ENODEV/,
  )
  expect(await complaintOf({ network: { address: '10.99.0.1' } })).toMatch(
    /cannot listen \(bind EADDRNOTAVAIL 10.99.0.1:67; allowed: an address of this host/,
  )
})

test('without koffi: refused between several interfaces, served on a host with one', async () => {
  const node = ['--import', withoutKoffi]
  await stopServer()
  expect(await complaintOf({ node })).toMatch(/s0: cannot tell the networks .* npm install koffi/)
  ip('-n', serverSpace, 'link', 'set', 's1', 'down')
  events.length = 0
  await startServer({ node })
  await once(udhcpc('c0', '-q'), 'exit')
  await until(() => seen('dhcp.ack').length === 1)
})

/** What a server says that does not start. */
async function complaintOf(more: Parameters<typeof runServer>[0]): Promise<string> {
  const refused = runServer(more)
  let said = ''
  refused.stderr!.on('data', (text) => {
    said += text
  })
  const [code] = await once(refused, 'close')
  expect(code).not.toBe(0)
  return said
}

const withoutKoffi = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
registerHooks({ resolve(name, context, next) {
  if (name === 'koffi') throw new Error('not installed')
  return next(name, context)
} })`)}`

/** Sends each packet by broadcast and to the server itself from port 68, waits a little, prints how many came back. */
const flood = `
const packets = JSON.parse(require('fs').readFileSync(0, 'utf8'))
const socket = require('dgram').createSocket('udp4')
let answers = 0
socket.on('message', () => answers++)
socket.bind(68, () => {
  socket.setBroadcast(true)
  for (const hex of packets)
    for (const to of ['255.255.255.255', '10.77.0.1']) socket.send(Buffer.from(hex, 'hex'), 67, to)
  setTimeout(() => { process.stdout.write(String(answers)); socket.close() }, 500)
})`

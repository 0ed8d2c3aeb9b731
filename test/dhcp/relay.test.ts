// Several networks: one behind Debian's dhcrelay, two on interfaces of their own, one that is nobody's.
//   server s0 10.77.0.1 -- r0 10.77.0.253 relay 10.79.0.254 r1 -- f0 far;  server s1 10.80.0.1 -- f1 far;  s2 -- f2
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { capture } from './captures.ts'
import { openLan, type Running, type Server, startServer, until } from './lan.ts'

const lan = openLan('relay', ['server', 'relay', 'far'] as const)
const macs = { f0: '52:54:00:79:00:21', f1: '52:54:00:80:00:21', f2: '52:54:00:81:00:21' }
const stranger = '52:54:00:79:00:99'
const networks = [
  {
    ...{ interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1' },
  },
  {
    ...{ subnet: parseSubnet('10.79.0.0/24'), address: '10.77.0.1', gateway: '10.79.0.254' },
    pool: { from: '10.79.0.100', to: '10.79.0.101' },
  },
  { ...{ interface: 's1', subnet: parseSubnet('10.80.0.0/24'), address: '10.80.0.1' } },
]
const nodes = [
  { name: 'behind', mac: [macs.f0], ip: '10.79.0.21', kernelArgs: [] },
  { name: 'beside', mac: [macs.f1], ip: '10.80.0.21', kernelArgs: [] },
  { name: 'elsewhere', mac: [macs.f2], ip: '10.77.0.21', kernelArgs: [] },
]
let server: Server
let relay: Running

beforeAll(async () => {
  lan.wire(['server', 's0'], ['relay', 'r0'])
  lan.wire(['relay', 'r1'], ['far', 'f0', macs.f0])
  lan.wire(['server', 's1'], ['far', 'f1', macs.f1])
  lan.wire(['server', 's2'], ['far', 'f2', macs.f2])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('server', 's1', '10.80.0.1/24')
  lan.address('server', 's2', '10.81.0.1/24')
  lan.address('relay', 'r0', '10.77.0.253/24')
  lan.address('relay', 'r1', '10.79.0.254/24')
  lan.ip('server', 'route', 'add', '10.79.0.0/24', 'via', '10.77.0.253')
  await lan.run('relay', ['sysctl', '-qw', 'net.ipv4.ip_forward=1'])
  writeFileSync(join(lan.folder, 'script'), script, { mode: 0o755 })
  server = await startServer(lan, 'server', { networks, nodes })
  await startRelay()
})
afterAll(() => lan.close())

async function startRelay() {
  const options = ['-4', '-d', '-a', '--no-pid', '-id', 'r1', '-iu', 'r0']
  relay = lan.start('relay', ['dhcrelay', ...options, '10.77.0.1'])
  await until(() => /Sending on +Socket\/fallback/.test(relay.said()), { why: relay.said })
}

// Gives the interface its address and, behind the relay, the way to the server.
const script = `#!/bin/sh
case "$1" in
bound|renew) ip addr replace "$ip/24" dev "$interface"; ip route replace 10.77.0.0/24 via "$router" ;;
esac
echo "$1 ip=$ip router=$router server=$serverid"
`
const udhcpc = (device: string, ...more: string[]) =>
  lan.start('far', [
    ...['udhcpc', '-f', '-n', '-t', '4', '-T', '1', '-i', device, '-s', join(lan.folder, 'script'), ...more],
  ])

test('behind a relay: giaddr chooses the network, option 82 goes and comes, and renewals go by themselves', async () => {
  const client = udhcpc('f0')
  await until(() => /bound/.test(client.said()), { why: () => client.said() + relay.said() })
  expect(client.said()).toMatch(/bound ip=10.79.0.21 router=10.79.0.254 server=10.77.0.1/)
  expect(server.seen('dhcp.ack', { node: 'behind', address: '10.79.0.21' })).toHaveLength(1)
  await lan.stop(relay) // it would take up what only passes through it, too
  client.kill('SIGUSR1')
  await until(() => server.seen('dhcp.ack', { node: 'behind' }).length === 2)
  await until(() => /renew ip=10.79.0.21/.test(client.said()))
  await lan.stop(client)
  await startRelay()
})

test('an address behind the relay that somebody uses is found by its "port unreachable", and not given', async () => {
  lan.ip('far', 'addr', 'flush', 'dev', 'f0')
  lan.address('far', 'f0', '10.79.0.100/24')
  lan.ip('far', 'route', 'replace', '10.77.0.0/24', 'via', '10.79.0.254')
  await server.stop()
  const journal = join(lan.folder, 'second.journal')
  server = await startServer(lan, 'server', { networks, nodes, journal })
  await until(() => server.seen('dhcp.conflict', { address: '10.79.0.100' }).length === 1)
  lan.ip('far', 'link', 'set', 'f0', 'address', stranger)
  const client = udhcpc('f0', '-q', '-r', '10.79.0.100')
  await until(() => client.exitCode !== null)
  expect(client.said()).toMatch(/bound ip=10.79.0.101/)
  lan.ip('far', 'addr', 'flush', 'dev', 'f0')
  lan.ip('far', 'link', 'set', 'f0', 'address', macs.f0)
})

test('a machine of another network that says it is a relay spends no address of this one', async () => {
  const made = capture('udhcpc-discover')
  made.set([10, 77, 0, 253], 24)
  writeFileSync(join(lan.folder, 'made'), made)
  lan.address('far', 'f1', '10.80.0.66/24')
  const send = `
    const socket = require('dgram').createSocket('udp4')
    socket.bind(67, '10.80.0.66', () => socket.send(require('fs').readFileSync(process.argv[1]), 67, '10.80.0.1', () => socket.close()))`
  await lan.run('far', [process.execPath, '-e', send, join(lan.folder, 'made')])
  await until(() => server.seen('dhcp.ignore').some(({ why }) => /^relayed by 10.80.0.66, which/.test(why)))
  lan.ip('far', 'addr', 'flush', 'dev', 'f1')
})

test("each interface is its own network; a node of another network is not answered, nor an interface that is nobody's", async () => {
  server.forget()
  const beside = udhcpc('f1', '-q')
  await until(() => beside.exitCode !== null)
  expect(beside.said()).toMatch(/bound ip=10.80.0.21 router= server=10.80.0.1/)
  lan.ip('far', 'link', 'set', 'f1', 'address', '52:54:00:77:00:77')
  const unknown = udhcpc('f1', '-t', '1')
  const nobody = udhcpc('f2', '-t', '2')
  await until(() => unknown.exitCode !== null && nobody.exitCode !== null)
  expect([unknown.exitCode, nobody.exitCode]).toEqual([1, 1])
  expect(server.events.filter(({ mac }) => mac === macs.f2)).toEqual([])
  await lan.stop(relay)
})

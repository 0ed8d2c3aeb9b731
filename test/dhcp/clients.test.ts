// DHCP clients of today's distributions, and tools that measure and inspect servers. (udhcpc and dhclient: server.test.ts)
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { openLan, type Server, startServer, until } from './lan.ts'

const lan = openLan('clients', ['server', 'lan'] as const)
const mac = '52:54:00:77:00:21'
const network = {
  ...{ interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1', gateway: '10.77.0.254' },
  ...{ dns: ['10.77.0.2'], domain: 'lab.test', pool: { from: '10.77.0.100', to: '10.77.0.199' } },
}
const nodes = [{ name: 'n1', mac: [mac], ip: '10.77.0.21', kernelArgs: [] }]
let server: Server
beforeAll(async () => {
  lan.wire(['server', 's0'], ['lan', 'c0', mac])
  lan.address('server', 's0', '10.77.0.1/24')
  server = await startServer(lan, 'server', { networks: [network], nodes })
})
afterAll(() => lan.close())

/** Runs a shell text with its own /run and its own state, as on a machine that has nothing else. */
const alone = (text: string) => ['unshare', '-m', 'sh', '-ec', `mount -t tmpfs none /run; ${text}`]

test('dhcpcd: RFC 4361 client id, a lease, another by INIT-REBOOT, released at the end', async () => {
  const state = 'mkdir -p /var/lib/dhcpcd; mount -t tmpfs none /var/lib/dhcpcd; '
  const dhcpcd = '/usr/sbin/dhcpcd -4 -1 -B --noarp -t 10 -c /bin/true'
  const { said } = await lan.run('lan', alone(`${state}${dhcpcd} c0; ${dhcpcd} c0; ${dhcpcd} -k c0 || true`))
  expect(said).toMatch(/offered 10.77.0.21 from 10.77.0.1/)
  expect(said).toMatch(/leased 10.77.0.21 for 43200 seconds/)
  expect(said).toMatch(/rebinding lease of 10.77.0.21/)
  expect(server.seen('dhcp.ack', { node: 'n1' }).length).toBeGreaterThanOrEqual(2)
  expect(server.seen('dhcp.discover', { node: 'n1' })).toHaveLength(1)
  lan.ip('lan', 'addr', 'flush', 'dev', 'c0')
})

test('systemd-networkd: a lease, and a release when it ends', async () => {
  server.forget()
  const unit =
    '[Match]\\nName=c0\\n[Network]\\nDHCP=ipv4\\nLinkLocalAddressing=no\\nIPv6AcceptRA=no\\nLLDP=no\\n'
  const networkd = lan.start(
    'lan',
    alone(`
      mkdir -p /run/systemd/network /run/systemd/netif
      chown systemd-network:systemd-network /run/systemd/netif
      mount -o remount,ro /sys # there is no udev that it could wait for
      printf '${unit}' > /run/systemd/network/10-c0.network
      exec /usr/lib/systemd/systemd-networkd`),
  )
  await until(
    () => /DHCPv4 address 10.77.0.21\/24, gateway 10.77.0.254 acquired from 10.77.0.1/.test(networkd.said()),
    {
      why: networkd.said,
    },
  )
  await lan.stop(networkd)
  await until(() => server.seen('dhcp.release', { node: 'n1', address: '10.77.0.21' }).length === 1)
  lan.ip('lan', 'addr', 'flush', 'dev', 'c0')
})

test('nmap broadcast-dhcp-discover and dhcp-discover see what the network has', async () => {
  lan.address('lan', 'c0', '10.77.0.50/24')
  const [broadcast, inform] = await Promise.all([
    lan.run('lan', [
      ...['nmap', '-n', '--script', 'broadcast-dhcp-discover', '-e', 'c0'],
      ...['--script-args', 'broadcast-dhcp-discover.timeout=3'],
    ]),
    lan.run('lan', [
      'nmap',
      '-n',
      '-Pn',
      '-sU',
      '-p',
      '67',
      '--script',
      'dhcp-discover',
      '10.77.0.1',
      '-e',
      'c0',
    ]),
  ])
  expect(broadcast.said).toMatch(/IP Offered: 10\.77\.0\.1\d\d/)
  for (const { said } of [broadcast, inform]) {
    expect(said).toMatch(/Server Identifier: 10\.77\.0\.1\n/)
    expect(said).toMatch(/Subnet Mask: 255\.255\.255\.0/)
    expect(said).toMatch(/Domain Name: lab\.test/)
  }
  expect(inform.said).toMatch(/DHCP Message Type: DHCPACK/)
  expect(inform.said).toMatch(/Hostname: n1/)
  lan.ip('lan', 'addr', 'flush', 'dev', 'c0')
})

test('perfdhcp: 80 machines, 300 exchanges, no two with one address, and all of them in the journal', async () => {
  server.forget()
  lan.address('lan', 'c0', '10.77.0.50/24')
  const argv = ['perfdhcp', '-4', '-l', 'c0', '-r', '100', '-R', '80', '-n', '300', '-W', '1000000', '-xa']
  const { said } = await lan.run('lan', argv)
  expect(said).toMatch(/non unique addresses: 0/)
  expect(said).toMatch(/rejected leases: 0/)
  const received = [...said.matchAll(/received packets: (\d+)/g)].map(([, count]) => Number(count))
  expect(received[0], said).toBe(300)
  expect(received[1], said).toBeGreaterThanOrEqual(295) // it stops listening before the last answers are there
  expect(server.seen('dhcp.nak')).toEqual([])
  const bound = (await server.leases()).filter(({ state }) => state === 'bound')
  const addresses = bound.map(({ address }) => address)
  expect(new Set(addresses).size).toBe(addresses.length)
  expect(bound.length).toBeGreaterThanOrEqual(80)
  lan.ip('lan', 'addr', 'flush', 'dev', 'c0')
})

test('udhcpc -a finds its address in use and declines it: of the pool it gets another one, for ten minutes', async () => {
  server.forget()
  const mine = '52:54:00:77:00:55'
  lan.ip('lan', 'link', 'set', 'c0', 'address', mine)
  const udhcpc = () =>
    lan.run('lan', [
      'udhcpc',
      '-f',
      '-n',
      '-q',
      '-a',
      '-R',
      '-t',
      '4',
      '-T',
      '1',
      '-A',
      '1',
      '-i',
      'c0',
      '-s',
      '/bin/true',
    ])
  const leaseIn = (text: string) => [...text.matchAll(/lease of (10\.77\.0\.1\d\d) obtained/g)].at(-1)?.[1]
  const first = leaseIn((await udhcpc()).said)!
  expect(first).toBeDefined()
  lan.address('server', 's0', `${first}/32`) // now somebody answers there
  const { said } = await udhcpc()
  expect(server.seen('dhcp.decline', { mac: mine, address: first })).toHaveLength(1)
  expect(leaseIn(said)).toBeDefined()
  expect(leaseIn(said)).not.toBe(first)
  const quarantine = (await server.leases()).find(({ address }) => address === first)
  expect(quarantine).toMatchObject({ state: 'declined' })
  expect(quarantine!.until - Date.now()).toBeGreaterThan(500_000)
  lan.ip('server', 'addr', 'del', `${first}/32`, 'dev', 's0')
  lan.ip('lan', 'link', 'set', 'c0', 'address', mac)
})

test('a machine that floods is left alone, and another one is answered in the meantime', async () => {
  server.forget()
  writeFileSync(join(lan.folder, 'flood.cjs'), flood)
  lan.ip('lan', 'link', 'add', 'v0', 'link', 'c0', 'address', '52:54:00:77:00:66', 'type', 'macvlan')
  lan.ip('lan', 'link', 'set', 'v0', 'up')
  lan.address('lan', 'c0', '10.77.0.50/24')
  const flooder = lan.start('lan', [process.execPath, join(lan.folder, 'flood.cjs')])
  const { said } = await lan.run('lan', [
    'udhcpc',
    '-f',
    '-n',
    '-q',
    '-t',
    '8',
    '-T',
    '1',
    '-i',
    'v0',
    '-s',
    '/bin/true',
  ])
  expect(said).toMatch(/lease of 10\.77\.0\.1\d\d obtained/)
  await until(() => flooder.exitCode !== null)
  const [sent, answered] = flooder.said().trim().split(' ').map(Number) as [number, number]
  expect(sent).toBeGreaterThan(2000)
  expect(answered).toBeLessThan(100)
  expect(server.seen('dhcp.ignore', { why: 'asks too often' })).toHaveLength(1)
})

/** One machine that asks without end for three seconds; prints how often it asked and how often it was answered. */
const flood = `
const socket = require('dgram').createSocket({ type: 'udp4', reuseAddr: true })
const bytes = Buffer.alloc(300)
bytes.set([1, 1, 6, 0, 1, 2, 3, 4]); bytes.set([10, 77, 0, 50], 12); bytes.set([0x52, 0x54, 0, 0x77, 0xff, 0xff], 28)
bytes.set([99, 130, 83, 99, 53, 1, 8, 255], 236)
let [sent, answered] = [0, 0]
socket.on('message', () => answered++)
socket.bind(68, '10.77.0.50', () => {
  const end = Date.now() + 3000
  const some = () => {
    if (Date.now() > end) return setTimeout(() => { console.log(sent, answered); socket.close() }, 300)
    for (let i = 0; i < 20; i++) { socket.send(bytes, 67, '10.77.0.1'); sent++ }
    setTimeout(some, 5)
  }
  some()
})`

// Other DHCP servers on the network: dnsmasq, and a second sysclone.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { isLooking, lookingDiscover, otherServer, twinAnswer } from '../../src/dhcp/rogue.ts'
import { capture } from './captures.ts'
import { mac, network, replyOf, requestOf } from './cases.ts'
import { openLan, startServer, until } from './lan.ts'

// ---- what is asked, and what an answer tells ----

const question = parsePacket(serializePacket(lookingDiscover({ mac, xid: 7 })))
const offer = (more: Partial<Packet> = {}, options: [number, Buffer][] = []): Packet => ({
  ...question,
  op: 'reply',
  options: new Map([[53, Buffer.of(2)], [54, Buffer.of(10, 77, 0, 9)], ...options]),
  ...more,
})
test('we ask as firmware does, by broadcast, so that boot servers answer as well', () => {
  const asked = requestOf(question)
  expect(asked).toMatchObject({
    type: 'discover',
    mac,
    client: { kind: 'firmware' },
    packet: { flags: 0x8000 },
  })
  expect(isLooking(asked)).toBe(true)
  expect(isLooking(requestOf(parsePacket(capture('ovmf-pxe-discover'))))).toBe(false)
})
test('an offer with an address is a DHCP server, one without is a boot server, and a twin says that it is one', () => {
  const server = '10.77.0.9'
  expect(otherServer(offer({ yiaddr: network.address }), 7)).toEqual({ server, kind: 'dhcp' })
  expect(otherServer(offer(), 7)).toEqual({ server, kind: 'proxy' })
  const twin = replyOf(twinAnswer(requestOf(question), network))
  expect(otherServer(parsePacket(serializePacket(twin)), 7)).toEqual({
    server: '10.77.0.1',
    kind: 'sysclone',
  })
  expect(twin.yiaddr).toBe('0.0.0.0')
})
test('what answers somebody else, or is no offer, tells nothing', () => {
  expect(otherServer(offer(), 8)).toBeUndefined()
  expect(otherServer(offer({ op: 'request' }), 7)).toBeUndefined()
  expect(otherServer(offer({}, [[53, Buffer.of(5)]]), 7)).toBeUndefined()
})

// ---- real ones ----

const lan = openLan('rogue', ['server', 'other'] as const)
const clientMac = '52:54:00:77:00:21'
const served = { interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1' }
const nodes = [{ name: 'n1', mac: [clientMac], ip: '10.77.0.21', kernelArgs: [] }]

beforeAll(() => {
  lan.wire(['server', 's0'], ['other', 'o0', clientMac])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('other', 'o0', '10.77.0.9/24')
})
afterAll(() => lan.close())

const dnsmasq = (...more: string[]) =>
  lan.start('other', [
    ...['dnsmasq', '--no-daemon', '--port=0', '--conf-file=/dev/null', '--user=root', '--interface=o0'],
    ...[
      `--dhcp-leasefile=${join(lan.folder, 'leases')}`,
      '--log-dhcp',
      '--log-facility=-',
      '--no-ping',
      ...more,
    ],
  ])
const startHere = (
  more: object = {},
  how: { coexist?: boolean; restarted?: boolean; lookEveryMs?: number } = {},
) =>
  startServer(lan, 'server', {
    ...{ networks: [{ ...served, ...more }], nodes, coexist: false, ...how },
    journal: join(lan.folder, `${Math.random()}.journal`),
  })

test('beside dnsmasq it does not start and says what can be done; with coexist it starts and tells', async () => {
  const other = dnsmasq('--dhcp-range=10.77.0.150,10.77.0.160')
  await until(() => /DHCP, IP range/.test(other.said()))
  await expect(startHere()).rejects.toThrow(
    /s0: another DHCP server answers on this network \(10\.77\.0\.9; allowed: .*`mode: proxy`.*--coexist/,
  )
  const server = await startHere({}, { coexist: true })
  await until(() => server.seen('dhcp.rogue', { address: '10.77.0.9' }).length > 0)
  await server.stop()
  await lan.stop(other)
})

test('it looks again while it runs: a server that comes later is told, and is asked on', async () => {
  const server = await startHere({}, { lookEveryMs: 4000 }) // it has looked, and found nobody
  expect(server.seen('dhcp.rogue')).toEqual([])
  const other = dnsmasq('--dhcp-range=10.77.0.150,10.77.0.160')
  await until(() => server.seen('dhcp.rogue', { address: '10.77.0.9' }).length > 0)
  const asked = () => other.said().match(/DHCPDISCOVER\(o0\)/g)?.length ?? 0
  const before = asked()
  await until(() => asked() >= before + 4, { why: other.said }) // a look asks three times, and is over before the next
  await server.stop()
  await lan.stop(other)
})

test('beside a boot server that gives no addresses (dnsmasq as proxy) it does not start either', async () => {
  const other = dnsmasq('--dhcp-range=10.77.0.0,proxy', '--pxe-service=X86-64_EFI,it,other.efi')
  await until(() => /DHCP, proxy/.test(other.said()))
  await expect(startHere()).rejects.toThrow(/s0: another boot server \(proxyDHCP\) answers .*10\.77\.0\.9/)
  await lan.stop(other)
})

test('beside a second sysclone, which knows no machine of ours, it does not start, and that one tells', async () => {
  const twin = await startServer(lan, 'other', {
    networks: [{ ...served, interface: 'o0', address: '10.77.0.9' }],
    journal: join(lan.folder, 'twin.journal'),
  })
  await expect(startHere()).rejects.toThrow(/s0: another sysclone answers on this network \(10\.77\.0\.9/)
  await until(() => twin.seen('dhcp.rogue', { address: '10.77.0.1' }).length > 0)
  await twin.stop()
})

test('mode: proxy needs another DHCP server: without one it is said, beside one all is well', async () => {
  const alone = await startHere({ mode: 'proxy' })
  await until(() => alone.seen('dhcp.warn').length > 1)
  expect(alone.seen('dhcp.warn').map(({ why }) => why)).toEqual([
    expect.stringMatching(/^10.77.0.0\/24: mode: proxy, and some firmware takes none of two offers/),
    expect.stringMatching(/no DHCP server answers on s0: with mode: proxy/),
  ])
  await alone.stop()
  const other = dnsmasq('--dhcp-range=10.77.0.150,10.77.0.160')
  await until(() => /DHCP, IP range/.test(other.said()))
  const beside = await startHere({ mode: 'proxy' })
  await new Promise((done) => setTimeout(done, 3700))
  expect(beside.seen('dhcp.rogue')).toEqual([])
  expect(beside.seen('dhcp.warn')).toHaveLength(1) // of the two offers
  await beside.stop()
  await lan.stop(other)
})

for (const [when, more] of [
  ['alone on its network it starts', {}],
  ['started anew after a crash', { restarted: true }],
] as const)
  test(`${when}; a machine that takes its address from another server is an event`, async () => {
    const server = await startHere({}, more)
    expect(server.events.map(({ type }) => type)).toEqual(['ready'])
    const chosen = capture('udhcpc-request')
    const at = chosen.indexOf(Buffer.from([54, 4]))
    chosen.set([10, 77, 0, 9], at + 2)
    writeFileSync(join(lan.folder, 'request'), chosen)
    const script = `
    const socket = require('dgram').createSocket('udp4')
    socket.bind(68, '10.77.0.9', () => { socket.setBroadcast(true)
      socket.send(require('fs').readFileSync(process.argv[1]), 67, '255.255.255.255', () => socket.close()) })`
    const sender = lan.start('other', [process.execPath, '-e', script, join(lan.folder, 'request')])
    await once(sender, 'exit')
    await until(() => server.seen('dhcp.rogue').length > 0)
    expect(server.seen('dhcp.rogue')[0]).toMatchObject({ node: 'n1', mac: clientMac, address: '10.77.0.9' })
    await server.stop()
  })

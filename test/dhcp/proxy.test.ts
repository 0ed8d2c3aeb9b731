// mode: proxy beside dnsmasq as the DHCP server: what firmware's captured packets get on port 67 and on port 4011.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { decodeOptions, encodeOptions, type Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { capture } from './captures.ts'
import { openLan, type Server, startServer, until } from './lan.ts'

const lan = openLan('proxy', ['server', 'other', 'client'] as const)
const macs = { ovmf: '52:54:00:77:00:11', ipxe: '52:54:00:77:00:12' }
const efi = 'boot/grub/x86_64-efi/core.efi'
let server: Server

beforeAll(async () => {
  lan.ip('other', 'link', 'add', 'br0', 'type', 'bridge')
  lan.ip('other', 'link', 'set', 'br0', 'up')
  lan.wire(['server', 's0'], ['other', 'p0'])
  lan.wire(['client', 'c0'], ['other', 'p1'])
  for (const port of ['p0', 'p1']) lan.ip('other', 'link', 'set', port, 'master', 'br0')
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('other', 'br0', '10.77.0.9/24')
  lan.address('client', 'c0', '10.77.0.150/24')
  writeFileSync(join(lan.folder, 'client.cjs'), client)
  const dnsmasq = lan.start('other', [
    ...['dnsmasq', '--no-daemon', '--port=0', '--conf-file=/dev/null', '--user=root', '--no-ping'],
    ...['--interface=br0', '--dhcp-range=10.77.0.160,10.77.0.190', '--log-facility=-'],
    ...['--dhcp-authoritative', `--dhcp-leasefile=${join(lan.folder, 'leases')}`],
  ])
  await until(() => /DHCP, IP range/.test(dnsmasq.said()), { why: dnsmasq.said })
  const network = {
    interface: 's0',
    subnet: parseSubnet('10.77.0.0/24'),
    address: '10.77.0.1',
    mode: 'proxy',
  }
  const nodes = Object.entries(macs).map(([name, mac]) => ({ name, mac: [mac], kernelArgs: [] }))
  server = await startServer(lan, 'server', { networks: [network], nodes, coexist: false })
})
afterAll(() => lan.close())

/** Sends one packet from a port of the client and prints every answer until half a second is quiet. */
const client = `
const { from, to, port, hex } = JSON.parse(process.argv[2])
const socket = require('dgram').createSocket('udp4')
const answers = []
let end
const more = () => { clearTimeout(end); end = setTimeout(() => { console.log(JSON.stringify(answers)); socket.close() }, 700) }
socket.on('message', (bytes, peer) => { answers.push({ by: peer.address + ':' + peer.port, hex: bytes.toString('hex') }); more() })
if (from === 68) {
  // What is sent to all arrives at a socket that is bound to none; what we send to all needs one that is.
  const sender = require('dgram').createSocket({ type: 'udp4', reuseAddr: true })
  sender.bind(68, '10.77.0.150', () => { sender.setBroadcast(true); sender.send(Buffer.from(hex, 'hex'), port, to) })
  sender.on('message', (bytes, peer) => socket.emit('message', bytes, peer))
  socket.on('close', () => sender.close())
  const heard = require('dgram').createSocket({ type: 'udp4', reuseAddr: true })
  heard.on('message', (bytes, peer) => socket.emit('message', bytes, peer))
  heard.bind(68, '0.0.0.0'); socket.on('close', () => heard.close())
  socket.bind(0, more)
} else socket.bind(from, () => { socket.send(Buffer.from(hex, 'hex'), port, to); more() })
`
type Got = { by: string; packet: Packet; options: Options }
async function ask(
  packet: Packet,
  { from = 68, to = '255.255.255.255', port = 67 }: { from?: number; to?: string; port?: number } = {},
): Promise<Got[]> {
  const hex = serializePacket(packet, 1400).toString('hex')
  const { said } = await lan.run('client', [
    ...[process.execPath, join(lan.folder, 'client.cjs'), JSON.stringify({ from, to, port, hex })],
  ])
  return JSON.parse(said).map(({ by, hex }: { by: string; hex: string }) => {
    const read = parsePacket(Buffer.from(hex, 'hex'))
    return { by, packet: read, options: decodeOptions(read.options) }
  })
}
/** A captured packet with some options changed, and without others. */
function captured(
  name: string,
  options: Options = {},
  header: Partial<Packet> = {},
  without: number[] = [],
): Packet {
  const packet = parsePacket(capture(name))
  const kept = [...packet.options].filter(([code]) => !without.includes(code))
  // By broadcast: dnsmasq would answer to an address that this client does not take.
  return { ...packet, flags: 0x8000, ...header, options: new Map([...kept, ...encodeOptions(options)]) }
}
const ours = (all: Got[]) => all.filter(({ by }) => by.startsWith('10.77.0.1:'))
const theirs = (all: Got[]) => all.filter(({ by }) => by.startsWith('10.77.0.9:'))

test('OVMF: the address comes from the DHCP server, the file from us; then port 4011 from either of its ports', async () => {
  const offers = await ask(captured('ovmf-pxe-discover'))
  expect(theirs(offers)[0]?.packet.yiaddr).toMatch(/^10\.77\.0\.1[6-9]\d$/)
  expect(ours(offers)).toMatchObject([
    {
      by: '10.77.0.1:67',
      packet: { yiaddr: '0.0.0.0', siaddr: '10.77.0.1', file: efi },
      options: { messageType: 2, serverId: '10.77.0.1', vendorClass: 'PXEClient', bootFile: efi },
    },
  ])
  expect(ours(offers)[0]?.options.vendorOptions).toBeUndefined()

  // It takes the address of the other server, of which we hear.
  const { yiaddr } = theirs(offers)[0]!.packet
  const chosen = captured('ovmf-pxe-request', { serverId: '10.77.0.9' as any, requestedAddress: yiaddr })
  const acks = await ask(chosen)
  expect(theirs(acks)[0]?.options.messageType).toBe(5)
  expect(ours(acks)).toEqual([])

  const question = captured('ovmf-pxe-request', {}, { ciaddr: '10.77.0.150' as any }, [50, 54])
  for (const from of [4011, 68]) {
    const answers = await ask(question, { from, to: '10.77.0.1', port: 4011 })
    expect(answers, `from port ${from}`).toMatchObject([
      {
        by: '10.77.0.1:4011',
        packet: { ciaddr: '10.77.0.150', yiaddr: '0.0.0.0', siaddr: '10.77.0.1', file: efi },
        options: { messageType: 5, serverId: '10.77.0.1', vendorClass: 'PXEClient' },
      },
    ])
    expect(answers[0]?.options.uuid).toEqual(decodeOptions(question.options).uuid)
  }
  expect(server.seen('dhcp.rogue')).toEqual([])
})

test('port 4011 answers nobody outside of our networks: a sender can be made up', async () => {
  lan.address('server', 's0', '192.0.2.1/24')
  lan.address('client', 'c0', '192.0.2.7/24')
  const question = captured('ovmf-pxe-request', {}, { ciaddr: '10.77.0.150' as any }, [50, 54])
  expect(await ask(question, { from: 4011, to: '192.0.2.1', port: 4011 })).toEqual([])
  expect(server.seen('dhcp.ignore', { mac: macs.ovmf }).map(({ why }) => why)).toContain(
    'asks from 192.0.2.7, outside of our networks',
  )
})

test('BIOS ROM: the offer itself says which file, with option 43', async () => {
  const offers = await ask(captured('ipxe-rom-discover', {}, {}, [77, 175]))
  expect(ours(offers)).toMatchObject([
    {
      packet: { yiaddr: '0.0.0.0', file: 'boot/grub/i386-pc/core.0' },
      options: { vendorClass: 'PXEClient' },
    },
  ])
  expect(ours(offers)[0]?.options.vendorOptions?.toString('hex')).toBe('060108ff')
  expect(theirs(offers).length).toBeGreaterThan(0)
})

test('iPXE gets its script in the offer; a system and an unknown machine get nothing from us', async () => {
  const script = 'http://10.77.0.1/boot/ipxe/52-54-00-77-00-12'
  expect(ours(await ask(captured('ipxe-rom-discover')))).toMatchObject([
    { packet: { file: script }, options: { vendorClass: 'PXEClient', bootFile: script } },
  ])
  const chaddr = Buffer.from('52540077ff01'.padEnd(32, '0'), 'hex')
  for (const packet of [captured('udhcpc-discover'), captured('ovmf-pxe-discover', {}, { chaddr })]) {
    const offers = await ask(packet)
    expect(ours(offers)).toEqual([])
    expect(theirs(offers).length).toBeGreaterThan(0)
  }
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Ipv4, parseMac, parseSubnet, subnetContains } from '../../src/address.ts'
import { decide } from '../../src/dhcp/decide.ts'
import { destinationOf, usualPorts } from '../../src/dhcp/delivery.ts'
import type { Lease } from '../../src/dhcp/leases.ts'
import { decodeOptions, type Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { answer } from '../../src/dhcp/reply.ts'
import { readRequest, roomFor } from '../../src/dhcp/request.ts'
import { networkOf } from '../../src/dhcp/subnet.ts'
import { WireError } from '../../src/fault.ts'
import { deployment } from '../boot/nodes.ts'
import { capture, captureNames } from './captures.ts'
import {
  context,
  discover,
  ip,
  mac,
  network,
  node,
  nodeWithoutIp,
  now,
  optionsOf,
  pooled,
  poolLease,
  replyOf,
  request,
  server,
  type World,
} from './cases.ts'

test('OVMF by PXE: address, file in header and options, identifiers come back, no option 60', () => {
  const answered = discover('ovmf-pxe-discover', {})
  expect(answered).toMatchObject({ kind: 'offer', address: '10.77.0.21', leaseSeconds: 300 })
  expect(replyOf(answered)).toMatchObject({
    op: 'reply',
    yiaddr: '10.77.0.21',
    ciaddr: '0.0.0.0',
    siaddr: '10.77.0.1',
    sname: '10.77.0.1',
    file: 'boot/grub/x86_64-efi/core.efi',
    flags: 0x8000,
    xid: request('ovmf-pxe-discover').packet.xid,
  })
  expect(optionsOf(answered)).toEqual({
    messageType: 2,
    serverId: '10.77.0.1',
    leaseSeconds: 300,
    renewSeconds: 150,
    rebindSeconds: 262,
    subnetMask: '255.255.255.0',
    routers: ['10.77.0.254'],
    dns: ['10.77.0.2'],
    ntp: ['10.77.0.3'],
    domain: 'lab.test',
    hostName: 'n1',
    tftpServer: '10.77.0.1',
    bootFile: 'boot/grub/x86_64-efi/core.efi',
    uuid: Buffer.from('0011111111222233334444555555555555', 'hex'),
  })
})

test('OVMF by HTTP: a URL and option 60', () => {
  const { bootFile, vendorClass } = optionsOf(discover('ovmf-http-discover', {}))
  expect({ bootFile, vendorClass }).toEqual({
    bootFile: 'http://10.77.0.1/boot/grub/x86_64-efi/core.efi',
    vendorClass: 'HTTPClient',
  })
})

test('iPXE: its script, "no proxy", its client id back', () => {
  const { bootFile, ipxe, clientId, vendorClass } = optionsOf(discover('ipxe-rom-discover', {}))
  expect(bootFile).toBe('http://10.77.0.1/boot/ipxe/52-54-00-77-00-12')
  expect(ipxe?.toString('hex')).toBe('b00101')
  expect(clientId?.toString('hex')).toBe('01525400770012')
  expect(vendorClass).toBeUndefined()
})

test('an installed system: half a day, no file, no server to boot from', () => {
  const answered = discover('udhcpc-discover', {})
  expect(answered).toMatchObject({ kind: 'offer', leaseSeconds: 43_200, file: {} })
  expect(replyOf(answered)).toMatchObject({ file: '', siaddr: '0.0.0.0' })
  expect(optionsOf(answered).bootFile).toBeUndefined()
})

test('a machine without a loader still gets its address, and it is said why', () => {
  const arm = request('ovmf-http-discover', { clientArchs: [19] })
  const armed = { ...node, mac: [arm.mac], deployment: deployment('armed') }
  const answered = answer(arm, { ...context({ node: armed }), built: new Set() })
  expect(answered).toMatchObject({ kind: 'offer', file: { why: expect.stringMatching(/is not built/) } })
  expect(replyOf(answered)).toMatchObject({ yiaddr: '10.77.0.21', file: '' })
})

test('a file name longer than its header field stands in option 67 alone; PXE never gets option 52', () => {
  const long = { ...server, address: network.address, httpPort: 65535 }
  const answered = answer(request('ipxe-rom-discover'), {
    ...context({ node: { ...node, mac: [request('ipxe-rom-discover').mac] } }),
    server: { ...long, address: 'x'.repeat(120) as Ipv4 },
  })
  expect(replyOf(answered).file).toBe('')
  expect(optionsOf(answered).bootFile).toHaveLength(120 + 'http://:65535/boot/ipxe/52-54-00-77-00-12'.length)
  expect(replyOf(answered).options.has(52)).toBe(false)
})

test('a gateway outside of the subnet is not given', () => {
  const answered = discover('udhcpc-discover', { network: { ...network, gateway: ip('10.78.0.1') } })
  expect(optionsOf(answered).routers).toBeUndefined()
})

test('option 82 comes back as it was', () => {
  const relayInfo = Buffer.from('0104aabbccdd', 'hex')
  const relayed = request('udhcpc-discover', { relayInfo }, { giaddr: ip('10.77.0.253') })
  const answered = answer(relayed, context({ node }))
  expect([...replyOf(answered).options].at(-1)).toEqual([82, relayInfo])
  expect(replyOf(answered).giaddr).toBe('10.77.0.253')
})

// Who is answered with what, by DISCOVER.
const asked = request('udhcpc-discover')
const discovers: [what: string, world: World, answer: object][] = [
  ['unknown machine, no pool: silence', {}, { kind: 'ignore', why: 'unknown machine' }],
  ['unknown machine, pool', { network: pooled }, { kind: 'offer', file: {} }],
  ['known node without ip, no pool: silence', { node: nodeWithoutIp }, { kind: 'ignore' }],
  ['known node without ip, pool', { node: nodeWithoutIp, network: pooled }, { kind: 'offer' }],
  ['offline: silence', { node: { ...node, offline: true } }, { kind: 'ignore', why: 'offline' }],
  ['node of another network', { node: { ...node, ip: ip('10.78.0.5') } }, { kind: 'ignore' }],
  ['node with our address', { node: { ...node, ip: network.address } }, { kind: 'ignore' }],
  [
    'second card of a node: never the address of the first',
    { node: { ...node, mac: [parseMac('02:00:00:00:00:01'), mac] } },
    { kind: 'ignore' },
  ],
  [
    'its last address again',
    { network: pooled, leases: [poolLease] },
    { kind: 'offer', address: '10.77.0.105' },
  ],
  [
    'a definition outranks a lease',
    { node, network: pooled, leases: [poolLease] },
    { kind: 'offer', address: '10.77.0.21' },
  ],
]
for (const [what, world, expected] of discovers)
  test(`DISCOVER: ${what}`, () => expect(answer(asked, context(world))).toMatchObject(expected))

test('an unknown machine that netboots gets an address and no file', () => {
  const answered = answer(request('ipxe-rom-discover'), context({ network: pooled }))
  expect(answered).toMatchObject({ kind: 'offer', leaseSeconds: 300, file: {} })
  expect(replyOf(answered)).toMatchObject({ file: '', siaddr: '0.0.0.0' })
})

// RFC 2131 4.3.2: the four states of a REQUEST.
const right = ip('10.77.0.21')
const inPool = ip('10.77.0.105')
const ours = { serverId: network.address }
type Row = [what: string, options: Options, ciaddr: string, world: World, kind: string]
const requests: Row[] = [
  ['selecting us', { ...ours, requestedAddress: right }, '0.0.0.0', { node }, 'ack'],
  [
    'selecting us, wrong address',
    { ...ours, requestedAddress: ip('10.77.0.22') },
    '0.0.0.0',
    { node },
    'nak',
  ],
  [
    'selecting another',
    { serverId: ip('10.77.0.9'), requestedAddress: right },
    '0.0.0.0',
    { node },
    'ignore',
  ],
  [
    'selecting us after our restart lost the hold',
    { ...ours, requestedAddress: inPool },
    '0.0.0.0',
    { network: pooled },
    'ack',
  ],
  [
    'selecting an address that is reserved',
    { ...ours, requestedAddress: inPool },
    '0.0.0.0',
    { network: pooled, reserved: [inPool] },
    'nak',
  ],
  [
    "selecting somebody else's address",
    { ...ours, requestedAddress: inPool },
    '0.0.0.0',
    { network: pooled, leases: [{ ...poolLease, mac: parseMac('02:00:00:00:00:01') }] },
    'nak',
  ],
  ['selecting us, unknown, no pool', { ...ours, requestedAddress: right }, '0.0.0.0', {}, 'ignore'],
  ['rebooting, right', { requestedAddress: right }, '0.0.0.0', { node }, 'ack'],
  ['rebooting, wrong', { requestedAddress: ip('192.168.1.5') }, '0.0.0.0', { node }, 'nak'],
  [
    'rebooting, has a lease',
    { requestedAddress: inPool },
    '0.0.0.0',
    { network: pooled, leases: [poolLease] },
    'ack',
  ],
  [
    'rebooting, unknown, no lease: silence',
    { requestedAddress: inPool },
    '0.0.0.0',
    { network: pooled },
    'ignore',
  ],
  [
    'rebooting, known, no lease',
    { requestedAddress: inPool },
    '0.0.0.0',
    { node: nodeWithoutIp, network: pooled },
    'nak',
  ],
  [
    'rebooting, known, has come from the network of its address',
    { requestedAddress: ip('10.78.0.5') },
    '0.0.0.0',
    { node: { ...node, ip: ip('10.78.0.5') } },
    'nak',
  ],
  ['renewing, right', {}, right, { node }, 'ack'],
  ['renewing, wrong', {}, '10.77.0.22', { node }, 'nak'],
  ['rebinding, moved from another network', {}, '192.168.1.5', { node }, 'nak'],
  ['rebinding, unknown, another network: silence', {}, '192.168.1.5', { network: pooled }, 'ignore'],
  ['renewing, unknown, no pool: silence', {}, inPool, {}, 'ignore'],
  ['renewing a lease', {}, inPool, { network: pooled, leases: [poolLease] }, 'ack'],
  ['naming no address', {}, '0.0.0.0', { node }, 'ignore'],
]
for (const [what, options, ciaddr, world, kind] of requests)
  test(`REQUEST: ${what}: ${kind}`, () => {
    const asked = request('udhcpc-renew', options, { ciaddr: ip(ciaddr) })
    const answered = answer(asked, context(world))
    expect(answered.kind).toBe(kind)
    if (kind === 'nak')
      expect(replyOf(answered)).toMatchObject({ yiaddr: '0.0.0.0', siaddr: '0.0.0.0', file: '' })
  })

test('the choice of another server drops our hold', () => {
  const asked = request('udhcpc-request', { serverId: ip('10.77.0.9') })
  const held: Lease = { ...poolLease, state: 'held' }
  const answered = answer(asked, context({ network: pooled, leases: [held] }))
  expect(answered).toEqual({
    kind: 'ignore',
    why: 'for the server 10.77.0.9',
    server: '10.77.0.9',
    lease: { type: 'drop', mac, address: held.address, now },
  })
})

test('RELEASE and DECLINE count only for what the sender has', () => {
  const world = { network: pooled, leases: [poolLease] }
  const release = (ciaddr: Ipv4) => answer(request('udhcpc-release', {}, { ciaddr }), context(world)).kind
  expect([release(inPool), release(right)]).toEqual(['release', 'ignore'])
  const decline = (requestedAddress: Ipv4) =>
    answer(request('udhcpc-request', { messageType: 4, requestedAddress }), context(world)).kind
  expect([decline(inPool), decline(right)]).toEqual(['decline', 'ignore'])
})

test('INFORM: options without an address or a lease', () => {
  const inform = request('udhcpc-renew', { messageType: 8 })
  const answered = answer(inform, context({ node }))
  expect(replyOf(answered)).toMatchObject({ yiaddr: '0.0.0.0', ciaddr: '10.77.0.21' })
  const { messageType, leaseSeconds, dns } = optionsOf(answered)
  expect({ messageType, leaseSeconds, dns }).toEqual({
    messageType: 5,
    leaseSeconds: undefined,
    dns: ['10.77.0.2'],
  })
  expect(answered).not.toHaveProperty('lease')
  expect(answer(inform, context({})).kind).toBe('ignore')
  const elsewhere = request('udhcpc-renew', { messageType: 8 }, { ciaddr: ip('8.8.8.8') })
  expect(answer(elsewhere, context({ node })).kind).toBe('ignore')
})

// Where it goes, RFC 2131 4.1.
const ports = usualPorts
const deliveries: [what: string, header: Partial<Packet>, refusal: boolean, to: string][] = [
  ['no address: broadcast, whatever the flag', { flags: 0 }, false, '255.255.255.255:68'],
  ['renewing: to its address', { ciaddr: right }, false, '10.77.0.21:68'],
  ['a refusal: broadcast', { ciaddr: right }, true, '255.255.255.255:68'],
  ['relayed: to the relay', { ciaddr: right, giaddr: ip('10.77.0.253') }, true, '10.77.0.253:67'],
]
for (const [what, header, refusal, to] of deliveries)
  test(`delivery, ${what}`, () => {
    const reply = { ...replyOf(answer(asked, context({ node }))), ...header }
    const { address, port } = destinationOf(reply, { refusal, ports })
    expect(`${address}:${port}`).toBe(to)
  })

test('an ACK goes to no address but the one that it gives', () => {
  const asking = { requestedAddress: right, serverId: network.address }
  const made = request('udhcpc-request', asking, { ciaddr: ip('198.51.100.7') })
  const answered = answer(made, context({ node }))
  expect(answered).toMatchObject({ kind: 'ack', address: right })
  expect(destinationOf(replyOf(answered), { refusal: false, ports }).address).toBe('255.255.255.255')
})

// What is not a request to us.
const strange: [what: string, change: Partial<Packet>, why: RegExp][] = [
  ['a reply', { op: 'reply' }, /a reply/],
  ['a card of another kind', { htype: 7, hlen: 1 }, /no card has this address \(type 7, 1 bytes\)/],
  [
    'a multicast MAC',
    { chaddr: Buffer.from('0100000000000000000000000000000'.padEnd(32, '0'), 'hex') },
    /no card/,
  ],
  ["a server's message", { options: new Map([[53, Buffer.of(5)]]) }, /servers/],
]
for (const [what, change, why] of strange)
  test(`${what} is ignored`, () => {
    const packet = { ...parsePacket(capture('udhcpc-discover')), ...change }
    expect(readRequest(packet)).toMatchObject({ kind: 'ignore', why: expect.stringMatching(why) })
  })

test('law: a reply fits what its client takes, however much it asks to be echoed', () => {
  const echo = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes))
  const sizes = fc.integer({ min: 0, max: 65535 })
  fc.assert(
    fc.property(
      fc.constantFrom(...captureNames),
      echo,
      echo,
      sizes,
      (name, clientId, relayInfo, maxBytes) => {
        const asked = request(name, { clientId, relayInfo, maxBytes })
        const answered = answer(asked, context({ node: { ...node, mac: [asked.mac] }, network: pooled }))
        if (!('reply' in answered)) return
        const bytes = serializePacket(answered.reply, roomFor(asked))
        expect(bytes.length + 28).toBeLessThanOrEqual(Math.min(Math.max(maxBytes, 576), 1500))
        const { messageType, serverId } = decodeOptions(parsePacket(bytes).options)
        expect([messageType, serverId]).toEqual([expect.any(Number), network.address])
      },
    ),
    { numRuns: 300 },
  )
})

test('law: captured packets with any bytes changed, in every mode and on both ports, are answered, ignored or malformed', () => {
  const change = fc.tuple(fc.nat(450), fc.nat(255))
  const relayed = { subnet: parseSubnet('10.79.0.0/24'), address: network.address, relays: [ip('10.9.9.9')] }
  const networks = [
    pooled,
    relayed,
    { ...network, subnet: parseSubnet('10.80.0.0/24'), mode: 'proxy' as const },
  ]
  const property = fc.property(
    fc.constantFrom(...captureNames),
    fc.array(change, { maxLength: 12 }),
    fc.constantFrom(...networks),
    fc.constantFrom('server', 'bootServer'),
    (name, changes, arrival, port) => {
      const bytes = capture(name)
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      const asked = readOrMalformed(bytes)
      if (asked?.kind !== 'request') return
      const found = networkOf(asked, { network: arrival, unicast: changes.length % 2 === 0 }, networks)
      if ('kind' in found) return
      const known = changes.length % 3 > 0
      const world = context({ network: found, ...(known && { node: { ...node, mac: [asked.mac] } }) })
      const answered = decide(port, asked, world)
      if (!('reply' in answered)) return
      // What leaves can be read, goes to where we are, and gives no address that is not of the network.
      const reply = parsePacket(serializePacket(answered.reply, roomFor(asked)))
      expect(reply).toMatchObject({ op: 'reply', xid: asked.packet.xid, chaddr: asked.packet.chaddr })
      const { giaddr, yiaddr } = reply
      if (giaddr !== '0.0.0.0') {
        const mayGo = [...networks.flatMap((each) => ('relays' in each ? each.relays : []))]
        expect(mayGo.includes(giaddr) || networks.some(({ subnet }) => subnetContains(subnet, giaddr))).toBe(
          true,
        )
      }
      if (yiaddr !== '0.0.0.0') expect(subnetContains(found.subnet, yiaddr)).toBe(true)
      // On port 4011 it goes to where the request came from.
      if (port === 'server' && reply.ciaddr !== '0.0.0.0')
        expect(subnetContains(found.subnet, reply.ciaddr)).toBe(true)
    },
  )
  fc.assert(property, { numRuns: 2000 })
})

function readOrMalformed(bytes: Buffer) {
  try {
    return readRequest(parsePacket(bytes))
  } catch (error) {
    expect(error).toBeInstanceOf(WireError)
    return undefined
  }
}

import { expect, test } from 'vitest'
import { parseCardAddress, parseMac, parseSubnet } from '../../src/address.ts'
import { bootServerAlias } from '../../src/dhcp/hardware.ts'
import { makeHeard } from '../../src/dhcp/heard.ts'
import type { Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { relayInfoOf } from '../../src/dhcp/relay.ts'
import { answer } from '../../src/dhcp/reply.ts'
import { readRequest, roomFor } from '../../src/dhcp/request.ts'
import { type Arrival, networkOf } from '../../src/dhcp/subnet.ts'
import type { Network } from '../../src/node/network.ts'
import { context, ip, mac, network, node, optionsOf, pooled, replyOf, request } from './cases.ts'

// ---- which network ----

const other: Network = { interface: 's1', subnet: parseSubnet('10.78.0.0/24'), address: ip('10.78.0.1') }
const relayed: Network = {
  subnet: parseSubnet('10.79.0.0/24'),
  address: network.address,
  relays: [ip('192.168.9.9')],
}
const networks = [pooled, other, relayed]
const here: Arrival = { network: pooled, unicast: false }
const toUs: Arrival = { network: pooled, unicast: true }
const by = (from: string): Arrival => ({ ...toUs, from: ip(from) })
const select = (...bytes: number[]) => ({ relayInfo: Buffer.of(5, 4, ...bytes) })

type Row = [what: string, options: Options, header: Partial<Packet>, arrival: Arrival, is: Network | RegExp]
const rows: Row[] = [
  ['a broadcast is of its interface', {}, {}, here, pooled],
  [
    "a broadcast is of its interface, whatever the client's old address says",
    {},
    { ciaddr: ip('10.78.0.5') },
    here,
    pooled,
  ],
  ['giaddr chooses the network', {}, { giaddr: ip('10.79.0.254') }, toUs, relayed],
  ['giaddr counts more than the interface', {}, { giaddr: ip('10.78.0.254') }, here, other],
  ['a relay of no network gets nothing', {}, { giaddr: ip('8.8.8.8') }, toUs, /8.8.8.8 is in no network/],
  [
    'RFC 3527: link selection counts more than giaddr',
    select(10, 79, 0, 0),
    { giaddr: ip('10.78.0.254') },
    toUs,
    relayed,
  ],
  [
    'RFC 3527: with a giaddr of no network of ours it must be named in relays',
    select(10, 79, 0, 0),
    { giaddr: ip('192.168.9.9') },
    toUs,
    relayed,
  ],
  [
    'a made-up relay can not have us send outside of our networks',
    select(10, 79, 0, 0),
    { giaddr: ip('8.8.8.8') },
    toUs,
    /not in relays/,
  ],
  ['a relay sends from its side towards us', {}, { giaddr: ip('10.79.0.254') }, by('10.77.0.253'), relayed],
  [
    'a machine of one network does not speak for another one that we hear ourselves',
    {},
    { giaddr: ip('10.78.0.254') },
    by('10.77.0.66'),
    /relayed by 10.77.0.66, which is no relay of that network/,
  ],
  ['a relay of the network itself does', {}, { giaddr: ip('10.78.0.254') }, by('10.78.0.253'), other],
  [
    'who got its address from a pool relays nothing',
    {},
    { giaddr: ip('10.79.0.254') },
    by('10.77.0.105'),
    /relayed by 10.77.0.105/,
  ],
  ['nor does who has no address', {}, { giaddr: ip('10.79.0.254') }, by('0.0.0.0'), /relayed by 0.0.0.0/],
  ['but one that is named in relays', {}, { giaddr: ip('10.79.0.254') }, by('192.168.9.9'), relayed],
  ['link selection without a relay is nothing', select(10, 79, 0, 0), {}, here, pooled],
  ['a client behind a relay renews by itself', {}, { ciaddr: ip('10.79.0.5') }, toUs, relayed],
  ['a client that came from elsewhere', {}, { ciaddr: ip('192.168.1.5') }, toUs, pooled],
  [
    'sent to an address that only relays use',
    {},
    {},
    { network: undefined, unicast: true },
    /neither from a network of ours/,
  ],
]
for (const [what, options, header, arrival, is] of rows)
  test(`network: ${what}`, () => {
    const found = networkOf(request('udhcpc-discover', options, header), arrival, networks)
    if (is instanceof RegExp) expect(found).toEqual({ kind: 'ignore', why: expect.stringMatching(is) })
    else expect(found).toBe(is)
  })

test('option 82: what is cut or of a wrong size is left, and what stands before it counts', () => {
  const info = Buffer.from('0102aabb05040a4f00000b04', 'hex')
  for (let length = 0; length < info.length; length++)
    expect(relayInfoOf({ relayInfo: info.subarray(0, length) })).toEqual(
      length < 10 ? {} : { linkSelection: '10.79.0.0' },
    )
  expect(relayInfoOf({ relayInfo: Buffer.from('05030a4f00', 'hex') })).toEqual({})
  expect(relayInfoOf({})).toEqual({})
})

test('RFC 5107: the relay is named as server where it wants so, and is us when the client chooses it', () => {
  const relayInfo = Buffer.from('0b040a4d00fd', 'hex') // 10.77.0.253
  const giaddr = ip('10.77.0.253')
  const discover = request('udhcpc-discover', { relayInfo }, { giaddr })
  expect(optionsOf(answer(discover, context({ node }))).serverId).toBe('10.77.0.253')
  const chosen = { relayInfo, serverId: giaddr, requestedAddress: node.ip! }
  expect(answer(request('udhcpc-request', chosen, { giaddr }), context({ node })).kind).toBe('ack')
  // Without a relay on the way anybody could have written it.
  const direct = request('udhcpc-discover', { relayInfo })
  expect(optionsOf(answer(direct, context({ node }))).serverId).toBe('10.77.0.1')
})

test('option 82 is the last thing that a small packet loses', () => {
  const relayInfo = Buffer.alloc(255, 7)
  const asked = request('ovmf-pxe-discover', { relayInfo, maxBytes: 576 }, { giaddr: ip('10.77.0.253') })
  const reply = replyOf(answer(asked, context({ node: { ...node, mac: [asked.mac] } })))
  const bytes = serializePacket(reply, roomFor(asked))
  const read = parsePacket(bytes).options
  expect(bytes.length).toBeLessThanOrEqual(548)
  expect([...read.keys()].at(-1)).toBe(82)
  expect(read.get(82)).toEqual(relayInfo)
  expect([...read.keys()].slice(0, 2)).toEqual([53, 54])
})

// ---- by which address a machine is known ----

const guid = '0002c9030012ab34'
const known = parseMac('00:02:c9:12:ab:34')
const chaddr = (hex: string) => Buffer.from(hex.padEnd(32, '0'), 'hex')
const clientId = (hex: string) => ({ clientId: Buffer.from(hex, 'hex') })
const cards: [what: string, header: Partial<Packet>, options: Options, mac: string | undefined][] = [
  ['Ethernet', {}, {}, mac],
  ['IEEE 802 (type 6)', { htype: 6 }, {}, mac],
  [
    'RFC 4390: InfiniBand has hlen 0 and its GUID at the end of the client id (Mellanox, dhclient)',
    { htype: 32, hlen: 0, chaddr: chaddr('') },
    clientId(`ff00000000000002000002c900${guid}`),
    known,
  ],
  [
    'InfiniBand: type and GUID (NetworkManager)',
    { htype: 32, hlen: 0, chaddr: chaddr('') },
    clientId(`20${guid}`),
    known,
  ],
  ['iPXE over InfiniBand: the GUID in chaddr', { htype: 32, hlen: 8, chaddr: chaddr(guid) }, {}, known],
  ['InfiniBand without a client id is nobody', { htype: 32, hlen: 0, chaddr: chaddr('') }, {}, undefined],
  [
    'InfiniBand with a client id that holds no GUID',
    { htype: 32, hlen: 0, chaddr: chaddr('') },
    clientId('2011223344'),
    undefined,
  ],
  ['a card of another kind', { htype: 7, hlen: 1 }, {}, undefined],
  ['Ethernet with eight bytes', { hlen: 8 }, {}, undefined],
  ['no address at all', { chaddr: chaddr('') }, {}, undefined],
  ['a multicast address', { chaddr: chaddr('01005e000001') }, {}, undefined],
]
for (const [what, header, options, expected] of cards)
  test(`card: ${what}`, () => {
    const packet = parsePacket(serializePacket({ ...request('udhcpc-discover', options).packet, ...header }))
    const read = readRequest(packet)
    expect(read.kind === 'request' ? read.mac : undefined).toBe(expected)
  })

test('InfiniBand: type, length and client id come back, by broadcast, and the lease is of the GUID', () => {
  const id = `ff00000000000002000002c900${guid}`
  const asked = request('udhcpc-discover', clientId(id), {
    ...{ htype: 32, hlen: 0, chaddr: chaddr(''), flags: 0x8000 },
  })
  const answered = answer(asked, context({ network: pooled }))
  expect(replyOf(answered)).toMatchObject({ htype: 32, hlen: 0, chaddr: chaddr(''), flags: 0x8000 })
  expect(optionsOf(answered).clientId?.toString('hex')).toBe(id)
  expect(answered).toMatchObject({ lease: { mac: known } })
})

test('mac= takes a port GUID and the 20 bytes of IP over InfiniBand, and keeps what firmware makes of them', () => {
  expect(parseCardAddress('00:02:c9:03:00:12:ab:34')).toBe(known)
  expect(parseCardAddress('0002c9030012ab34')).toBe(known)
  expect(parseCardAddress('80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:12:ab:34')).toBe(known)
  expect(parseCardAddress('52:54:00:77:00:21')).toBe(mac)
  for (const wrong of ['00:02:c9:03:00:12:ab', '0002c9030012ab3', '00:02', 'x'])
    expect(() => parseCardAddress(wrong)).toThrow(/not a MAC address/)
})

test('Omni-Path asks port 4011 as 02 and the last five bytes of its GUID: it is the same machine', () => {
  const asked = request('udhcpc-discover', {}, { htype: 32, hlen: 8, chaddr: chaddr('00117501017f9f2a') })
  expect(bootServerAlias(asked.packet)).toBe('02:01:01:7f:9f:2a')
  const heard = makeHeard()
  heard.noteAlias(asked)
  const alias = parseMac('02:01:01:7f:9f:2a')
  expect(heard.realMac(alias, () => false)).toBe(asked.mac)
  expect(heard.realMac(mac, () => false)).toBe(mac)
  expect(heard.realMac(alias, (each) => each === alias)).toBe(alias) // a node of that name is itself
})

test('an address that another server gave to an unknown machine is no longer that of the node that had it', () => {
  const heard = makeHeard()
  const address = ip('10.77.0.150')
  const asked = request('udhcpc-request', { requestedAddress: address })
  heard.noteAddress(asked, true)
  expect(heard.macOf(address)).toBe(mac)
  heard.noteAddress({ ...asked, mac: known }, false)
  expect(heard.macOf(address)).toBeUndefined()
})

test('what is remembered of requests is bounded', () => {
  const heard = makeHeard()
  for (let i = 0; i < 10_000; i++) {
    const address = ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    heard.noteAddress(request('udhcpc-request', { requestedAddress: address }), true)
  }
  expect([heard.macOf(ip('10.0.0.0')), heard.macOf(ip('10.0.39.15'))]).toEqual([undefined, mac])
})

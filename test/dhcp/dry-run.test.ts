// What would be answered, why, and how it differs from what was: on captured requests and the server's own decision.
import { describe, expect, test } from 'vitest'
import { type Ipv4, type Mac, macBytes, parseSubnet } from '../../src/address.ts'
import { indexNodes } from '../../src/boot/names.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { askerNames, discoverAs } from '../../src/dhcp/asking.ts'
import { comparePackets, describePacket } from '../../src/dhcp/describe.ts'
import { type DryWorld, makeDryRun } from '../../src/dhcp/dry-run.ts'
import { exchangesIn } from '../../src/dhcp/exchanges.ts'
import { parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { readRequest } from '../../src/dhcp/request.ts'
import { readCapture } from '../../src/pcap.ts'
import { ethernet, pcap } from '../captures.ts'
import { capture, captureNames } from './captures.ts'

const mac = '52:54:00:77:00:11' as Mac
const node = { name: 'n1', mac: [mac], ip: '10.0.0.11', kernelArgs: [] } as unknown as BootNode
const network = {
  ...{ interface: 'eth1', subnet: parseSubnet('10.0.0.0/24'), address: '10.0.0.1' as Ipv4 },
  ...{ gateway: '10.0.0.254' as Ipv4, pool: { from: '10.0.0.100' as Ipv4, to: '10.0.0.103' as Ipv4 } },
}
const world: DryWorld = {
  networks: [network],
  serverOf: () => ({ address: network.address, httpPort: 80, imagePort: 8081 }),
  nodes: indexNodes([node]),
  built: new Set(['boot/grub/i386-pc/core.0', 'boot/grub/x86_64-efi/core.efi']),
  ...{ leases: [], waiting: [] },
  now: 1e12,
}
const request = capture('ovmf-pxe-discover')

describe('describing', () => {
  for (const name of captureNames)
    test(`${name}: its fields cover every byte but padding`, () => {
      const bytes = capture(name)
      const covered = Buffer.alloc(bytes.length)
      for (const { at, length } of describePacket(bytes)) covered.fill(1, at, at + length)
      const left = [...bytes.entries()].filter(([at]) => !covered[at]).map(([, byte]) => byte)
      expect(left.every((byte) => byte === 0)).toBe(true)
    })

  test('cut short anywhere it says what is there', () => {
    for (let length = 0; length < request.length; length++) describePacket(request.subarray(0, length))
    expect(describePacket(request).find(({ name }) => name === 'option 93')).toMatchObject({
      about: 'clientArchs',
      text: '7',
    })
  })
})

describe('comparing', () => {
  test('no byte differs', () => expect(comparePackets(request, Buffer.from(request))).toEqual([]))

  test('any one byte of a reply that is another is found, with its offset', () => {
    const { reply } = makeDryRun(world)({ request, replies: [] })
    const fields = describePacket(reply!)
    for (const { at, name } of fields.filter(({ name }) => name !== 'end')) {
      const isOption = name.startsWith('option')
      const changed = Buffer.from(reply!)
      changed[isOption ? at + 2 : at]! ^= 0x01
      expect(comparePackets(changed, reply!)).toMatchObject([
        { name, captured: { at: isOption ? at + 2 : at } },
      ])
    }
  })

  test('an option that only one has; the order; the padding', () => {
    const packet = parsePacket(request)
    const options = [...packet.options]
    const without = serializePacket({ ...packet, options: new Map(options.slice(0, -1)) })
    const [code] = options.at(-1)!
    const whole = serializePacket(packet)
    expect(comparePackets(whole, without)).toMatchObject([{ name: `option ${code}`, captured: {} }])
    expect(comparePackets(without, whole)).toMatchObject([{ name: `option ${code}`, ours: {} }])
    const [first, ...others] = options
    const turned = serializePacket({ ...packet, options: new Map([first!, ...others.reverse()]) })
    expect(comparePackets(turned, whole)).toMatchObject([{ name: 'order of options' }])
    expect(comparePackets(Buffer.concat([whole, Buffer.alloc(8)]), whole)).toMatchObject([{ name: 'length' }])
  })
})

describe('a dry run', () => {
  test('is the server’s own answer, and every field of it has a rule', () => {
    const run = makeDryRun(world)({ request, replies: [] })
    expect(run).toMatchObject({
      ...{ node: 'n1', asked: 'discover of firmware, uefi x86_64', answer: 'offer', address: '10.0.0.11' },
      file: 'boot/grub/x86_64-efi/core.efi',
    })
    const rule = (name: string) => run.fields.find((field) => field.name === name)?.rule
    expect([rule('yiaddr'), rule('option 3'), rule('file')]).toEqual([
      ...['ip of n1', 'networks[].gateway', 'for uefi x86_64, netboot=(default)'],
    ])
  })

  for (const name of captureNames)
    test(`${name}: no field of the reply is without its rule`, () => {
      const run = makeDryRun(world)({ request: capture(name), replies: [] })
      const unexplained = run.fields.filter(
        ({ name, hex, rule }) => rule === undefined && !/^0*$/.test(hex) && !['cookie', 'end'].includes(name),
      )
      expect(unexplained).toEqual([])
    })

  test('what one request changes the next one sees, and the world does not', () => {
    const stranger = (last: number) => `52:54:00:00:00:0${last}` as Mac
    const run = makeDryRun(world)
    const offers = [1, 2, 3, 4, 5].map((last) =>
      run({ request: discoverAs('bios', stranger(last)), replies: [] }),
    )
    expect(new Set(offers.slice(0, 4).map(({ address }) => address)).size).toBe(4)
    expect(offers[4]).toMatchObject({ answer: 'ignore', why: 'the pool is used up' })
    expect(world.leases).toEqual([])
  })

  test('the reply of then beside the one of now', () => {
    const { reply } = makeDryRun(world)({ request, replies: [] })
    const run = makeDryRun(world)
    expect(run({ request, replies: [reply!] }).compared).toMatchObject({ same: true, differences: [] })
    const other = serializePacket({ ...parsePacket(reply!), yiaddr: '10.0.0.12' as Ipv4 }, 576)
    expect(run({ request, replies: [other] }).compared).toMatchObject({
      same: false,
      differences: [{ name: 'yiaddr', captured: { at: 19, text: '10.0.0.12' }, ours: { text: '10.0.0.11' } }],
    })
    // Beside a second server's the one that is meant counts.
    expect(run({ request, replies: [other, reply!] }).compared).toMatchObject({ same: true })
    expect(run({ request: Buffer.from('junk'), replies: [reply!] }).compared).toMatchObject({
      same: false,
      captured: 'offer of 10.0.0.11 from 10.0.0.1',
    })
  })

  test('which network heard it: by the relay, by the reply, by the node; else it is said', () => {
    const second = { ...network, subnet: parseSubnet('10.9.0.0/24'), address: '10.9.0.1' as Ipv4 }
    const run = makeDryRun({ ...world, networks: [second, network] })
    expect(run({ request, replies: [] }).network?.address).toBe('10.0.0.1')
    const stranger = discoverAs('bios', '52:54:00:00:00:01' as Mac)
    expect(run({ request: stranger, replies: [] }).why).toBe('it is not known in which network it asked')
    const relayed = serializePacket({ ...parsePacket(stranger), giaddr: '10.9.0.3' as Ipv4 })
    expect(run({ request: relayed, replies: [] }).network?.address).toBe('10.9.0.1')
  })

  test('mode: proxy, and port 4011 in both modes, are answered as the server does', () => {
    const proxy = makeDryRun({ ...world, networks: [{ ...network, mode: 'proxy' }] })
    const offer = proxy({ request, replies: [] })
    expect(offer).toMatchObject({ answer: 'offer', file: 'boot/grub/x86_64-efi/core.efi' })
    expect(offer.address).toBeUndefined()
    expect(offer.fields.find(({ name }) => name === 'option 60')?.text).toBe('"PXEClient"')
    expect(proxy({ request: capture('ovmf-pxe-request'), replies: [] })).toMatchObject({
      ...{ answer: 'ignore', why: expect.stringContaining('the other DHCP server') },
    })
    const asked = { ...parsePacket(capture('ovmf-pxe-request')), ciaddr: '10.0.0.11' as Ipv4 }
    const boot = { request: serializePacket(asked, 1400), replies: [], port: 4011 }
    for (const run of [proxy, makeDryRun(world)]) expect(run(boot)).toMatchObject({ answer: 'ack' })
  })

  for (const name of askerNames)
    test(`asked as ${name}: read as that`, () => {
      const asked = readRequest(parsePacket(discoverAs(name, mac)))
      expect(asked).toMatchObject({ kind: 'request', type: 'discover', mac })
      const kind = name === 'system' ? 'os' : name.startsWith('ipxe') ? 'ipxe' : 'firmware'
      expect(asked).toMatchObject({ client: { kind, protocol: name.endsWith('http') ? 'http' : 'tftp' } })
    })
})

describe('a capture', () => {
  const stamp = (seconds: number) => 1_700_000_000_000 + seconds * 1000
  const sent = (seconds: number, payload: Buffer, to = '255.255.255.255') => ({
    time: stamp(seconds),
    bytes: ethernet({ time: 0, from: '0.0.0.0', to, ports: [68, 67], payload }),
  })
  const answered = (seconds: number, payload: Buffer, from = '10.0.0.1') => ({
    time: stamp(seconds),
    bytes: ethernet({ time: 0, from, to: '255.255.255.255', ports: [67, 68], payload }),
  })
  const run = makeDryRun(world)
  const offer = run({ request, replies: [] }).reply!
  const second = capture('ovmf-pxe-request')

  test('requests and their replies are found, each once', () => {
    const file = pcap([
      sent(0, request),
      sent(0.0001, request), // on the second port of the bridge
      answered(0.01, offer),
      answered(0.02, offer, '10.0.0.2'),
      sent(1, second),
      answered(1.01, Buffer.from('not DHCP')),
      sent(400, request),
    ])
    const exchanges = exchangesIn(readCapture(file, 'x').datagrams)
    expect(
      exchanges.map(({ frame, mac, replies }) => [frame, mac, replies.map((each) => each.frame)]),
    ).toEqual([
      ...[
        [1, mac, [3]],
        [5, mac, []],
        [7, mac, []],
      ],
    ])
  })

  test('a relayed request is seen twice, and counts once, as the server saw it', () => {
    const relayed = serializePacket({ ...parsePacket(request), giaddr: '10.0.0.3' as Ipv4, hops: 1 }, 1400)
    const file = pcap([sent(0, request), sent(0.001, relayed, '10.0.0.1')])
    const [only, ...more] = exchangesIn(readCapture(file, 'x').datagrams)
    expect(more).toEqual([])
    expect(parsePacket(only!.request).giaddr).toBe('10.0.0.3')
    expect(macBytes(only!.mac).length).toBe(6)
  })
})

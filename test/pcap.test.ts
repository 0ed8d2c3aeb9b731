// Captures in every file format and on every link that DHCP is captured on.
import { expect, test } from 'vitest'
import { readCapture } from '../src/pcap.ts'
import { datagram, ethernet, type Packet, pcap, pcapng } from './captures.ts'

const packet: Packet = {
  ...{ time: 1_700_000_000_123, from: '10.0.0.1', to: '255.255.255.255', ports: [67, 68] },
  payload: Buffer.from('the payload'),
}
const raw = datagram(packet.from, packet.to, packet.ports, packet.payload)
const frame = (bytes: Buffer, whole?: number) => [
  { time: packet.time, bytes, ...(whole !== undefined && { whole }) },
]
const expected = {
  ...{ frame: 1, time: packet.time, payload: packet.payload },
  ...{ from: { address: '10.0.0.1', port: 67 }, to: { address: '255.255.255.255', port: 68 } },
}
const cooked = Buffer.concat([Buffer.alloc(14), Buffer.from([8, 0]), raw])
const cooked2 = Buffer.concat([Buffer.from([8, 0]), Buffer.alloc(18), raw])

const files: Record<string, Buffer> = {
  'pcap, little end first, microseconds': pcap(frame(ethernet(packet))),
  'pcap, big end first, microseconds': pcap(frame(ethernet(packet)), { magic: 'a1b2c3d4' }),
  'pcap, little end first, nanoseconds': pcap(frame(ethernet(packet)), { magic: '4d3cb2a1' }),
  'pcap, big end first, nanoseconds': pcap(frame(ethernet(packet)), { magic: 'a1b23c4d' }),
  'pcapng, little end first': pcapng(frame(ethernet(packet))),
  'pcapng, big end first': pcapng(frame(ethernet(packet)), { little: false }),
  'a VLAN tag': pcap(frame(ethernet(packet, { vlans: [7] }))),
  'two VLAN tags': pcap(frame(ethernet(packet, { vlans: [7, 9] }))),
  'raw IP': pcap(frame(raw), { link: 101 }),
  'Linux cooked': pcap(frame(cooked), { link: 113 }),
  'Linux cooked, version 2': pcap(frame(cooked2), { link: 276 }),
  'padding after the datagram': pcap(frame(Buffer.concat([ethernet(packet), Buffer.alloc(18)]))),
}
for (const [name, file] of Object.entries(files))
  test(name, () => {
    expect(readCapture(file, 'x')).toEqual({ datagrams: [expected], frames: 1, skipped: new Map() })
  })

test('pcapng, simple packets: without a time', () => {
  expect(readCapture(pcapng(frame(ethernet(packet)), { simple: true }), 'x').datagrams).toEqual([
    { ...expected, time: 0 },
  ])
})

const arp = Buffer.concat([Buffer.alloc(12), Buffer.from([8, 6]), Buffer.alloc(28)])
const tcp = Buffer.from(ethernet(packet))
tcp[14 + 9] = 6
const fragment = Buffer.from(ethernet(packet))
fragment[14 + 6] = 0x20
const others: Record<string, [Buffer, string]> = {
  ARP: [pcap(frame(arp)), 'ARP'],
  TCP: [pcap(frame(tcp)), 'not UDP'],
  'a fragment': [pcap(frame(fragment)), 'a fragment'],
  'kept too short': [
    pcap(frame(ethernet(packet).subarray(0, 46), 53)),
    'cut short by the capture (tcpdump -s 0 keeps all)',
  ],
  'another link': [pcap(frame(arp), { link: 105 }), 'link type 105'],
}
for (const [name, [file, why]] of Object.entries(others))
  test(`${name}: counted, not read`, () => {
    expect(readCapture(file, 'x')).toEqual({ datagrams: [], frames: 1, skipped: new Map([[why, 1]]) })
  })

test('what is no capture is refused by name', () => {
  for (const file of [Buffer.alloc(0), Buffer.from('MZ'), Buffer.alloc(1000, 1)])
    expect(() => readCapture(file, 'dump.pcap')).toThrow(/dump\.pcap: not a packet capture/)
})

test('cut short anywhere, or with any byte changed, it is read or refused, never a crash', () => {
  for (const whole of [pcap(frame(ethernet(packet))), pcapng(frame(ethernet(packet)))]) {
    for (let length = 0; length < whole.length; length++) tried(whole.subarray(0, length))
    for (let at = 0; at < whole.length; at++)
      for (const value of [0, 1, 127, 255]) {
        const changed = Buffer.from(whole)
        changed[at] = value
        tried(changed)
      }
  }
})
function tried(file: Buffer) {
  try {
    readCapture(file, 'x')
  } catch (error) {
    expect(String(error)).toContain('not a packet capture')
  }
}

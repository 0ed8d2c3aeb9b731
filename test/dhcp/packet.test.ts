import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeOptions, encodeOptions, type Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { readRequest } from '../../src/dhcp/request.ts'
import { WireError } from '../../src/fault.ts'
import { capture, captureNames } from './captures.ts'

const facts: Record<string, Options> = {
  'ovmf-pxe-discover': {
    messageType: 1,
    maxBytes: 1472,
    clientArchs: [7],
    vendorClass: 'PXEClient:Arch:00007:UNDI:003000',
    uuid: Buffer.from('0011111111222233334444555555555555', 'hex'),
  },
  'ovmf-pxe-request': { messageType: 3, requestedAddress: ip('10.77.0.11'), serverId: ip('10.77.0.1') },
  'ovmf-http-discover': { clientArchs: [16], vendorClass: 'HTTPClient:Arch:00016:UNDI:003000' },
  'ipxe-rom-discover': {
    messageType: 1,
    clientArchs: [0],
    userClasses: ['iPXE'],
    vendorClass: 'PXEClient:Arch:00000:UNDI:002001',
    clientId: Buffer.from('01525400770012', 'hex'),
  },
  'udhcpc-discover': {
    vendorClass: 'udhcp 1.35.0',
    maxBytes: 576,
    parameterList: [1, 3, 6, 12, 15, 28, 42],
  },
  'aavmf-pxe-discover': {
    clientArchs: [11],
    vendorClass: 'PXEClient:Arch:00011:UNDI:003000',
    maxBytes: 1472,
  },
  'aavmf-http-request': {
    messageType: 3,
    clientArchs: [19],
    vendorClass: 'HTTPClient:Arch:00019:UNDI:003000',
  },
  // SLOF says what it is in its REQUEST alone, and never asks to be offered a PXE server.
  'slof-discover': { messageType: 1, parameterList: [1, 3, 6, 66, 67, 93] },
  'slof-request': { messageType: 3, clientArchs: [12], parameterList: [1, 3, 6, 66, 67, 93, 209, 210] },
  'ipxe-snponly-discover': {
    userClasses: ['iPXE'],
    clientArchs: [7],
    vendorClass: 'PXEClient:Arch:00007:UNDI:003010',
  },
  'ipxe-efi-request': { messageType: 3, userClasses: ['iPXE'], clientArchs: [7] },
  'ipxe-undionly-discover': { messageType: 1, userClasses: ['iPXE'], clientArchs: [0] },
  'ipxe-arm64-discover': { messageType: 1, userClasses: ['iPXE'], clientArchs: [11] },
  'dhclient-request': { requestedAddress: ip('10.77.0.21'), serverId: ip('10.77.0.1') },
}

for (const [name, options] of Object.entries(facts))
  test(`${name}: its options are read`, () => {
    expect(decodeOptions(parsePacket(capture(name)).options)).toMatchObject(options)
  })

test('what went through a relay says which', () => {
  expect(parsePacket(capture('ovmf-pxe-relayed-discover'))).toMatchObject({ hops: 1, giaddr: '10.79.0.1' })
})

test('on port 4011 firmware says which address it has', () => {
  expect(parsePacket(capture('ovmf-bootserver-request'))).toMatchObject({ ciaddr: '10.78.0.21', flags: 0 })
  expect(parsePacket(capture('aavmf-bootserver-request'))).toMatchObject({ ciaddr: '10.77.0.60', flags: 0 })
  expect(parsePacket(capture('ipxe-rom-bootserver-request')).ciaddr).toBe('10.77.0.59')
})

test('a captured header is read', () => {
  const { options: _, ...head } = parsePacket(capture('udhcpc-renew'))
  expect(head).toMatchObject({ op: 'request', htype: 1, hlen: 6, ciaddr: '10.77.0.21', yiaddr: '0.0.0.0' })
  expect(Buffer.from(head.chaddr).toString('hex')).toBe('525400770021'.padEnd(32, '0'))
  expect(parsePacket(capture('ovmf-pxe-discover')).flags).toBe(0x8000)
  expect(parsePacket(capture('ipxe-rom-discover')).flags).toBe(0)
})

for (const name of captureNames) {
  test(`${name}: serializes back to its bytes`, () => {
    const bytes = capture(name)
    const end = serializePacket(parsePacket(bytes), 1472)
    // Clients pad differently; up to END nothing may change.
    expect(end.subarray(0, bytes.length)).toEqual(bytes.subarray(0, end.length))
  })
  test(`${name}: cut anywhere before its END, it is a WireError and nothing else`, () => {
    const bytes = capture(name)
    const end = bytes.lastIndexOf(255)
    for (let length = 0; length <= end; length++)
      expect(() => parsePacket(bytes.subarray(0, length)), `${length} bytes`).toThrow(WireError)
    for (let length = end + 1; length <= bytes.length; length++) parsePacket(bytes.subarray(0, length))
  })
}

test('law: a captured packet with any bytes changed is read or throws WireError', () => {
  const change = fc.tuple(fc.nat(411), fc.nat(255))
  fc.assert(
    fc.property(fc.constantFrom(...captureNames), fc.array(change, { maxLength: 20 }), (name, changes) => {
      const bytes = capture(name)
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value
      readOrWireError(bytes)
    }),
    { numRuns: 500 },
  )
})

test('law: any options survive writing and reading, however long (RFC 3396)', () => {
  const codes = fc.integer({ min: 1, max: 254 }).filter((code) => code !== 52)
  const options = fc.array(fc.tuple(codes, fc.uint8Array({ maxLength: 700 })), { maxLength: 6 })
  fc.assert(
    fc.property(options, (list) => {
      const raw = new Map(list.map(([code, value]) => [code, Buffer.from(value)]))
      const read = parsePacket(serializePacket(packet({ options: raw }), 8000)).options
      expect(sorted(read)).toEqual(sorted(raw))
    }),
    { numRuns: 200 },
  )
})

test('53 stands first and 82 last, and at least 300 bytes leave', () => {
  const options = new Map([
    [82, Buffer.from('relay')],
    [54, Buffer.from([10, 0, 0, 1])],
    [53, Buffer.of(2)],
  ])
  const bytes = serializePacket(packet({ options }))
  expect(bytes.length).toBe(300)
  expect(bytes.subarray(240).toString('hex')).toMatch(/^35010236040a000001520572656c6179ff0*$/)
})

test('what does not fit is left out whole, the rest is sent', () => {
  const options = new Map([
    [53, Buffer.of(2)],
    [54, Buffer.from([10, 0, 0, 1])],
    [61, Buffer.alloc(400, 1)],
    [97, Buffer.alloc(17)],
  ])
  const bytes = serializePacket(packet({ options }), 548)
  expect(bytes.length).toBeLessThanOrEqual(548)
  expect([...parsePacket(bytes).options.keys()]).toEqual([53, 54, 97])
})

test('overload (52): options in file and sname are read in that order', () => {
  const bytes = Buffer.concat([Buffer.alloc(236), Buffer.from('63825363', 'hex')])
  bytes[0] = 1
  bytes.set([77, 2, 66, 66, 255], 44) // sname
  bytes.set([77, 2, 65, 65, 0, 0, 255], 108) // file
  const area = Buffer.from([52, 1, 3, 77, 1, 64, 255])
  const read = parsePacket(Buffer.concat([bytes, area]))
  expect(read.options).toEqual(new Map([[77, Buffer.from('@AABB')]]))
  expect([read.file, read.sname]).toEqual(['', ''])
})

const broken = {
  'op 3': [0, 3],
  'hlen 17': [2, 17],
  'another cookie': [236, 0],
  'option longer than the packet': [241, 255],
} as const
for (const [what, [at, value]] of Object.entries(broken))
  test(`${what} is a WireError`, () => {
    const bytes = capture('udhcpc-discover')
    bytes[at] = value
    expect(() => parsePacket(bytes)).toThrow(WireError)
  })

test('values of a wrong size are WireErrors', () => {
  for (const code of [50, 53, 54, 57])
    expect(() => decodeOptions(new Map([[code, Buffer.alloc(3)]]))).toThrow(WireError)
})

test('user class: bare and RFC 3004 forms', () => {
  const classes = (hex: string) => decodeOptions(new Map([[77, Buffer.from(hex, 'hex')]])).userClasses
  expect(classes('69505845')).toEqual(['iPXE'])
  expect(classes('0469505845')).toEqual(['iPXE'])
  expect(classes('0469505845026161')).toEqual(['iPXE', 'aa'])
})

test('the boot file option ends in NUL', () => {
  expect(encodeOptions({ bootFile: 'core.0' }).get(67)).toEqual(Buffer.from('core.0\0'))
})

function readOrWireError(bytes: Buffer) {
  try {
    readRequest(parsePacket(bytes))
  } catch (error) {
    expect(error).toBeInstanceOf(WireError)
  }
}
function packet(more: Partial<Packet>): Packet {
  return { ...parsePacket(capture('udhcpc-discover')), op: 'reply', ...more }
}
function ip(text: string) {
  return text as Options['serverId'] & string
}
const sorted = (options: Map<number, Buffer>) => [...options].sort(([a], [b]) => a - b)

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/tftp/packet.ts'

// Captured from the clients that the names say; never from our own encoder.
const captured: Record<string, string> = JSON.parse(
  readFileSync(join(import.meta.dirname, '../fixtures/tftp/requests.json'), 'utf8'),
)
const facts: Record<string, Packet> = {
  'tftp-hpa 5.2 get': { op: 'read', file: 'boot/grub/grub.cfg', mode: 'octet', options: {} },
  'tftp-hpa 5.2 get netascii': { op: 'read', file: 'x.txt', mode: 'netascii', options: {} },
  'tftp-hpa 5.2 put': { op: 'write', file: 'hostname', mode: 'octet', options: {} },
  'busybox 1.35 -b 1468': {
    op: 'read',
    file: 'core.0',
    mode: 'octet',
    options: { blksize: '1468', tsize: '0' },
  },
  'busybox 1.35': { op: 'read', file: 'core.0', mode: 'octet', options: { tsize: '0' } },
  'curl 7.88 --tftp-blksize 1468': {
    op: 'read',
    file: 'boot/x',
    mode: 'octet',
    options: { tsize: '0', blksize: '1468', timeout: '1' },
  },
  'iPXE ROM (QEMU virtio, BIOS)': {
    op: 'read',
    file: 'boot/grub/i386-pc/core.0',
    mode: 'octet',
    options: { blksize: '1432', tsize: '0' },
  },
  'GRUB 2.06 i386-pc': {
    op: 'read',
    file: '/boot/grub/grub.cfg-01-52-54-00-78-00-11',
    mode: 'octet',
    options: { blksize: '1024', tsize: '0' },
  },
  'GRUB 2.06 x86_64-efi': {
    op: 'read',
    file: '/boot/grub/grub.cfg-01-52-54-00-78-00-12',
    mode: 'octet',
    options: { blksize: '1024', tsize: '0' },
  },
  'OVMF 2022.11 for the size': {
    op: 'read',
    file: 'boot/grub/x86_64-efi/core.efi',
    mode: 'octet',
    options: { tsize: '0', blksize: '1468', windowsize: '4' },
  },
  'OVMF 2022.11 for the data': {
    op: 'read',
    file: 'boot/grub/x86_64-efi/core.efi',
    mode: 'octet',
    options: { blksize: '1468', windowsize: '4' },
  },
  'curl 7.88 --tftp-no-options': { op: 'read', file: 'boot/x', mode: 'octet', options: {} },
  'AAVMF 2022.11 for the size': {
    op: 'read',
    file: 'arm.efi',
    mode: 'octet',
    options: { tsize: '0', blksize: '1468', windowsize: '4' },
  },
  'AAVMF 2022.11 for the data': {
    op: 'read',
    file: 'arm.efi',
    mode: 'octet',
    options: { blksize: '1468', windowsize: '4' },
  },
  'shim 16.1 looks for revocations': {
    op: 'read',
    file: 'revocations_sku.efi',
    mode: 'octet',
    options: { blksize: '512', windowsize: '4' },
  },
  'shim 16.1 loads GRUB': {
    op: 'read',
    file: 'grubx64.efi',
    mode: 'octet',
    options: { blksize: '512', windowsize: '4' },
  },
  'signed GRUB 2.06, its configuration': {
    op: 'read',
    file: '/grub/grub.cfg',
    mode: 'octet',
    options: { blksize: '1024', tsize: '0' },
  },
  'signed GRUB 2.06, a list of modules': {
    op: 'read',
    file: '/grub/x86_64-efi/command.lst',
    mode: 'octet',
    options: { blksize: '1024', tsize: '0' },
  },
  'SLOF 20220719': {
    op: 'read',
    file: 'core.elf',
    mode: 'octet',
    options: { blksize: '1428' },
  },
  'undionly.kpxe asked for by iPXE ROM': {
    op: 'read',
    file: 'undionly.kpxe',
    mode: 'octet',
    options: { blksize: '1432', tsize: '0' },
  },
  'pxelinux 6.04, its library': {
    op: 'read',
    file: 'ldlinux.c32',
    mode: 'octet',
    options: { tsize: '0', blksize: '1408' },
  },
  'pxelinux 6.04, by UUID': {
    op: 'read',
    file: 'pxelinux.cfg/33221100-5544-7766-8899-aabbccddeeff',
    mode: 'octet',
    options: { tsize: '0', blksize: '1408' },
  },
  'pxelinux 6.04, by MAC': {
    op: 'read',
    file: 'pxelinux.cfg/01-52-54-00-77-00-28',
    mode: 'octet',
    options: { tsize: '0', blksize: '1408' },
  },
  'iPXE 2.0.0 looks for its own script': {
    op: 'read',
    file: 'autoexec.ipxe',
    mode: 'octet',
    options: { blksize: '1432', tsize: '0' },
  },
}

/** What parses to something, or is refused as a packet; anything else that is thrown is a bug. */
function parses(bytes: Uint8Array): Packet | undefined {
  try {
    return parsePacket(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(WireError)
    return undefined
  }
}

test('every captured packet has its facts', () => {
  expect(Object.keys(facts).sort()).toEqual(Object.keys(captured).sort())
})

for (const [name, hex] of Object.entries(captured)) {
  const bytes = Buffer.from(hex, 'hex')
  test(`${name}: parses to its facts and serializes back to its bytes`, () => {
    expect(parsePacket(bytes)).toEqual(facts[name])
    expect(serializePacket(parsePacket(bytes))).toEqual(bytes)
  })
  test(`${name}: cut short anywhere, it parses or throws WireError`, () => {
    for (let length = 0; length < bytes.length; length++) parses(bytes.subarray(0, length))
    expect(parses(bytes.subarray(0, 3))).toBeUndefined()
  })
}

test('law: no bytes make the parser throw anything but WireError', () => {
  const tail = fc.uint8Array({ maxLength: 600 })
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 7 }), tail, (opcode, rest) => {
      parses(rest)
      parses(Buffer.concat([Buffer.of(0, opcode), rest]))
    }),
    { numRuns: 500 },
  )
})

test('law: what is serialized parses to the same facts', () => {
  const word = fc.stringMatching(/^[a-z0-9./-]{1,20}$/)
  const options = fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), word, { maxKeys: 5 })
  const block = fc.integer({ min: 0, max: 65535 })
  const packet: fc.Arbitrary<Packet> = fc.oneof(
    fc.record({ op: fc.constantFrom('read', 'write'), file: word, mode: word, options }),
    fc.record({ op: fc.constant('oack' as const), options }),
    fc.record({ op: fc.constant('ack' as const), block }),
    fc.record({ op: fc.constant('error' as const), code: block, message: word }),
  )
  fc.assert(fc.property(packet, (p) => void expect(parsePacket(serializePacket(p))).toEqual(p)))
})

const rows: [string, Buffer, Partial<Packet> | undefined][] = [
  [
    'option names in any case',
    Buffer.from('\0\x01a\0OCTET\0BLKSIZE\x001432\0', 'latin1'),
    { mode: 'octet', options: { blksize: '1432' } },
  ],
  ['padding after the mode', Buffer.from('\0\x01a\0octet\0\0\0\0', 'latin1'), { file: 'a', options: {} }],
  [
    'of a repeated option the first',
    Buffer.from('\0\x01a\0octet\0tsize\x000\0tsize\x009\0', 'latin1'),
    { options: { tsize: '0' } },
  ],
  ['an option named __proto__', Buffer.from('\0\x01a\0octet\0__proto__\x00x\0', 'latin1'), { file: 'a' }],
  ['an error without its message', Buffer.of(0, 5, 0, 8), { code: 8, message: '' }],
  [
    'an error whose message has no NUL',
    Buffer.from('\0\x05\0\x08User', 'latin1'),
    { code: 8, message: 'User' },
  ],
  ['a name without an end', Buffer.from('\0\x01abc', 'latin1'), undefined],
  ['an option without a value', Buffer.from('\0\x01a\0octet\0blksize\0', 'latin1'), undefined],
  ['a request of 513 bytes', Buffer.from(`\0\x01${'a'.repeat(504)}\0octet\0`, 'latin1'), undefined],
  ['an empty datagram', Buffer.alloc(0), undefined],
  ['an unknown opcode', Buffer.of(0, 9, 0, 0), undefined],
]
for (const [name, bytes, expected] of rows)
  test(name, () => {
    const packet = parses(bytes)
    if (expected === undefined) expect(packet).toBeUndefined()
    else expect(packet).toMatchObject(expected)
  })

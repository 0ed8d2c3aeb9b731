import { expect, test } from 'vitest'
import { parseIpv4, parseMac } from '../../src/address.ts'
import { grubCores, planFirstLoader } from '../../src/boot/loaders.ts'
import { type Client, clientOf } from '../../src/dhcp/client.ts'
import { decodeOptions, encodeOptions, type Options } from '../../src/dhcp/options.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { capture } from './captures.ts'

const bios = { cpu: 'x86_64', firmware: 'bios' } as const
const uefi = { cpu: 'x86_64', firmware: 'uefi' } as const

const captured: [name: string, client: Client][] = [
  ['ovmf-pxe-discover', { kind: 'firmware', protocol: 'tftp', machine: uefi, archCode: 7 }],
  ['ovmf-http-discover', { kind: 'firmware', protocol: 'http', machine: uefi, archCode: 16 }],
  ['ipxe-rom-discover', { kind: 'ipxe', protocol: 'tftp', machine: bios, archCode: 0 }],
  ['udhcpc-discover', { kind: 'os', protocol: 'tftp' }],
  ['dhclient-discover', { kind: 'os', protocol: 'tftp' }],
]
for (const [name, client] of captured)
  test(`${name}: who asks`, () => {
    expect(clientOf(decodeOptions(parsePacket(capture(name)).options))).toEqual(client)
  })

const aarch64 = { cpu: 'aarch64', firmware: 'uefi' } as const
const ppc = { cpu: 'ppc64le', firmware: 'openfirmware' } as const
const pxe = 'PXEClient:Arch:00007:UNDI:003000'
// Facts of machines that were not at hand: option values as their captures elsewhere or their sources give them.
const told: [what: string, options: Options, client: Client][] = [
  [
    'iPXE after a script set another user class: 175 remains',
    { vendorClass: pxe, clientArchs: [7], userClasses: ['mine'], ipxe: Buffer.from('b10100', 'hex') },
    { kind: 'ipxe', protocol: 'tftp', machine: uefi, archCode: 7 },
  ],
  ['xNBA', { vendorClass: pxe, userClasses: ['xNBA'] }, { kind: 'ipxe', protocol: 'tftp' }],
  [
    'x64 under its other number',
    { vendorClass: pxe, clientArchs: [9] },
    { kind: 'firmware', protocol: 'tftp', machine: uefi, archCode: 9 },
  ],
  [
    'the first known of a list',
    { vendorClass: pxe, clientArchs: [0x99, 11] },
    { kind: 'firmware', protocol: 'tftp', machine: aarch64, archCode: 11 },
  ],
  [
    'arm64 by HTTP',
    { vendorClass: 'HTTPClient:Arch:00019:UNDI:003000', clientArchs: [19] },
    { kind: 'firmware', protocol: 'http', machine: aarch64, archCode: 19 },
  ],
  ['SLOF, DISCOVER', { parameterList: [1, 3, 6, 66, 67, 93] }, { kind: 'firmware', protocol: 'tftp' }],
  [
    'SLOF, REQUEST',
    { parameterList: [1, 3, 6, 66, 67, 93, 209, 210], clientArchs: [12] },
    { kind: 'firmware', protocol: 'tftp', machine: ppc, archCode: 12 },
  ],
  [
    'an architecture that nobody knows',
    { vendorClass: pxe, clientArchs: [0x99] },
    { kind: 'firmware', protocol: 'tftp', archCode: 0x99 },
  ],
  [
    'systemd-networkd',
    { parameterList: [1, 3, 6, 12, 15, 33, 42, 120, 121] },
    { kind: 'os', protocol: 'tftp' },
  ],
]
for (const [what, options, client] of told)
  test(`${what}: who asks`, () => {
    expect(clientOf(decodeOptions(encodeOptions(options)))).toEqual(client)
  })

const server = { address: parseIpv4('10.77.0.1'), httpPort: 80, imagePort: 8081 }
const mac = parseMac('52:54:00:77:00:11')
const script = 'http://10.77.0.1/boot/ipxe/52-54-00-77-00-11'
const efi = 'boot/grub/x86_64-efi/core.efi'
const built = new Set(Object.values(grubCores))
const first: [what: string, client: Client, netboot: 'grub2' | 'ipxe' | undefined, file: string | RegExp][] =
  [
    ['BIOS', { kind: 'firmware', protocol: 'tftp', machine: bios }, undefined, 'boot/grub/i386-pc/core.0'],
    ['UEFI', { kind: 'firmware', protocol: 'tftp', machine: uefi }, 'grub2', efi],
    [
      'UEFI by HTTP',
      { kind: 'firmware', protocol: 'http', machine: uefi },
      undefined,
      `http://10.77.0.1/${efi}`,
    ],
    ['iPXE', { kind: 'ipxe', protocol: 'tftp', machine: bios }, undefined, script],
    [
      'iPXE of any machine: it is a text',
      { kind: 'ipxe', protocol: 'tftp', machine: aarch64 },
      'ipxe',
      script,
    ],
    ['iPXE, netboot=grub2', { kind: 'ipxe', protocol: 'tftp', machine: uefi }, 'grub2', efi],
    ['firmware, netboot=ipxe', { kind: 'firmware', protocol: 'tftp', machine: uefi }, 'ipxe', /not iPXE/],
    [
      'arm64',
      { kind: 'firmware', protocol: 'tftp', machine: aarch64 },
      undefined,
      /no loader for uefi aarch64/,
    ],
    ['SLOF', { kind: 'firmware', protocol: 'tftp' }, undefined, /no loader for a machine that does not say/],
    [
      'an unknown number',
      { kind: 'firmware', protocol: 'tftp', archCode: 153 },
      undefined,
      /architecture 153/,
    ],
    ['a system', { kind: 'os', protocol: 'tftp' }, undefined, /asks for no boot file/],
  ]
for (const [what, client, netboot, expected] of first)
  test(`first loader of ${what}`, () => {
    const loader = planFirstLoader({ client, mac, node: { ...(netboot && { netboot }) }, server, built })
    if (typeof expected === 'string') expect(loader).toMatchObject({ kind: 'file', file: expected })
    else expect(loader).toEqual({ kind: 'none', why: expect.stringMatching(expected) })
  })

test('URLs carry another port than 80', () => {
  const client = { kind: 'firmware', protocol: 'http', machine: uefi } as const
  const loader = planFirstLoader({ client, mac, node: {}, server: { ...server, httpPort: 8080 }, built })
  expect(loader).toEqual({ kind: 'file', file: `http://10.77.0.1:8080/${efi}`, vendorClass: 'HTTPClient' })
})

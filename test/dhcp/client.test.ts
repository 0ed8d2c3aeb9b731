import { expect, test } from 'vitest'
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

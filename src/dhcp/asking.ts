// The DISCOVER that a machine of some kind sends: for asking what it would get before it was ever seen. The options are
// those of captured packets (test/fixtures/dhcp).
import { type Mac, macBytes } from '../address.ts'
import type { Client } from './client.ts'
import { encodeOptions } from './options.ts'
import { NO_ADDRESS, serializePacket } from './packet.ts'
import { messageTypes } from './request.ts'

type Kind = { kind: Client['kind']; arch?: number; http?: boolean }

// By the names that `explain --arch` takes; `arch` is option 93.
export const askers = {
  bios: { kind: 'firmware', arch: 0x00 },
  'uefi-x64': { kind: 'firmware', arch: 0x07 },
  'uefi-x64-http': { kind: 'firmware', arch: 0x10, http: true },
  'uefi-arm64': { kind: 'firmware', arch: 0x0b },
  'uefi-arm64-http': { kind: 'firmware', arch: 0x13, http: true },
  'uefi-ia32': { kind: 'firmware', arch: 0x06 },
  openfirmware: { kind: 'firmware', arch: 0x0c },
  petitboot: { kind: 'firmware', arch: 0x0e },
  'ipxe-bios': { kind: 'ipxe', arch: 0x00 },
  'ipxe-uefi-x64': { kind: 'ipxe', arch: 0x07 },
  'ipxe-uefi-arm64': { kind: 'ipxe', arch: 0x0b },
  system: { kind: 'os' },
} as const satisfies Record<string, Kind>
export type Asker = keyof typeof askers
export const askerNames = Object.keys(askers) as Asker[]

export function discoverAs(asker: Asker, mac: Mac): Buffer {
  const { kind, arch, http }: Kind = askers[asker]
  const chaddr = Buffer.alloc(16)
  chaddr.set(macBytes(mac))
  const code = String(arch ?? 0).padStart(5, '0')
  return serializePacket({
    op: 'request',
    ...{ htype: 1, hlen: 6, hops: 0, xid: 1, secs: 0, flags: 0x8000 },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr: NO_ADDRESS },
    ...{ chaddr, sname: '', file: '' },
    options: encodeOptions({
      messageType: messageTypes.discover,
      maxBytes: 1472,
      parameterList: [1, 3, 6, 12, 15, 43, 54, 60, 66, 67, 97, 128, 209, 210],
      ...(arch !== undefined && {
        vendorClass: `${http ? 'HTTP' : 'PXE'}Client:Arch:${code}:UNDI:003001`,
        clientArchs: [arch],
      }),
      ...(kind === 'os' && { clientId: Buffer.from([1, ...macBytes(mac)]) }),
      ...(kind === 'ipxe' && { userClasses: ['iPXE'] }),
    }),
  })
}

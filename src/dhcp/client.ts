// Who asks. Firmware, iPXE and an operating system of one machine share its MAC and differ only in their options.
import type { Options } from './options.ts'

export type Cpu =
  | 'x86_64'
  | 'aarch64'
  | 'ppc64le'
  | 'i386'
  | 'arm'
  | 'riscv32'
  | 'riscv64'
  | 's390x'
  | 'loongarch64'
export type Firmware = 'bios' | 'uefi' | 'openfirmware' | 'opal' | 'raspberry'
export type Client = {
  /** `firmware`: a PXE or HTTP client in ROM, or SLOF; `ipxe`: iPXE, be it the ROM; `os`: all others. */
  kind: 'firmware' | 'ipxe' | 'os'
  /** How its first file is fetched. */
  protocol: 'tftp' | 'http'
  machine?: { cpu: Cpu; firmware: Firmware }
  /** What option 93 said first, known or not. */
  archCode?: number
}

// Option 93 (IANA "Processor Architecture Types"). RFC 4578 and IANA swap 7 and 9: both are x64.
const machines = new Map<number, { cpu: Cpu; firmware: Firmware }>([
  [0x00, { cpu: 'x86_64', firmware: 'bios' }],
  [0x06, { cpu: 'i386', firmware: 'uefi' }],
  [0x07, { cpu: 'x86_64', firmware: 'uefi' }],
  [0x09, { cpu: 'x86_64', firmware: 'uefi' }],
  [0x0a, { cpu: 'arm', firmware: 'uefi' }],
  [0x0b, { cpu: 'aarch64', firmware: 'uefi' }],
  [0x0c, { cpu: 'ppc64le', firmware: 'openfirmware' }],
  [0x0d, { cpu: 'ppc64le', firmware: 'opal' }], // ePAPR; who sends it is petitboot, on arm64
  [0x0e, { cpu: 'ppc64le', firmware: 'opal' }],
  [0x0f, { cpu: 'i386', firmware: 'uefi' }], // from here to 0x13 by HTTP
  [0x10, { cpu: 'x86_64', firmware: 'uefi' }],
  [0x11, { cpu: 'x86_64', firmware: 'uefi' }], // EBC
  [0x12, { cpu: 'arm', firmware: 'uefi' }],
  [0x13, { cpu: 'aarch64', firmware: 'uefi' }],
  [0x19, { cpu: 'riscv32', firmware: 'uefi' }],
  [0x1b, { cpu: 'riscv64', firmware: 'uefi' }],
  [0x1f, { cpu: 's390x', firmware: 'bios' }],
  [0x27, { cpu: 'loongarch64', firmware: 'uefi' }],
  [0x29, { cpu: 'aarch64', firmware: 'raspberry' }],
])

/** Ancestors and forks of iPXE name themselves; all read the same scripts and would loop on being given iPXE again. */
const ipxeClasses = ['iPXE', 'gPXE', 'xNBA']

/** Who asks, by options 60, 77, 93 and 175. */
export function clientOf(options: Options): Client {
  const codes = options.clientArchs ?? []
  const code = codes.find((c) => machines.has(c)) ?? codes[0]
  const machine = code === undefined ? undefined : machines.get(code)
  return {
    kind: kindOf(options),
    protocol: options.vendorClass?.startsWith('HTTPClient') ? 'http' : 'tftp',
    ...(machine && { machine }),
    ...(code !== undefined && { archCode: code }),
  }
}

/** `uefi x86_64`, for events and messages. */
export function machineName({ machine, archCode }: Client): string | undefined {
  if (machine) return `${machine.firmware} ${machine.cpu}`
  return archCode === undefined ? undefined : `architecture ${archCode}`
}

function kindOf(options: Options): Client['kind'] {
  // Option 175 stays when a script sets another user class.
  if (options.ipxe || options.userClasses?.some((name) => ipxeClasses.includes(name))) return 'ipxe'
  if (/^(PXE|HTTP)Client/.test(options.vendorClass ?? '')) return 'firmware'
  return isOpenFirmware(options) ? 'firmware' : 'os'
}

/**
 * petitboot's option 60 is that of its udhcpc. SLOF has none, and its DISCOVER has no 61 and no 93 either, but asks for
 * server and file.
 */
function isOpenFirmware({ clientArchs, vendorClass, clientId, parameterList = [] }: Options): boolean {
  if (clientArchs) return true
  return vendorClass === undefined && !clientId && parameterList.includes(66) && parameterList.includes(67)
}

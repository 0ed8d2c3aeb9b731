// What a client loads first. Tables: the loaders that exist, then which machine gets which of them for each `netboot`.
import { type Ipv4, ipv4ToHex, type Mac, macWithDashes } from '../address.ts'
import { type Client, machineName } from '../dhcp/client.ts'
import type { Arch } from '../image/version.ts'
import type { Netboot } from '../node/node.ts'
import { signedName } from './blob-names.ts'
import type { BootNode, ServerAddress } from './plan.ts'
import { planBoot, serverUrl } from './policy.ts'

/** `file` in the output of bootfiles/loaders/build.sh; `fetched`: made of packages that are fetched for it. */
type LoaderFile = { file: string; from: 'here' | 'fetched' }
const here = (file: string): LoaderFile => ({ file, from: 'here' })
const fetched = (file: string): LoaderFile => ({ file, from: 'fetched' })

/**
 * Every loader that is built, by the name that firmware asks for. Shim finds the others in its own folder, pxelinux its
 * ldlinux.c32 likewise. iPXE's and pxelinux' own names are short: some ROMs keep 32 bytes of them.
 */
export const loaderFiles: Record<Arch, Record<string, LoaderFile>> = {
  x86_64: {
    'boot/grub/i386-pc/core.0': here('i386-pc/core.0'),
    'boot/grub/x86_64-efi/core.efi': here('x86_64-efi/core.efi'),
    'boot/shim/x86_64/shimx64.efi': fetched('shim/shimx64.efi'),
    'boot/shim/x86_64/grubx64.efi': fetched('shim/grubx64.efi'),
    'boot/shim/x86_64/mmx64.efi': fetched('shim/mmx64.efi'),
    'boot/ipxe/undionly.kpxe': fetched('ipxe/undionly.kpxe'),
    'boot/ipxe/snponly.efi': fetched('ipxe/snponly.efi'),
    'boot/ipxe/ipxe.efi': fetched('ipxe/ipxe.efi'),
    'pxelinux.0': fetched('pxelinux/pxelinux.0'),
    'ldlinux.c32': fetched('pxelinux/ldlinux.c32'),
  },
  aarch64: {
    'boot/grub/arm64-efi/core.efi': fetched('arm64-efi/core.efi'),
    'boot/shim/aarch64/shimaa64.efi': fetched('shim/shimaa64.efi'),
    'boot/shim/aarch64/grubaa64.efi': fetched('shim/grubaa64.efi'),
    'boot/shim/aarch64/mmaa64.efi': fetched('shim/mmaa64.efi'),
    'boot/ipxe/ipxe-arm64.efi': fetched('ipxe/ipxe-arm64.efi'),
  },
  ppc64le: { 'boot/grub/powerpc-ieee1275/core.elf': fetched('powerpc-ieee1275/core.elf') },
}

/** Loaders that an operator has and Debian has not, or has otherwise: key of `loaders:` -> the name it is published by. */
export const ownLoaders = {
  elilo: 'elilo.efi',
  pxelinux: 'pxelinux.0',
  undionly: 'boot/ipxe/undionly.kpxe',
  snponly: 'boot/ipxe/snponly.efi',
} as const satisfies Record<string, string>

type Machine = 'bios x86_64' | 'uefi x86_64' | 'uefi aarch64' | 'openfirmware ppc64le' | 'opal ppc64le' // petitboot, be it on arm64: it loads a configuration, never a loader

/** The GRUB cores. */
export const grubCores: Partial<Record<Machine, string>> = {
  'bios x86_64': 'boot/grub/i386-pc/core.0',
  'uefi x86_64': 'boot/grub/x86_64-efi/core.efi',
  'uefi aarch64': 'boot/grub/arm64-efi/core.efi',
  'openfirmware ppc64le': 'boot/grub/powerpc-ieee1275/core.elf',
}
/** What firmware with Secure Boot takes. BIOS has no such thing. */
const shims: Partial<Record<Machine, string>> = {
  'bios x86_64': 'boot/grub/i386-pc/core.0',
  'uefi x86_64': 'boot/shim/x86_64/shimx64.efi',
  'uefi aarch64': 'boot/shim/aarch64/shimaa64.efi',
}
/** The firmware's own network driver is used where there is a choice: it worked until now. */
const ipxes: Partial<Record<Machine, string>> = {
  'bios x86_64': 'boot/ipxe/undionly.kpxe',
  'uefi x86_64': 'boot/ipxe/snponly.efi',
  'uefi aarch64': 'boot/ipxe/ipxe-arm64.efi',
}

// netboot -> machine -> what its firmware loads. No row: that machine cannot be netbooted so.
const rows: Record<Netboot, Partial<Record<Machine, string>>> = {
  grub2: grubCores,
  'grub2-http': grubCores,
  'grub2-tftp': grubCores,
  shim: shims,
  ipxe: ipxes,
  xnba: ipxes, // xCAT's name for its iPXE
  elilo: { 'uefi x86_64': ownLoaders.elilo },
  // SLOF has pxelinux' search for a configuration built in: a name that ends in a slash is where it starts.
  pxe: { 'bios x86_64': ownLoaders.pxelinux, 'openfirmware ppc64le': 'boot/slof/' },
  petitboot: {},
}

export type FirstLoader =
  | {
      kind: 'file'
      /** A name for TFTP or a URL; absent where the configuration alone is loaded (petitboot). */
      file?: string
      /** UEFI HTTP Boot takes only a reply that says HTTPClient. */
      vendorClass?: 'HTTPClient'
      /** Option 209, for petitboot alone: the URL of its configuration, taken as it is. */
      configFile?: string
      /** Option 210, beside 209: what petitboot puts before any name that is no URL. It ends in a slash. */
      pathPrefix?: string
    }
  /** The firmware is not answered at all: without an offer it goes on to the next device of its boot order. */
  | { kind: 'silent'; why: string }
  /** An address and nothing to boot. */
  | { kind: 'none'; why: string }

/** `built`: the published names of the loaders that this server has. */
type Asking = {
  client: Client
  mac: Mac
  node: BootNode
  server: ServerAddress
  built: ReadonlySet<string>
  /** Another DHCP server gives the machine its address. */
  proxy?: boolean
}

const none = (why: string): FirstLoader => ({ kind: 'none', why })
const silent = (why: string): FirstLoader => ({ kind: 'silent', why })
const ownDisk = 'it boots from its own disk'

/** What DHCP names to a client of a known node. */
export function planFirstLoader(asking: Asking): FirstLoader {
  const { client, mac, node, server } = asking
  if (client.kind === 'os') return none('the client asks for no boot file')
  const machine = machineOf(client, node)
  const plan = planBoot(node, server)
  if (!plan) return silent('offline')
  // A client that is iPXE (QEMU's ROM is, in its very first DISCOVER) is never given iPXE again: it would go in a circle.
  if (client.kind === 'ipxe' && readsScript(node.netboot))
    return { kind: 'file', file: `${serverUrl(server)}/boot/ipxe/${macWithDashes(mac)}` }
  if (machine === undefined)
    return none(`no loader for ${machineName(client) ?? 'a machine that does not say what it is'}`)
  if (plan.kind === 'local') return toOwnDisk(machine, asking)
  if (machine === 'opal ppc64le') return petitbootFiles(mac, server)
  return plan.kind === 'hold' && kernelsOnly(machine, asking.node)
    ? loaderFile(machine, byDefault(asking))
    : loaderFile(machine, asking)
}

/** Names that it joins to the prefix are those of pxelinux, which are served as well. */
function petitbootFiles(mac: Mac, server: ServerAddress): FirstLoader {
  const pathPrefix = `${serverUrl(server)}/`
  return { kind: 'file', configFile: `${pathPrefix}boot/petitboot/${macWithDashes(mac)}`, pathPrefix }
}

/** Nobody knows whether its firmware has Secure Boot: what is signed starts with and without it. */
export function netbootOfStranger(
  { protocol, machine }: Client,
  built: ReadonlySet<string>,
): { netboot?: Netboot } {
  const shim = machine?.firmware === 'uefi' ? shims[`uefi ${machine.cpu}` as Machine] : undefined
  return shim !== undefined && built.has(shim) && protocol === 'tftp' ? { netboot: 'shim' } : {}
}

/** What iPXE does by its own script; for the rest it loads what firmware would. */
const readsScript = (netboot: Netboot | undefined) =>
  netboot === undefined || ['ipxe', 'xnba', 'elilo'].includes(netboot)

/**
 * Firmware that can not be told by a loader to start its disk gets no answer and goes on by itself. An empty file name is
 * never given: EDK2 tries four times for half a minute and then stops.
 */
function toOwnDisk(machine: Machine, asking: Asking): FirstLoader {
  if (machine === 'opal ppc64le') return none('petitboot starts the disk by itself')
  if (machine === 'openfirmware ppc64le')
    return asking.client.machine || asking.node.arch ? silent(ownDisk) : none(ownDisk)
  const byGrub = loaderFile(machine, byDefault(asking))
  // So it does for a netboot that this machine has no loader for.
  const loader = kernelsOnly(machine, asking.node) ? byGrub : loaderFile(machine, asking)
  if (loader.kind === 'file') return loader
  return byGrub.kind === 'file' ? byGrub : silent(ownDisk)
}

/** Elilo and SLOF have no word for another disk's loader and none for a screen; GRUB has. */
const kernelsOnly = (machine: Machine, { netboot }: BootNode) =>
  netboot === 'elilo' || (netboot === 'pxe' && machine === 'openfirmware ppc64le')

function byDefault(asking: Asking): Asking {
  const { netboot: _, ...node } = asking.node
  return { ...asking, node }
}

function loaderFile(machine: Machine, asking: Asking): FirstLoader {
  const { client, node, server, built } = asking
  const netboot = node.netboot ?? usualNetboot(machine, asking)
  const own = netboot === 'shim' ? signedOf(machine, asking) : undefined
  const file = own ?? rows[netboot][machine]
  if (file === undefined) return none(`netboot=${netboot} is not for ${machine}`)
  if (!own && !file.endsWith('/') && !built.has(file)) return none(`${file} is not built: ${cureOf(file)}`)
  if (client.protocol === 'tftp') return { kind: 'file', file }
  // The signed GRUB has no HTTP, and elilo reads its configuration by PXE alone.
  if (netboot === 'shim' || netboot === 'elilo')
    return none(`netboot=${netboot} is for PXE, not for HTTP boot`)
  return { kind: 'file', file: `${serverUrl(server)}/${file}`, vendorClass: 'HTTPClient' }
}

/** To install an image under Secure Boot: the shim of its own distribution, which then takes its GRUB and its kernel. */
function signedOf(machine: Machine, { node, server }: Asking): string | undefined {
  const { signed, image = '' } = node.deployment ?? {}
  const isFor = signed && machine === `uefi ${signed.arch}` && planBoot(node, server)?.kind === 'install'
  return isFor ? signedName(image, 'shim', signed.arch) : undefined
}

/**
 * GRUB that came by PXE takes its server from the answer of the DHCP server alone, whatever a proxy said (seen with 2.06 on
 * UEFI and in its code for BIOS); iPXE puts both answers together.
 */
function usualNetboot(machine: Machine, { client, built, proxy }: Asking): Netboot {
  const ipxe = ipxes[machine]
  return proxy && client.protocol === 'tftp' && ipxe !== undefined && built.has(ipxe) ? 'ipxe' : 'grub2'
}

function cureOf(file: string): string {
  const arch = Object.keys(loaderFiles).find((name) => file in loaderFiles[name as Arch])
  return arch ? `sysclone bootfiles build ${arch}` : 'name it under loaders: in the configuration'
}

/** SLOF's DISCOVER says nothing of the machine; of others without option 93 the definition must know. */
function machineOf(client: Client, { arch = 'ppc64le' }: BootNode): Machine | undefined {
  const { machine, archCode } = client
  if (machine) return asMachine(`${machine.firmware} ${machine.cpu}`)
  if (archCode !== undefined) return undefined
  return arch === 'ppc64le' ? 'openfirmware ppc64le' : arch === 'x86_64' ? 'bios x86_64' : 'uefi aarch64'
}

const machines = new Set<string>([...Object.keys(grubCores), 'opal ppc64le'])
const asMachine = (name: string) => (machines.has(name) ? (name as Machine) : undefined)

/** The configuration that a loader asks for once it runs; undefined: it is none of the loaders. */
export function configAfter(file: string, { mac, address }: { mac: Mac; address: Ipv4 }): string | undefined {
  const dashes = macWithDashes(mac)
  const configs: [RegExp, string][] = [
    [/^boot\/grub\/.*\/core\./, `boot/grub/grub.cfg-01-${dashes}`],
    [/^boot\/(shim|signed)\//, `grub/grub.cfg-01-${dashes}`],
    [/^boot\/ipxe\/.*(kpxe|efi)$/, `boot/ipxe/${dashes}`],
    [/^pxelinux\.0$/, `pxelinux.cfg/01-${dashes}`],
    [/^elilo\.efi$/, `${ipv4ToHex(address)}.conf`],
    [/^boot\/slof$/, `boot/slof/pxelinux.cfg/01-${dashes}`],
  ]
  return configs.find(([form]) => form.test(file))?.[1]
}

// What a client loads first. One row per machine that we have a loader for; what has no row is not offered.
import { type Mac, macWithDashes } from '../address.ts'
import { type Client, machineName } from '../dhcp/client.ts'
import type { BootNode, ServerAddress } from './plan.ts'

/** The GRUB cores, by firmware and processor, under the names they are published. */
export const grubCores = {
  'bios x86_64': 'boot/grub/i386-pc/core.0',
  'uefi x86_64': 'boot/grub/x86_64-efi/core.efi',
} as const satisfies Record<string, string>

export type FirstLoader =
  | {
      kind: 'file'
      /** A name for TFTP or a URL; absent where the configuration alone is loaded (petitboot). */
      file?: string
      /** UEFI HTTP Boot takes only a reply that says HTTPClient. */
      vendorClass?: 'HTTPClient'
      /** Option 209: what pxelinux and petitboot load as their configuration. */
      configFile?: string
      /** Option 210: what they put before every other name. */
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
  node: Pick<BootNode, 'netboot'>
  server: ServerAddress
  built: ReadonlySet<string>
}

/**
 * iPXE gets its script and everything else the GRUB core of its machine. Nobody is ever given iPXE, so a client that
 * is iPXE (QEMU's ROM is, in its very first DISCOVER) cannot be sent round in a circle.
 */
export function planFirstLoader({ client, mac, node, server, built }: Asking): FirstLoader {
  const { netboot } = node
  if (client.kind === 'os') return { kind: 'none', why: 'the client asks for no boot file' }
  if (client.kind === 'ipxe' && netboot !== 'grub2')
    return { kind: 'file', file: `${httpBase(server)}/boot/ipxe/${macWithDashes(mac)}` }
  if (client.kind === 'firmware' && netboot === 'ipxe')
    return { kind: 'none', why: 'netboot=ipxe, but the firmware is not iPXE and none is shipped' }
  const machine = machineName(client)
  const core = machine && grubCores[machine as keyof typeof grubCores]
  if (!core || !built.has(core))
    return { kind: 'none', why: `no loader for ${machine ?? 'a machine that does not say what it is'}` }
  if (client.protocol === 'http')
    return { kind: 'file', file: `${httpBase(server)}/${core}`, vendorClass: 'HTTPClient' }
  return { kind: 'file', file: core }
}

/** `http://10.0.0.1`, with the port when it is not 80. */
function httpBase({ address, httpPort }: ServerAddress): string {
  return `http://${address}${httpPort === 80 ? '' : `:${httpPort}`}`
}

// What a client is given to load, as fields of a reply. The same for our own offers, for a proxy's and on port 4011.
import { netbootOfStranger, planFirstLoader } from '../boot/loaders.ts'
import type { BootNode, ServerAddress } from '../boot/plan.ts'
import { strangerNode } from '../boot/strangers.ts'
import type { Network } from '../node/network.ts'
import type { Client } from './client.ts'
import type { Options } from './options.ts'
import { FILE_FIELD_BYTES, type Packet } from './packet.ts'
import { type Ignore, ignore, type Request } from './request.ts'

/** `why` is there when a client that boots gets nothing to boot, `warning` when what it gets may not work. */
export type FileAnswer = { name?: string; why?: string; warning?: string }
/** `header` and `options` name the file to the client, `file` to people. */
export type BootOffer = { kind: 'offer'; file: FileAnswer; header: Partial<Packet>; options: Options }

type Context = {
  node: BootNode | undefined
  server: ServerAddress
  network: Network
  built: ReadonlySet<string>
}

/**
 * Running systems are offered no file, nor unknown machines unless they are to wait at a screen; firmware that could do
 * nothing without a file is not answered.
 */
export function bootOffer(
  request: Request,
  { node: known, server, network, built }: Context,
): BootOffer | Ignore {
  const { client, mac } = request
  if (client.kind === 'os') return { kind: 'offer', file: {}, header: {}, options: {} }
  const node = known ?? strangerFor(request, { network, built })
  if (!node) return withoutFile(client, request.options)
  const proxy = network.mode === 'proxy'
  const loader = planFirstLoader({ client, mac, node, server, built, proxy })
  if (loader.kind === 'silent') return ignore(loader.why)
  if (loader.kind === 'none') return withoutFile(client, request.options, loader.why)
  const { file, vendorClass, configFile, pathPrefix } = loader
  const inHeader = file !== undefined && file.length <= FILE_FIELD_BYTES ? file : ''
  const name = file ?? configFile
  return {
    kind: 'offer',
    file: name === undefined ? {} : { name },
    // elilo and shim take their directory from the header, others read the options only: both are filled.
    header: { siaddr: network.address, sname: network.address, file: inHeader },
    options: {
      tftpServer: network.address,
      ...(file !== undefined && { bootFile: file }),
      ...(vendorClass && { vendorClass }),
      ...(configFile !== undefined && { configFile }),
      ...(pathPrefix !== undefined && { pathPrefix }),
    },
  }
}

/** Beside another DHCP server shim would look for its second stage there. */
function strangerFor({ client, mac }: Request, { network, built }: Pick<Context, 'network' | 'built'>) {
  if (network.discovery !== 'hold') return undefined
  return { ...strangerNode(mac), ...(network.mode !== 'proxy' && netbootOfStranger(client, built)) }
}

/**
 * EDK2's PXE client drops an offer without a file and asks on for a minute; silence costs it no more time, and the
 * pool no address.
 */
function withoutFile(client: Client, options: Options, why?: string): BootOffer | Ignore {
  const uefiPxe = client.machine?.firmware === 'uefi' && options.vendorClass?.startsWith('PXEClient')
  if (uefiPxe && client.kind === 'firmware') return ignore(`no boot file: ${why ?? 'unknown machine'}`)
  return { kind: 'offer', file: why === undefined ? {} : { why }, header: {}, options: {} }
}

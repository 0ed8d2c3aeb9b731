// Boot information for machines whose address another DHCP server gives (PXE 2.1, RFC 4578): offers without an address
// on port 67, and the answers of a boot server on port 4011.
import type { Ipv4 } from '../address.ts'
import { bootOffer } from './boot-offer.ts'
import type { Options } from './options.ts'
import { NO_ADDRESS } from './packet.ts'
import { type Answer, type Context, replyTo, serverIdOf } from './reply.ts'
import { ignore, messageTypes, type Request } from './request.ts'

/** PXE_DISCOVERY_CONTROL = 8: no menu, no discovery, the file named here is it. The second tag is the end. */
const USE_THIS_FILE = Buffer.from('060108ff', 'hex')
const BIOS = 0x00

/** What a proxy answers on port 67: firmware's DISCOVER, and nothing else. */
export function proxyAnswer(request: Request, context: Context): Answer {
  if (request.type !== 'discover') return ignore('mode: proxy, the other DHCP server answers this')
  return bootAnswer('offer', request, context, NO_ADDRESS)
}

/** What is answered on port 4011, in both modes: a client that has its address asks for its file. */
export function bootServerAnswer(request: Request, context: Context): Answer {
  if (request.type !== 'request' && request.type !== 'inform') return ignore('not for a boot server')
  return bootAnswer('ack', request, context, request.packet.ciaddr)
}

function bootAnswer(kind: 'offer' | 'ack', request: Request, context: Context, ciaddr: Ipv4): Answer {
  const { node, network } = context
  if (!node && network.discovery !== 'hold') return ignore('unknown machine')
  if (node?.offline) return ignore('offline')
  const vendorClass = proxyClass(request.options)
  if (!vendorClass) return ignore('neither a PXE nor an HTTP client: a proxy has nothing for it')
  const boot = bootOffer(request, context)
  if (boot.kind === 'ignore') return boot
  if (boot.file.name === undefined) return ignore(`no boot file: ${boot.file.why}`)
  const options: Options = {
    messageType: messageTypes[kind],
    serverId: serverIdOf(request, context.network),
    ...boot.options,
    vendorClass,
    // Old builds of EDK2 lose the first proxy offer that has option 43; BIOS ROMs need it to take the file at once.
    ...(request.client.archCode === BIOS && { vendorOptions: USE_THIS_FILE }),
  }
  const reply = replyTo(request, options, { ciaddr, ...boot.header })
  return { kind, reply, address: ciaddr, file: { ...boot.file, ...shimWarning(boot.file.name, context) } }
}

/** Shim asks the server of the DHCP server's answer for GRUB, and not the one that it came from itself. */
function shimWarning(file: string, { network }: Context) {
  if (!/^boot\/(shim|signed)\//.test(file)) return {}
  const need = `shim loads GRUB from the next-server of the other DHCP server: that must be ${network.address}`
  return { warning: `Secure Boot beside another DHCP server: ${need}` }
}

/** Exactly this comes back in option 60; the client's own has its architecture behind it. */
function proxyClass({ vendorClass }: Options): 'PXEClient' | 'HTTPClient' | undefined {
  return (['PXEClient', 'HTTPClient'] as const).find((name) => vendorClass?.startsWith(name))
}

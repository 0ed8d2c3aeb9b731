// Code is fast only after it has run some thousand times, and a rack that starts asks ten thousand times within a second: it
// would meet slow code (10,000 machines had their addresses after 3.4-5.2 s, and after 1.5 s when there had been requests
// before). So all that lies between the bytes of a request and those of its answer is gone through with made-up machines.
import { type Ipv4, ipv4FromNumber, type Mac, macFromBytes, type NodeName, parseSubnet } from '../address.ts'
import type { BootNode, ServerAddress } from '../boot/plan.ts'
import type { Network } from '../node/network.ts'
import { decide } from './decide.ts'
import { destinationOf, usualPorts } from './delivery.ts'
import { clientKey, makeFloods } from './floods.ts'
import { makeLeaseTable } from './leases.ts'
import { makeLine } from './line.ts'
import { encodeOptions, type Options } from './options.ts'
import { NO_ADDRESS, type Packet, parsePacket, serializePacket } from './packet.ts'
import { messageTypes, readRequest, roomFor } from './request.ts'
import { networkOf } from './subnet.ts'

/** Machines that take turns: each kind has options of its own. */
const kinds: Options[] = [
  {
    vendorClass: 'PXEClient:Arch:00000:UNDI:002001',
    clientArchs: [0],
    uuid: Buffer.alloc(17),
    maxBytes: 1260,
  },
  {
    vendorClass: 'PXEClient:Arch:00007:UNDI:003000',
    clientArchs: [7],
    uuid: Buffer.alloc(17),
    maxBytes: 1472,
  },
  { userClasses: ['iPXE'], clientArchs: [7], ipxe: Buffer.of(19, 1, 1), clientId: Buffer.alloc(7, 1) },
  { hostName: 'machine', clientId: Buffer.alloc(7, 1), maxBytes: 1500 },
]
const asks = [1, 3, 6, 12, 15, 42, 43, 54, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135]

const subnet = parseSubnet('10.0.0.0/8')
const network: Network = {
  interface: 'none',
  subnet,
  address: '10.0.0.1' as Ipv4,
  pool: { from: '10.1.0.0' as Ipv4, to: '10.2.0.0' as Ipv4 },
  gateway: '10.0.0.254' as Ipv4,
  dns: ['10.0.0.1' as Ipv4],
  domain: 'cluster',
}
const server: ServerAddress = { address: network.address, httpPort: 80, imagePort: 8081 }

/** So many exchanges from DISCOVER to ACK; stops after each few of them. The answer is how many replies there were. */
export function* rehearse(exchanges: number): Generator<void, number> {
  const leases = makeLeaseTable()
  const floods = makeFloods()
  const line = makeLine({ mostBytes: 1 << 20 })
  const built = new Set(['boot/grub/i386-pc/core.0', 'boot/grub/x86_64-efi/core.efi'])
  let replies = 0

  function answerTo(bytes: Buffer, now: number, node: BootNode | undefined): Ipv4 | undefined {
    line.add({ bytes, socket: 0, isNode: node !== undefined })
    const next = line.take()!.bytes
    if (!floods.allow(clientKey(next)!, now)) return undefined
    const request = readRequest(parsePacket(next))
    if (request.kind === 'ignore') return undefined
    const ours = networkOf(request, { network, unicast: false }, [network])
    if ('kind' in ours) return undefined
    const context = { network: ours, server, built, node, leases, reserved: () => false, now }
    const decided = decide('server', request, context)
    if (!('reply' in decided)) return undefined
    if ('lease' in decided && decided.lease) leases.apply(decided.lease)
    destinationOf(decided.reply, { refusal: false, ports: usualPorts })
    serializePacket(decided.reply, roomFor(request))
    replies += 1
    return decided.reply.yiaddr
  }

  for (let n = 0; n < exchanges; n++) {
    const options = kinds[n % kinds.length]!
    const chaddr = Uint8Array.of(2, 0, n >> 24, n >> 16, n >> 8, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    const node = n % 3 ? nodeOf(n, macFromBytes(chaddr)) : undefined
    const ask = (more: Options) => asked(n, chaddr, { ...options, parameterList: asks, ...more })
    const offered = answerTo(ask({ messageType: messageTypes.discover }), n, node)
    const chosen = { requestedAddress: offered ?? NO_ADDRESS, serverId: network.address }
    if (offered !== undefined) answerTo(ask({ messageType: messageTypes.request, ...chosen }), n, node)
    if (n % 100 === 99) yield
  }
  return replies
}

const nodeOf = (n: number, mac: Mac): BootNode => ({
  name: `n${n}` as NodeName,
  mac: [mac],
  ip: ipv4FromNumber(0x0a400000 + n),
  kernelArgs: [],
})

function asked(xid: number, chaddr: Uint8Array, options: Options): Buffer {
  const packet: Packet = {
    ...{ op: 'request', htype: 1, hlen: 6, hops: 0, xid, secs: 0, flags: 0x8000 },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr: NO_ADDRESS },
    ...{ chaddr, sname: '', file: '', options: encodeOptions(options) },
  }
  return serializePacket(packet)
}

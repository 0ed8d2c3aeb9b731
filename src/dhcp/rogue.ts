// Other DHCP servers on our networks: the DISCOVER that we send to find them, what their offers tell, and what we say
// to a twin, another sysclone that looks.
import type { Ipv4, Mac } from '../address.ts'
import type { Network } from '../node/network.ts'
import { decodeOptions, encodeOptions } from './options.ts'
import { NO_ADDRESS, type Packet } from './packet.ts'
import { type Answer, replyTo } from './reply.ts'
import { messageTypes, type Request } from './request.ts'

/** A sysclone answers this user class without spending an address: to others it is one machine more that netboots. */
const LOOKING = 'sysclone-looks'
const IS_SYSCLONE = 'sysclone'
const BROADCAST_FLAG = 0x8000

/** Asks as firmware does, so that boot servers that give no addresses answer too. */
export function lookingDiscover({ mac, xid }: { mac: Mac; xid: number }): Packet {
  const address = Buffer.from(mac.replaceAll(':', ''), 'hex')
  return {
    op: 'request',
    ...{ htype: 1, hlen: 6, hops: 0, xid, secs: 0, flags: BROADCAST_FLAG },
    ...{ ciaddr: NO_ADDRESS, yiaddr: NO_ADDRESS, siaddr: NO_ADDRESS, giaddr: NO_ADDRESS },
    ...{ chaddr: Buffer.concat([address, Buffer.alloc(10)]), sname: '', file: '' },
    options: encodeOptions({
      messageType: messageTypes.discover,
      vendorClass: 'PXEClient:Arch:00007:UNDI:003000',
      userClasses: [LOOKING],
      parameterList: [1, 3, 43, 54, 60, 66, 67],
      clientArchs: [7],
      undi: Buffer.from('010300', 'hex'), // RFC 4578 2.2: type 1, version 3.0
      uuid: Buffer.concat([Buffer.alloc(11), address]),
    }),
  }
}

/** `dhcp` gives addresses, `proxy` only boot files, `sysclone` is a twin. */
export type OtherServer = { server: Ipv4; kind: 'dhcp' | 'proxy' | 'sysclone' }

/** Who sent this offer; `undefined`: it answers none of our questions. We do not answer them ourselves. */
export function otherServer(packet: Packet, xid: number): OtherServer | undefined {
  if (packet.op !== 'reply' || packet.xid !== xid) return undefined
  const { messageType, serverId, vendorClass } = decodeOptions(packet.options)
  if (messageType !== messageTypes.offer) return undefined
  const server = serverId ?? packet.siaddr
  if (vendorClass === IS_SYSCLONE) return { server, kind: 'sysclone' }
  return { server, kind: packet.yiaddr === NO_ADDRESS ? 'proxy' : 'dhcp' }
}

export const isLooking = ({ type, options }: Request): boolean =>
  type === 'discover' && options.userClasses?.includes(LOOKING) === true

/** Says who we are and gives nothing. */
export function twinAnswer(request: Request, { address }: Network): Answer {
  const options = { messageType: messageTypes.offer, serverId: address, vendorClass: IS_SYSCLONE }
  return { kind: 'offer', reply: replyTo(request, options, {}), address: NO_ADDRESS, file: {} }
}

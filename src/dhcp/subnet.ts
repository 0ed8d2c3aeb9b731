// Which network a request is from. Only what it says of itself and where it was heard; the first rule that applies counts.
import { type Ipv4, subnetContains } from '../address.ts'
import type { Network } from '../node/network.ts'
import { NO_ADDRESS } from './packet.ts'
import { relayInfoOf } from './relay.ts'
import { type Ignore, ignore, type Request } from './request.ts'

/** How a packet came in. */
export type Arrival = {
  /** Of the interface, or of the address of ours that it was sent to; a relayed subnet is never here. */
  network: Network | undefined
  /** It was sent to one of our addresses, not to all. */
  unicast: boolean
}

/** Senders can be made up: whoever is answered where a request came from must be in one of our networks. */
export const isOfNetworks = (address: Ipv4, networks: readonly Network[]): boolean =>
  networks.some(({ subnet }) => subnetContains(subnet, address))

/** The network, or why the request is of none of ours. */
export function networkOf(
  request: Request,
  arrival: Arrival,
  networks: readonly Network[],
): Network | Ignore {
  const { giaddr, ciaddr } = request.packet
  const containing = (address: Ipv4) => networks.find(({ subnet }) => subnetContains(subnet, address))
  if (giaddr !== NO_ADDRESS) {
    const { linkSelection } = relayInfoOf(request.options)
    const network = containing(linkSelection ?? giaddr)
    if (!network) return ignore(`the relay ${giaddr} is in no network of ours`)
    // The reply goes there: a made-up relay must not let us send outside of our networks.
    if (!containing(giaddr) && !network.relays?.includes(giaddr))
      return ignore(`the relay ${giaddr} is in no network of ours and not in relays`)
    return network
  }
  // A client behind a relay renews by itself (RFC 2131 4.3.2): its own address says where it is.
  const behindRelay = arrival.unicast && ciaddr !== NO_ADDRESS ? containing(ciaddr) : undefined
  return behindRelay ?? arrival.network ?? ignore('neither from a network of ours nor through a relay')
}

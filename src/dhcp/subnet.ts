// Which network a request is from. Only what it says of itself and where it was heard; the first rule that applies counts.
import { type Ipv4, subnetContains } from '../address.ts'
import { inRange, type Network } from '../node/network.ts'
import { NO_ADDRESS } from './packet.ts'
import { relayInfoOf } from './relay.ts'
import { type Ignore, ignore, type Request } from './request.ts'

/** How a packet came in. */
export type Arrival = {
  /** Of the interface, or of the address of ours that it was sent to; a relayed subnet is never here. */
  network: Network | undefined
  /** It was sent to one of our addresses, not to all. */
  unicast: boolean
  /** Who sent it; absent where that is not known. */
  from?: Ipv4
}

/** Senders can be made up: whoever is answered where a request came from must be in one of our networks. */
export const isOfNetworks = (address: Ipv4, networks: readonly Network[]): boolean =>
  networks.some(({ subnet }) => subnetContains(subnet, address))

/**
 * A relay sends from giaddr or from its side towards us, which may be any address. A machine on another network must not speak
 * for this one and use up its pool: of a network that we hear ourselves only its own machines relay, and one that got its
 * address from a pool of ours is a client.
 */
function mayRelay(from: Ipv4, giaddr: Ipv4, network: Network, networks: readonly Network[]): boolean {
  if (from === giaddr || network.relays?.includes(from) || subnetContains(network.subnet, from)) return true
  if (network.interface !== undefined || from === NO_ADDRESS) return false
  return !networks.some(({ pool }) => pool && inRange(pool, from))
}

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
    const { from } = arrival
    if (from !== undefined && !mayRelay(from, giaddr, network, networks))
      return ignore(`relayed by ${from}, which is no relay of that network; one that is must be in relays`)
    return network
  }
  // A client behind a relay renews by itself (RFC 2131 4.3.2): its own address says where it is.
  const behindRelay = arrival.unicast && ciaddr !== NO_ADDRESS ? containing(ciaddr) : undefined
  return behindRelay ?? arrival.network ?? ignore('neither from a network of ours nor through a relay')
}

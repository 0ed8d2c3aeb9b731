// A network as the configuration file describes it: the only place where networks come from.
import { type Ipv4, ipv4ToNumber, type Subnet } from '../address.ts'

/** First and last address of a range, both included. */
export type AddressRange = { from: Ipv4; to: Ipv4 }

export const inRange = ({ from, to }: AddressRange, address: Ipv4): boolean =>
  ipv4ToNumber(address) >= ipv4ToNumber(from) && ipv4ToNumber(address) <= ipv4ToNumber(to)

export type Network = {
  /** The device that hears its broadcasts; a subnet that is reached through relays has none. */
  interface?: string
  subnet: Subnet
  /** Our own address: what every reply comes from and names as server. Of a relayed subnet: the one its relays send to. */
  address: Ipv4
  /** Beside another DHCP server, which gives the addresses; absent: we are the DHCP server. */
  mode?: 'proxy'
  /** For machines without an address of their own, known or not; absent: those are not answered. */
  pool?: AddressRange
  /** Machines that nobody defined wait at a screen until they are adopted; absent: they get nothing to boot. */
  discovery?: 'hold'
  gateway?: Ipv4
  dns?: Ipv4[]
  domain?: string
  ntp?: Ipv4[]
  /**
   * Relays whose own address is in none of our subnets (RFC 3527 link selection), and those that relay for a network that we
   * hear ourselves from outside of it.
   */
  relays?: Ipv4[]
}

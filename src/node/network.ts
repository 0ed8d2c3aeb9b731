// A network as the configuration file describes it: the only place where networks come from.
import type { Ipv4, Subnet } from '../address.ts'

/** First and last address of a range, both included. */
export type AddressRange = { from: Ipv4; to: Ipv4 }

export type Network = {
  /** The device that received broadcasts are bound to; absent: allowed only on a host with one interface. */
  interface?: string
  subnet: Subnet
  /** Our own address in it: what every reply comes from and names as server. */
  address: Ipv4
  /** For machines without an address of their own, known or not; absent: those are not answered. */
  pool?: AddressRange
  gateway?: Ipv4
  dns?: Ipv4[]
  domain?: string
  ntp?: Ipv4[]
}

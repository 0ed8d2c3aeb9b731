// Which address a machine is to have, and whether it may have the one it asks for.
import { type Ipv4, ipv4ToNumber, type Mac, subnetContains, subnetSize } from '../address.ts'
import type { BootNode } from '../boot/plan.ts'
import type { Network } from '../node/network.ts'
import type { LeaseView } from './leases.ts'
import { type Ignore, ignore, type Request } from './request.ts'

export type Addresses = {
  network: Network
  node: BootNode | undefined
  leases: LeaseView
  /** Addresses that this machine is not to get from the pool: others' by definition, or found in use. */
  reserved(address: Ipv4, mac: Mac): boolean
  now: number
}
type Chosen = { kind: 'address'; address: Ipv4 } | Ignore

/** The address that a machine is to have: its own by definition, or one of the pool. */
export function addressFor({ mac }: Request, context: Addresses, wanted: Ipv4 | undefined): Chosen {
  const { node, network, leases, now } = context
  const fixed = fixedAddress(mac, node)
  if (fixed !== undefined) return checkFixed(fixed, network)
  if (!network.pool)
    return ignore(node ? 'the node has no address and the network no pool' : 'unknown machine')
  const address = leases.choose(network.pool, { mac, wanted, now, reserved: reservedIn(mac, context) })
  return address === undefined ? ignore('the pool is used up') : { kind: 'address', address }
}

/** A node's `ip` is that of its first card: two cards with one address would fight over it. */
const fixedAddress = (mac: Mac, node: BootNode | undefined): Ipv4 | undefined =>
  node?.mac[0] === mac ? node.ip : undefined

function checkFixed(address: Ipv4, network: Network): Chosen {
  if (!subnetContains(network.subnet, address)) return ignore(`its address ${address} is not in this network`)
  if (isServers(address, network)) return ignore(`its address ${address} is the network's own`)
  return { kind: 'address', address }
}

/** Ours, the gateway's, and those that no machine can have. */
function isServers(address: Ipv4, { address: ours, gateway, subnet }: Network): boolean {
  if (address === ours || address === gateway) return true
  const host = ipv4ToNumber(address) - subnet.base
  return host === 0 || host === subnetSize(subnet) - 1
}

const reservedIn =
  (mac: Mac, { network, reserved }: Addresses) =>
  (address: Ipv4): boolean =>
    isOfNetwork(address, network) || reserved(address, mac)

/** Addresses of the pool that the network itself has. */
export const isOfNetwork = (address: Ipv4, network: Network): boolean =>
  isServers(address, network) || !!network.dns?.includes(address)

/**
 * Whether the sender of a REQUEST may have the address. For known nodes we are the authority and say no; of an
 * unknown machine that has no lease here RFC 2131 4.3.2 wants silence: another server may know it.
 */
export function rightTo(
  asked: Ipv4,
  { mac, options }: Request,
  context: Addresses,
): 'yes' | 'no' | 'unknown' {
  const { node, network, leases, now } = context
  const fixed = fixedAddress(mac, node)
  if (fixed !== undefined) {
    const checked = checkFixed(fixed, network)
    if (checked.kind === 'address') return checked.address === asked ? 'yes' : 'no'
    return subnetContains(network.subnet, asked) ? 'unknown' : 'no' // it has come here from another network
  }
  if (!network.pool) return 'unknown'
  const wasOffered = options.serverId !== undefined
  const wish = { mac, wanted: asked, now, reserved: reservedIn(mac, context), wasOffered }
  const lease = leases.get(mac)
  // A selecting client names us: we offered this address, though the hold may be lost by a restart.
  const known = lease ? lease.address === asked : wasOffered
  if (known && leases.mayHave(network.pool, wish)) return 'yes'
  return lease || node || wasOffered ? 'no' : 'unknown'
}

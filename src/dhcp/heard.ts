// What requests tell beside their answer, kept for later: bounded, for any machine can make it up.
import type { Ipv4, Mac } from '../address.ts'
import { bootServerAlias } from './hardware.ts'
import { NO_ADDRESS } from './packet.ts'
import type { Request } from './request.ts'

const LIMIT = 4096

export function makeHeard() {
  const byAddress = new Map<Ipv4, Mac>()
  const strangers = new Map<Ipv4, Mac>()
  const byAlias = new Map<Mac, Mac>()

  return {
    /**
     * Another server gave a machine its address: TFTP is asked from there. One that is no node (`isKnown`) must not be
     * taken for the node that had the address before, and be installed.
     */
    noteAddress({ type, options, packet, mac }: Request, isKnown: boolean) {
      const address = options.requestedAddress ?? packet.ciaddr
      if (type !== 'request' || address === NO_ADDRESS) return
      keep(isKnown ? byAddress : strangers, address, mac)
      ;(isKnown ? strangers : byAddress).delete(address)
    },
    macOf: (address: Ipv4): Mac | undefined => byAddress.get(address),
    /** The machine that is no node and has this address. */
    strangerAt: (address: Ipv4): Mac | undefined => strangers.get(address),
    /** A port whose firmware will name itself otherwise on port 4011. */
    noteAlias({ packet, mac }: Request) {
      const alias = bootServerAlias(packet)
      if (alias) keep(byAlias, alias, mac)
    },
    /** A node is always itself: an alias can be made up. */
    realMac: (mac: Mac, isNode: (mac: Mac) => boolean): Mac =>
      isNode(mac) ? mac : (byAlias.get(mac) ?? mac),
  }
}

/** The newest at the end; the oldest goes. */
function keep<K, V>(map: Map<K, V>, key: K, value: V) {
  map.delete(key)
  map.set(key, value)
  if (map.size > LIMIT) map.delete(map.keys().next().value!)
}

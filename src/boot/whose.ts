// Whose an address is, by the last ACK that gave it out: transfers name an address, people want the node.
import type { Event } from '../events.ts'

type Owner = { mac: string; node?: string }

/** @param most addresses that are remembered; the oldest is forgotten first */
export function makeOwners(most = 70_000) {
  const owners = new Map<string, Owner>()

  function learn(address: string, owner: Owner) {
    owners.delete(address)
    owners.set(address, owner)
    if (owners.size > most) owners.delete(owners.keys().next().value!)
  }

  /** The event with its node and MAC, when they are known by its peer; learns from those that give an address out. */
  function complete(event: Event): Event {
    if (event.type === 'dhcp.ack') {
      const { address, mac, node } = event as Event<'dhcp.ack'>
      if (mac !== undefined && typeof address === 'string')
        learn(address, { mac, ...(node !== undefined && { node }) })
      return event
    }
    const { peer } = event as { peer?: unknown }
    if (event.node !== undefined || typeof peer !== 'string') return event
    const owner = owners.get(peer)
    return owner ? { ...event, ...owner } : event
  }

  return { learn, complete, of: (address: string) => owners.get(address) }
}
export type Owners = ReturnType<typeof makeOwners>

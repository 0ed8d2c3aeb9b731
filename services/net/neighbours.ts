// The kernel's neighbour table: which machine answers for an address on a network that we are in.
import { readFile } from 'node:fs/promises'
import { type Ipv4, type Mac, parseMac } from '../../src/address.ts'

const COMPLETE = 2 // ATF_COM of linux/if_arp.h

/** By `device address`; only those that answered. An answer is believed for some seconds after its machine has gone. */
export async function readNeighbours(): Promise<Map<string, Mac>> {
  return parseNeighbours(await readFile('/proc/net/arp', 'latin1'))
}
export const neighbourKey = (device: string, address: Ipv4) => `${device} ${address}`

/** `IP address  HW type  Flags  HW address  Mask  Device`, and a line with these words before them. */
export function parseNeighbours(text: string): Map<string, Mac> {
  const rows = text.split('\n').slice(1)
  return new Map(
    rows.flatMap((row) => {
      const [address, type, flags, mac, , device] = row.trim().split(/\s+/)
      if (!device || type !== '0x1' || !(Number(flags) & COMPLETE)) return []
      return [[neighbourKey(device, address as Ipv4), parseMac(mac!)]]
    }),
  )
}

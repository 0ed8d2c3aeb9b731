// By which six bytes a machine is known. Ethernet says them. The address of an InfiniBand or Omni-Path port is too long
// for chaddr: RFC 4390 has hlen 0 and the client identifier instead, iPXE and Omni-Path write the port GUID (hlen 8).
import { type Mac, macFromBytes, macFromGuid } from '../address.ts'
import type { Packet } from './packet.ts'

const IEEE_802 = [1, 6]
const INFINIBAND = 32
const MAC_BYTES = 6
const GUID_BYTES = 8

/** `undefined`: no card has this address. `clientId` is option 61. */
export function hardwareKey({ htype, hlen, chaddr }: Packet, clientId: Buffer | undefined): Mac | undefined {
  if (hlen === MAC_BYTES && (IEEE_802.includes(htype) || htype === INFINIBAND)) return macOf(chaddr)
  if (htype !== INFINIBAND) return undefined
  if (hlen === GUID_BYTES) return notZero(macFromGuid(chaddr))
  // What ends in the GUID: `20 GUID` (NetworkManager), `ff 00:00:00:00:00:02:00:00:02:c9:00 GUID` (Mellanox, dhclient).
  // systemd-networkd ends its own in a hash, which stays the same as well.
  if (hlen === 0 && clientId && clientId.length > GUID_BYTES)
    return notZero(macFromGuid(clientId.subarray(-GUID_BYTES)))
  return undefined
}

/**
 * How Omni-Path firmware names itself on port 4011, where it asks as an Ethernet card: 02 and the last five bytes of
 * the GUID that it had on port 67.
 */
export function bootServerAlias({ htype, hlen, chaddr }: Packet): Mac | undefined {
  if (htype !== INFINIBAND || hlen !== GUID_BYTES) return undefined
  return macFromBytes(Uint8Array.of(2, ...chaddr.subarray(GUID_BYTES - 5, GUID_BYTES)))
}

/** A multicast bit is in no card's address. */
const macOf = (chaddr: Uint8Array) => (chaddr[0]! & 1 ? undefined : notZero(macFromBytes(chaddr)))
const notZero = (mac: Mac) => (mac === '00:00:00:00:00:00' ? undefined : mac)

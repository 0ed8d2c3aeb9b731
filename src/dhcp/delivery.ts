// Where a reply is sent. Only facts of the two packets: which socket sends it is the service's affair.
import type { Ipv4 } from '../address.ts'
import { NO_ADDRESS, type Packet } from './packet.ts'

export type Destination = { address: Ipv4; port: number }
/** `bootServer`: where PXE clients ask for their file once they have an address. */
export type DhcpPorts = { server: number; client: number; bootServer: number }
export const usualPorts: DhcpPorts = { server: 67, client: 68, bootServer: 4011 }
export const BROADCAST = '255.255.255.255' as Ipv4

/**
 * RFC 2131 4.1. A client without an address is always answered by broadcast, whatever its flag says: it does not
 * answer ARP yet. A refusal is broadcast too, since its client may not use the address it has.
 */
export function destinationOf(
  reply: Packet,
  { refusal, ports }: { refusal: boolean; ports: DhcpPorts },
): Destination {
  if (reply.giaddr !== NO_ADDRESS) return { address: reply.giaddr, port: ports.server }
  if (reply.ciaddr !== NO_ADDRESS && !refusal) return { address: reply.ciaddr, port: ports.client }
  return { address: BROADCAST, port: ports.client }
}

/** On port 4011 it is where the request came from: BIOS ROMs listen on 68 there, EDK2 on 4011, others elsewhere. */
export function bootServerDestination(peer: Destination): Destination {
  return peer.address === NO_ADDRESS ? { address: BROADCAST, port: peer.port } : peer
}

// The sockets of DHCP: of each address of ours one for what is sent to it and for all that we send, of each
// interface one for its broadcasts; both on port 67 and on 4011.
import type { Ipv4 } from '../../src/address.ts'
import type { DhcpPorts } from '../../src/dhcp/delivery.ts'
import type { Arrival } from '../../src/dhcp/subnet.ts'
import type { Network } from '../../src/node/network.ts'
import { type Datagrams, openDatagrams } from '../net/datagrams.ts'
import type { Handed } from '../net/handed.ts'
import { openAddressSocket, openDeviceSocket } from '../net/linux.ts'

export type PortName = 'server' | 'bootServer'
export type Listener = { datagrams: Datagrams; arrival: Arrival; port: PortName }

/** `handed` has sockets that systemd opened; those that it lacks are opened here. */
export async function openListeners(networks: readonly Network[], ports: DhcpPorts, handed: Handed) {
  const listeners: Listener[] = []
  const senders = new Map<string, Datagrams>()
  const close = () => Promise.all(listeners.map(({ datagrams }) => datagrams.close())).then(() => {})
  try {
    for (const port of ['server', 'bootServer'] as const) {
      for (const address of new Set(networks.map((network) => network.address))) {
        const socket =
          handed.take({ address, port: ports[port] }) ?? (await openAddressSocket(address, ports[port]))
        const datagrams = await openDatagrams(socket)
        senders.set(`${address} ${port}`, datagrams)
        const network = networks.find((each) => each.interface !== undefined && each.address === address)
        listeners.push({ datagrams, port, arrival: { network, unicast: true } })
      }
      for (const network of networks) {
        const { interface: device } = network
        if (device === undefined) continue
        const socket =
          handed.take({ device, port: ports[port] }) ?? (await openDeviceSocket(device, ports[port]))
        const datagrams = await openDatagrams(socket)
        listeners.push({ datagrams, port, arrival: { network, unicast: false } })
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    listeners,
    /** Sent from our address, so that 255.255.255.255 goes out of that interface whatever the default route is. */
    sender: (address: Ipv4, port: PortName) => senders.get(`${address} ${port}`)!,
    close,
  }
}

// In the boot process: sees unknown machines ask, gives each its code, and answers their loaders as if they were nodes.
import { randomInt } from 'node:crypto'
import type { Ipv4, Mac } from '../../src/address.ts'
import type { NodeIndex } from '../../src/boot/names.ts'
import {
  besideNodes,
  makeStrangers,
  type Stranger,
  strangerIn,
  strangerNode,
  uuidText,
} from '../../src/boot/strangers.ts'
import { machineName } from '../../src/dhcp/client.ts'
import type { Lease, LeaseEvent } from '../../src/dhcp/leases.ts'
import { NO_ADDRESS } from '../../src/dhcp/packet.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'
import type { Open } from '../http/content.ts'
import type { DhcpSeen } from '../record/recorder.ts'

type Needs = {
  networks: readonly Network[]
  nodes(): NodeIndex
  leaseOf(mac: Mac): Lease | undefined
  /** The unknown machine that another DHCP server gave this address. */
  strangerAt(address: Ipv4): Mac | undefined
  take(event: LeaseEvent): Promise<void> | undefined
  emit: Emit
  now?: () => number
}

/** Its firmware got it for minutes; a screen stays for hours. */
const LEASE_SECONDS = 300
const FULL_QUIET_MS = 60_000

export function openStrangers({ networks, nodes, leaseOf, strangerAt, take, emit, now = Date.now }: Needs) {
  const holding = new Map(
    networks.filter(({ discovery }) => discovery === 'hold').map((each) => [each.address, each]),
  )
  const strangers = makeStrangers((below) => randomInt(below))
  let saidFullAt = Number.NEGATIVE_INFINITY

  /** A request and its answer: who is offered a loader and is no node waits from now on. */
  function heard({ request, decided, server, node }: DhcpSeen) {
    if (node || !holding.has(server) || !('file' in decided) || decided.file.name === undefined) return
    const { mac, client, options } = request
    const { address } = decided
    note({
      ...{ mac, server, machine: machineName(client), uuid: uuidText(options.uuid) },
      address: address === NO_ADDRESS ? undefined : address,
    })
  }

  function note(
    sighting: {
      mac: Mac
      server: Ipv4
      machine?: string | undefined
      uuid?: string | undefined
      address?: Ipv4 | undefined
    },
    isShown = false,
  ) {
    const found = strangers.heard(sighting as Parameters<typeof strangers.heard>[0], now(), isShown)
    if (!found) return isShown ? sayFull(sighting.mac) : undefined
    if (!found.isNew) return
    const { mac, code, machine, address } = found.stranger
    emit('machine.found', { mac, code, ...(machine && { arch: machine }), ...(address && { address }) })
  }

  function sayFull(mac: Mac) {
    if (performance.now() - saidFullAt < FULL_QUIET_MS) return
    saidFullAt = performance.now()
    emit('dhcp.warn', { mac, why: 'too many unknown machines wait already: this one gets no code' })
  }

  /** The same opener, with strangers told apart from what does not exist. */
  function opening(server: Ipv4, open: Open): Open {
    if (!holding.has(server)) return open
    return (name, peer) => {
      const about = strangerIn(name)
      if (about && !nodes().byMac.has(about.mac)) met(about, peer as Ipv4, server)
      return open(name, peer)
    }
  }

  /** Only who has the address of that machine speaks for it; its loader does not renew, so it is renewed here. */
  function met({ mac, ...said }: NonNullable<ReturnType<typeof strangerIn>>, peer: Ipv4, server: Ipv4) {
    const lease = leaseOf(mac)
    const waiting = strangers.get(mac)
    const isLeased = lease?.address === peer && lease.state === 'bound'
    const isItself = isLeased || strangerAt(peer) === mac
    // Somebody else asks in its name.
    if (!isItself && waiting?.address !== undefined) return
    // After a restart of ours it asks on where it was; others may have taken its place while it had no screen.
    if (isItself) note({ mac, server, address: peer }, true)
    if (isLeased) renew(lease)
    strangers.named(mac, said, now())
  }

  /** Never for less than it has, and not for each of its questions: every renewal is written to the disk. */
  function renew({ mac, address, until }: Lease) {
    if (until - now() > (LEASE_SECONDS * 1000) / 2) return
    take({ type: 'ack', mac, address, now: now(), seconds: LEASE_SECONDS })?.catch(() => {})
  }

  /** The nodes and those who wait beside them. */
  const beside = (index: NodeIndex): NodeIndex => besideNodes(index, waiting)
  function waiting(mac: Mac) {
    const stranger = strangers.get(mac)
    return stranger && strangerNode(mac, stranger)
  }

  /** Who was defined meanwhile waits no more. */
  function list(): Stranger[] {
    for (const { mac } of strangers.list(now())) if (nodes().byMac.has(mac)) strangers.forget(mac)
    return strangers.list(now())
  }

  return { heard, opening, beside: holding.size > 0 ? beside : (index: NodeIndex) => index, list }
}

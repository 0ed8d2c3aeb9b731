// What is said of requests and answers: one event each; what machines can cause without end only so often.
import type { Ipv4, Mac } from '../../src/address.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { machineName } from '../../src/dhcp/client.ts'
import { NO_ADDRESS } from '../../src/dhcp/packet.ts'
import type { Answer } from '../../src/dhcp/reply.ts'
import type { Request } from '../../src/dhcp/request.ts'
import type { Network } from '../../src/node/network.ts'
import type { Emit } from '../emit.ts'

/** The same line about the same machine is said once a minute, and no more lines than this: made-up MACs cost nothing. */
const QUIET_MS = 60_000
const QUIET_LIMIT = 1000

type Who = { mac?: Mac; node?: BootNode | undefined }
/** A request and everything that it is answered by. */
export type Case = { request: Request; network: Network; node: BootNode | undefined }

/** `now`: ms of a clock that does not go back. */
export function makeSay(emit: Emit, now: () => number) {
  const quiet = { lines: new Set<string>(), until: Number.NEGATIVE_INFINITY }

  /** Whether this line is to be said once more. */
  function isNews(line: string): boolean {
    if (now() >= quiet.until) Object.assign(quiet, { lines: new Set(), until: now() + QUIET_MS })
    if (quiet.lines.has(line) || quiet.lines.size >= QUIET_LIMIT) return false
    quiet.lines.add(line)
    return true
  }

  function ignored(why: string, { mac, node }: Who = {}) {
    if (isNews(`${mac} ${why}`)) emit('dhcp.ignore', { why, ...whoIs(mac, node) })
  }

  /** Another server, seen by ourselves or chosen by a machine. */
  function rogue(server: Ipv4, why: string, { mac, node }: Who = {}) {
    if (isNews(`${mac} rogue ${server}`)) emit('dhcp.rogue', { address: server, why, ...whoIs(mac, node) })
  }

  /** A machine uses an address of a pool that it was not given. */
  function conflict(address: Ipv4, mac: Mac | undefined) {
    const why = 'a machine that was not given it uses this address of the pool'
    if (isNews(`${mac} conflict ${address}`)) emit('dhcp.conflict', { address, why, ...(mac && { mac }) })
  }

  function warn(why: string, { mac, node }: Who = {}) {
    if (isNews(`${mac} ${why}`)) emit('dhcp.warn', { why, ...whoIs(mac, node) })
  }

  function answered({ request, node }: Case, decided: Answer) {
    const { mac, client, type } = request
    const arch = machineName(client)
    const who = whoIs(mac, node)
    const what = { client: client.kind, ...(arch && { arch }) }
    const silent = decided.kind === 'ignore'
    // Of machines that are none of ours only the answered ones: main counts the boots of its nodes by this event.
    if ((type === 'discover' || type === 'bootp') && (node || !silent))
      emit('dhcp.discover', { ...who, ...what })
    switch (decided.kind) {
      case 'ignore':
        return ignored(decided.why, { mac, node })
      case 'release':
      case 'decline':
        return emit(`dhcp.${decided.kind}`, { ...who, address: decided.address })
      case 'nak':
        return emit('dhcp.nak', { ...who, address: decided.address, why: decided.why })
      default: {
        const { address, file, leaseSeconds } = decided
        const given = {
          ...{ ...who, ...what },
          ...(address !== NO_ADDRESS && { address }),
          ...(file.name !== undefined && { file: file.name }),
        }
        if (decided.kind === 'offer') emit('dhcp.offer', given)
        else emit('dhcp.ack', { ...given, ...(leaseSeconds !== undefined && { leaseSeconds }) })
        if (file.warning !== undefined) warn(file.warning, { mac, node })
        if (file.why !== undefined) ignored(`no boot file: ${file.why}`, { mac, node })
      }
    }
  }

  return { answered, ignored, rogue, conflict, warn }
}
export type Say = ReturnType<typeof makeSay>

const whoIs = (mac: Mac | undefined, node: BootNode | undefined) => ({
  ...(mac && { mac }),
  ...(node && { node: node.name }),
})

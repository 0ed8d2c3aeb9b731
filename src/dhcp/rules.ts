// Where each field of a reply comes from, in words: one row a field, in the terms of the configuration and of nodes.
import type { BootNode } from '../boot/plan.ts'
import type { Network } from '../node/network.ts'
import { machineName } from './client.ts'
import type { Field } from './describe.ts'
import type { Lease } from './leases.ts'
import type { Answer } from './reply.ts'
import type { Request } from './request.ts'

/** What a reply was decided on; `before` is the machine's lease at that time. */
export type Facts = {
  request: Request
  node: BootNode | undefined
  network: Network
  decided: Answer
  before: Lease | undefined
}
type Rule = string | ((facts: Facts) => string)

const asAsked = 'as the client sent it'
const ourAddress = 'networks[].address'
const file = ({ request, node, network }: Facts): string => {
  const { client } = request
  const who = client.kind === 'ipxe' ? 'iPXE' : (machineName(client) ?? client.kind)
  return [
    `for ${who}`,
    client.protocol === 'http' && 'by HTTP',
    node && `netboot=${node.netboot ?? '(default)'}`,
    !node && network.discovery && `discovery: ${network.discovery}`,
  ]
    .filter(Boolean)
    .join(', ')
}

// By the name of the header's field, or of the option (options.ts).
const rules: Record<string, Rule> = {
  op: 'a reply',
  ...Object.fromEntries(['htype', 'hlen', 'xid', 'giaddr', 'chaddr'].map((name) => [name, asAsked])),
  flags: asAsked,
  ciaddr: asAsked,
  yiaddr: (facts) => addressRule(facts),
  siaddr: ourAddress,
  sname: `${ourAddress}, as option 66`,
  file,
  messageType: ({ request }) => `the answer to a ${request.type}`,
  serverId: ourAddress,
  leaseSeconds: ({ request }) =>
    request.client.kind === 'os' ? 'a system keeps its address' : 'short: firmware and loaders never renew',
  renewSeconds: 'half of option 51',
  rebindSeconds: 'seven eighths of option 51',
  subnetMask: 'networks[].subnet',
  routers: 'networks[].gateway',
  dns: 'networks[].dns',
  ntp: 'networks[].ntp',
  domain: 'networks[].domain',
  hostName: 'the name of the node',
  tftpServer: ourAddress,
  bootFile: file,
  configFile: file,
  pathPrefix: 'before names that petitboot looks for without a URL',
  vendorClass: 'the client takes the file only with it',
  vendorOptions: 'BIOS firmware takes a proxy only with it',
  ipxe: 'iPXE need not wait for a proxy',
  clientId: `${asAsked} (RFC 6842)`,
  uuid: `${asAsked} (RFC 4578)`,
  relayInfo: `${asAsked}, last (RFC 3046)`,
  message: ({ decided }) => ('why' in decided && decided.why) || 'for people',
}

export function ruleOf({ name, about, hex }: Field, facts: Facts): string | undefined {
  if (about === undefined && /^0*$/.test(hex)) return undefined
  const rule = rules[about ?? name]
  return typeof rule === 'function' ? rule(facts) : rule
}

/** Why it is that address; also said of machines that get none. */
export function addressRule({ request, node, network, decided, before }: Facts): string {
  const address = 'address' in decided ? decided.address : undefined
  if (node?.ip !== undefined && node.mac[0] === request.mac) return `ip of ${node.name}`
  if (decided.kind === 'nak') return `not its own: ${decided.why}`
  if (before?.address === address) return `its lease, ${before?.state}`
  const pool = network.pool ? ` in the pool ${network.pool.from}-${network.pool.to}` : ''
  return request.options.requestedAddress === address ? `asked for, and free${pool}` : `free${pool}`
}

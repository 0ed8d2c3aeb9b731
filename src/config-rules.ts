// The rules between values of the configuration: what no schema can say. Each looks only at what it can read; what it
// can not read the schema has refused already.
import type { Ipv4 } from './address.ts'
import {
  ipv4FromNumber,
  ipv4ToNumber,
  parseIpv4,
  parseSubnet,
  subnetBroadcast,
  subnetContains,
} from './address.ts'
import { parseImageUrl } from './boot/image-url.ts'
import { faultAt, type Key, type Place, valueAt } from './config-place.ts'
import { type Fault, UserError } from './fault.ts'
import { subnetText } from './node/attributes.ts'
import type { AddressRange, Network } from './node/network.ts'

/** What is wrong between values that are each well-formed. */
export function ruleFaults(value: unknown, place: Place): Fault[] {
  const networks = valueAt(value, ['networks'])
  const count = Array.isArray(networks) ? networks.length : 0
  const each = Array.from({ length: count }, (_, index) => networkFaults(value, place, index))
  return [
    ...each.flat(),
    ...overlapFaults(value, place, count),
    ...portFaults(value, place),
    ...imageUrlFaults(value, place),
  ]
}

function networkFaults(value: unknown, place: Place, index: number): Fault[] {
  const faults: Fault[] = []
  const at = (...keys: Key[]): Key[] => ['networks', index, ...keys]
  const add = (keys: Key[], error: string, allowed?: string) =>
    void faults.push(faultAt(place, keys, error, valueAt(value, keys), allowed))
  function read<T>(keys: Key[], parse: (text: string) => T): T | undefined {
    const text = valueAt(value, keys)
    if (typeof text !== 'string') return undefined
    try {
      return parse(text)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      add(keys, error.fault.error, error.fault.allowed)
      return undefined
    }
  }
  const subnet = read(at('subnet'), parseSubnet)
  const own = read(at('address'), parseIpv4)
  const pool = read(at('pool'), parsePool)
  const gateway = read(at('gateway'), parseIpv4)
  for (const key of ['dns', 'ntp', 'relays']) {
    const list = valueAt(value, at(key))
    if (Array.isArray(list)) list.forEach((_, i) => void read(at(key, i), parseIpv4))
  }
  if (!subnet) return faults
  const device = valueAt(value, at('interface'))
  if (device === undefined && own && subnetContains(subnet, own))
    add(at('interface'), 'needed', 'an interface, as eth1; only a subnet behind relays has none')
  // EDK2 takes an address that begins with 0 for none.
  if (unusable.some((block) => overlap(block, subnet)))
    add(at('subnet'), 'no addresses for machines', 'not in 0.0.0.0/8, 127.0.0.0/8 or 224.0.0.0/3')
  const hosts = hostRange(subnet)
  const hostsText = `${hosts.from}-${hosts.to}`
  if (own && device !== undefined && !within(own, hosts))
    add(at('address'), `not inside ${subnetText(subnet)}`, hostsText)
  if (gateway && !within(gateway, hosts)) add(at('gateway'), `not inside ${subnetText(subnet)}`, hostsText)
  if (pool && !(within(pool.from, hosts) && within(pool.to, hosts)))
    add(at('pool'), `not inside ${subnetText(subnet)}`, hostsText)
  // An unknown machine has no other address.
  if (!pool && valueAt(value, at('discovery')) === 'hold' && valueAt(value, at('mode')) !== 'proxy')
    add(at('discovery'), 'not without a pool', 'pool: FIRST-LAST')
  if (pool && valueAt(value, at('mode')) === 'proxy')
    add(at('pool'), 'not with mode: proxy, where the other DHCP server gives the addresses')
  if (pool && own && within(own, pool)) add(at('pool'), `our own address ${own} is in it`)
  if (pool && gateway && within(gateway, pool)) add(at('pool'), `the gateway ${gateway} is in it`)
  return faults
}

const unusable = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'].map(parseSubnet)

/** Every address of a subnet that a machine may have. */
const hostRange = (subnet: Network['subnet']): AddressRange => ({
  from: ipv4FromNumber(subnet.base + 1),
  to: ipv4FromNumber(ipv4ToNumber(subnetBroadcast(subnet)) - 1),
})
const within = (ip: Ipv4, { from, to }: AddressRange) =>
  ipv4ToNumber(ip) >= ipv4ToNumber(from) && ipv4ToNumber(ip) <= ipv4ToNumber(to)

/** `10.0.0.100-10.0.0.199` */
export function parsePool(text: string): AddressRange {
  const [from = '', to = '', more] = text.split('-').map((part) => part.trim())
  const pool = { from: parseIpv4(from), to: parseIpv4(to) }
  if (more !== undefined || ipv4ToNumber(pool.from) > ipv4ToNumber(pool.to))
    throw new UserError('not a range of addresses', {
      what: text,
      allowed: 'FIRST-LAST, the first not after the last',
    })
  return pool
}

function overlapFaults(value: unknown, place: Place, count: number): Fault[] {
  const seen: { subnet: Network['subnet']; device: unknown }[] = []
  return Array.from({ length: count }, (_, index) => index).flatMap((index) => {
    const keys: Key[] = ['networks', index, 'subnet']
    const subnet = subnetAt(value, keys)
    if (!subnet) return []
    const device = valueAt(value, ['networks', index, 'interface'])
    const other = seen.find((each) => overlap(each.subnet, subnet))
    const same = seen.find((each) => each.device === device && typeof device === 'string')
    seen.push({ subnet, device })
    return [
      ...(other ? [faultAt(place, keys, `overlaps ${subnetText(other.subnet)}`, valueAt(value, keys))] : []),
      ...(same ? [faultAt(place, ['networks', index, 'interface'], 'used by another network', device)] : []),
    ]
  })
}

function subnetAt(value: unknown, keys: Key[]): Network['subnet'] | undefined {
  try {
    return parseSubnet(String(valueAt(value, keys)))
  } catch {
    return undefined // told already
  }
}

const overlap = (a: Network['subnet'], b: Network['subnet']) =>
  subnetContains(a, ipv4FromNumber(b.base)) || subnetContains(b, ipv4FromNumber(a.base))

function imageUrlFaults(value: unknown, place: Place): Fault[] {
  const urls = valueAt(value, ['http', 'imageUrls'])
  if (!Array.isArray(urls)) return []
  return urls.flatMap((url, index) => {
    if (typeof url !== 'string') return []
    try {
      parseImageUrl(url)
      return []
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return [faultAt(place, ['http', 'imageUrls', index], error.fault.error, url, error.fault.allowed)]
    }
  })
}

/** TCP ports that we listen on: each its own. */
function portFaults(value: unknown, place: Place): Fault[] {
  const ports = [
    ['http', 'port'],
    ['http', 'imagePort'],
    ['registry', 'port'],
  ].map((keys) => ({ keys, port: valueAt(value, keys) }))
  return ports.flatMap(({ keys, port }, i) => {
    const same = ports.slice(0, i).find((other) => other.port === port && typeof port === 'number')
    return same ? [faultAt(place, keys, `the same as ${same.keys.join('.')}`, port)] : []
  })
}

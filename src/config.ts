// The configuration file: YAML, checked by one schema, then by the rules that hold between its values. The answer is a
// configuration or the list of everything that is wrong, each with file, line, key, value and what is allowed.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Document, Node as YamlNode } from 'yaml'
import { isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml'
import type { Ipv4 } from './address.ts'
import {
  ipv4FromNumber,
  ipv4ToNumber,
  parseIpv4,
  parseSubnet,
  subnetBroadcast,
  subnetContains,
} from './address.ts'
import { type Fault, UserError } from './fault.ts'
import { subnetText } from './node/attributes.ts'
import type { AddressRange, Network } from './node/network.ts'

export type Config = Omit<File, 'networks'> & { networks: Network[] }

// ---- the schema: `description` is what a refusal says is allowed ----

const port = (usual: number) =>
  Type.Integer({ minimum: 1, maximum: 65535, default: usual, description: 'a port, 1 to 65535' })
const path = (description: string, more = {}) =>
  Type.String({ pattern: '^/[^\\x00-\\x1f]*$', maxLength: 4000, description, ...more })
const address = Type.String({ description: 'an IPv4 address, as 10.0.0.1' })
const addresses = Type.Array(address, { maxItems: 8, description: 'a list of IPv4 addresses' })
const closed = { additionalProperties: false }

const NetworkKeys = Type.Object(
  {
    interface: Type.String({
      pattern: '^[^\\s/:]{1,15}$',
      description: 'a network interface, as eth1',
    }),
    subnet: Type.String({ description: 'address/prefix, as 10.0.0.0/24' }),
    address,
    mode: Type.Optional(Type.Literal('dhcp', { description: 'dhcp' })),
    pool: Type.Optional(Type.String({ description: 'FIRST-LAST, as 10.0.0.100-10.0.0.199' })),
    gateway: Type.Optional(address),
    dns: Type.Optional(addresses),
    domain: Type.Optional(
      Type.String({
        pattern: '^(?!-)[A-Za-z0-9-]{1,63}(\\.[A-Za-z0-9-]{1,63})*$',
        maxLength: 253,
        description: 'a domain name, as cluster.example',
      }),
    ),
    ntp: Type.Optional(addresses),
  },
  { ...closed, description: 'interface, subnet, address and more' },
)
const File = Type.Object(
  {
    stateDir: path('an absolute path', { default: '/var/lib/sysclone' }),
    cacheDir: path('an absolute path', { default: '/var/cache/sysclone' }),
    networks: Type.Array(NetworkKeys, {
      minItems: 1,
      maxItems: 1000,
      description: 'at least one network: interface, subnet, address',
    }),
    http: Type.Object(
      {
        port: port(80),
        imagePort: port(8081),
        workers: Type.Integer({ minimum: 1, maximum: 64, default: 2, description: '1 to 64 processes' }),
      },
      { ...closed, default: {}, description: 'port, imagePort, workers' },
    ),
    tftp: Type.Object({ port: port(69) }, { ...closed, default: {}, description: 'port' }),
    api: Type.Object(
      {
        // sun_path holds 108 bytes with its closing zero.
        socket: path('an absolute path of at most 107 bytes', {
          default: '/run/sysclone/api.sock',
          maxLength: 107,
        }),
      },
      { ...closed, default: {}, description: 'socket' },
    ),
    ssh: Type.Object(
      { identity: Type.Optional(path('the absolute path of a private key')) },
      { ...closed, default: {}, description: 'identity' },
    ),
  },
  { ...closed, description: 'keys and values: stateDir cacheDir networks http tftp api ssh' },
)
type File = Static<typeof File>
type NetworkKeys = Static<typeof NetworkKeys>

// ---- reading ----

/** The configuration that `text` describes, or a UserError with all its faults; `name` of the file is for the faults alone. */
export function parseConfig(text: string, name: string): Config {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, merge: false })
  const broken = document.errors.map((error) => yamlFault(error, name))
  if (broken.length > 0) throw allOf(broken)
  const place: Place = { name, document, lines }
  const value = Value.Default(File, plainValue(document, name) ?? {})
  const faults = [...schemaFaults(value, place), ...ruleFaults(value, place)]
  if (faults.length > 0) throw allOf(faults.sort((a, b) => lineIn(a) - lineIn(b)))
  const { networks, ...rest } = value as File
  return { ...rest, networks: networks.map(networkOf) }
}

function yamlFault(
  error: { message: string; linePos?: [{ line: number }, ...unknown[]] },
  name: string,
): Fault {
  const what = error.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')
  return { error: 'not YAML', what, object: `${name}:${error.linePos?.[0].line ?? 1}` }
}

/** Anchors can blow a small file up without bound; the library says so by throwing. */
function plainValue(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 })
  } catch (error) {
    throw allOf([{ error: 'not YAML', what: (error as Error).message, object: `${name}:1` }])
  }
}

// ---- where a fault is ----

type Key = string | number
type Place = { name: string; document: Document; lines: LineCounter }

function faultAt(place: Place, keys: Key[], error: string, value: unknown, allowed?: string): Fault {
  const what = value === undefined ? 'absent' : typeof value === 'string' ? value : JSON.stringify(value)
  const shown = what.length > 100 ? `${what.slice(0, 100)}...` : what
  const object = `${place.name}:${lineOf(place, keys)}`
  return { error: `${keyText(keys)}: ${error}`, what: shown, ...(allowed && { allowed }), object }
}

const allOf = ([first, ...others]: Fault[]) => new UserError(first!.error, first!, others)
const lineIn = ({ object = '' }: Fault) => Number(object.slice(object.lastIndexOf(':') + 1))

/** `networks[0].pool` */
const keyText = (keys: Key[]) =>
  keys
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`))
    .join('')
    .replace(/^\./, '') || 'file'

/** The line of the key; of the nearest map around it when it is absent. */
function lineOf({ document, lines }: Place, keys: Key[]): number {
  for (let depth = keys.length; depth > 0; depth--) {
    const start = startOf(document.getIn(keys.slice(0, depth - 1), true), keys[depth - 1]!)
    if (start !== undefined) return lines.linePos(start).line
  }
  return 1
}

function startOf(parent: unknown, key: Key): number | undefined {
  const inMap =
    isMap(parent) && parent.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key)
  const node = inMap ? inMap.key : isNode(parent) && 'items' in parent ? parent.items[Number(key)] : undefined
  return isNode(node) ? (node as YamlNode).range?.[0] : undefined
}

// ---- faults of single values ----

function schemaFaults(value: unknown, place: Place): Fault[] {
  return Value.Errors(File, value).flatMap((error) => {
    const keys = keysOf(error.instancePath)
    if (error.keyword === 'additionalProperties')
      return error.params.additionalProperties.map((key) =>
        faultAt(place, [...keys, key], 'no such key', valueAt(value, [...keys, key]), allowedAt(keys)),
      )
    if (error.keyword === 'required')
      return error.params.requiredProperties.map((key) =>
        faultAt(place, [...keys, key], 'needed', undefined, allowedAt([...keys, key])),
      )
    if (error.keyword === 'boolean') return [] // the value of a key that is not known: told with the key
    return [faultAt(place, keys, 'not allowed', valueAt(value, keys), allowedAt(keys))]
  })
}

const keysOf = (pointer: string): Key[] =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part))

const valueAt = (value: unknown, keys: Key[]): unknown =>
  keys.reduce<unknown>(
    (inside, key) =>
      typeof inside === 'object' && inside !== null && Object.hasOwn(inside, key)
        ? (inside as Record<Key, unknown>)[key]
        : undefined,
    value,
  )

type SchemaNode = { description?: string; properties?: Record<string, SchemaNode>; items?: SchemaNode }

/** What the schema says of a key: its description, or for a map with unknown keys the names of the known ones. */
function allowedAt(keys: Key[]): string | undefined {
  const schema = keys.reduce<SchemaNode | undefined>(
    (inside, key) => (typeof key === 'number' ? inside?.items : inside?.properties?.[key]),
    File as SchemaNode,
  )
  return schema?.properties ? Object.keys(schema.properties).join(' ') : schema?.description
}

// ---- faults between values; each looks only at what it can read ----

function ruleFaults(value: unknown, place: Place): Fault[] {
  const networks = valueAt(value, ['networks'])
  const count = Array.isArray(networks) ? networks.length : 0
  const each = Array.from({ length: count }, (_, index) => networkFaults(value, place, index))
  return [...each.flat(), ...overlapFaults(value, place, count), ...portFaults(value, place)]
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
  for (const key of ['dns', 'ntp']) {
    const list = valueAt(value, at(key))
    if (Array.isArray(list)) list.forEach((_, i) => void read(at(key, i), parseIpv4))
  }
  if (!subnet) return faults
  const hosts = hostRange(subnet)
  const hostsText = `${hosts.from}-${hosts.to}`
  if (own && !within(own, hosts)) add(at('address'), `not inside ${subnetText(subnet)}`, hostsText)
  if (gateway && !within(gateway, hosts)) add(at('gateway'), `not inside ${subnetText(subnet)}`, hostsText)
  if (pool && !(within(pool.from, hosts) && within(pool.to, hosts)))
    add(at('pool'), `not inside ${subnetText(subnet)}`, hostsText)
  if (pool && own && within(own, pool)) add(at('pool'), `our own address ${own} is in it`)
  if (pool && gateway && within(gateway, pool)) add(at('pool'), `the gateway ${gateway} is in it`)
  return faults
}

/** Every address of a subnet that a machine may have. */
const hostRange = (subnet: Network['subnet']): AddressRange => ({
  from: ipv4FromNumber(subnet.base + 1),
  to: ipv4FromNumber(ipv4ToNumber(subnetBroadcast(subnet)) - 1),
})
const within = (ip: Ipv4, { from, to }: AddressRange) =>
  ipv4ToNumber(ip) >= ipv4ToNumber(from) && ipv4ToNumber(ip) <= ipv4ToNumber(to)

function parsePool(text: string): AddressRange {
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

function portFaults(value: unknown, place: Place): Fault[] {
  const [http, images] = [valueAt(value, ['http', 'port']), valueAt(value, ['http', 'imagePort'])]
  if (http !== images || typeof http !== 'number') return []
  return [faultAt(place, ['http', 'imagePort'], 'the same as http.port', images)]
}

// ---- the typed network ----

function networkOf({ mode: _, subnet, address, pool, gateway, dns, ntp, ...rest }: NetworkKeys): Network {
  return {
    ...rest,
    subnet: parseSubnet(subnet),
    address: parseIpv4(address),
    ...(pool !== undefined && { pool: parsePool(pool) }),
    ...(gateway !== undefined && { gateway: parseIpv4(gateway) }),
    ...(dns && { dns: dns.map(parseIpv4) }),
    ...(ntp && { ntp: ntp.map(parseIpv4) }),
  }
}

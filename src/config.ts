// The configuration file: YAML, checked by one schema, then by the rules that hold between its values. The answer is a
// configuration or the list of everything that is wrong, each with file, line, key, value and what is allowed.
import type { Static, TOptional, TString } from 'typebox'
import { Type } from 'typebox'
import { LineCounter, parseDocument } from 'yaml'
import { parseIpv4, parseSubnet } from './address.ts'
import { type ImageUrl, parseImageUrl } from './boot/image-url.ts'
import { ownLoaders } from './boot/loaders.ts'
import { faultAt } from './config-place.ts'
import { parsePool, ruleFaults } from './config-rules.ts'
import type { Network } from './node/network.ts'
import { readYaml } from './yaml-file.ts'

export type Config = Omit<File, 'networks' | 'http'> & {
  networks: Network[]
  networksAt?: string // 'FILE:LINE': where a person changes them
  http: Omit<File['http'], 'imageUrls'> & { imageUrls: ImageUrl[] }
}

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
    interface: Type.Optional(
      Type.String({
        pattern: '^[^\\s/:]{1,15}$',
        description: 'a network interface, as eth1',
      }),
    ),
    subnet: Type.String({ description: 'address/prefix, as 10.0.0.0/24' }),
    address,
    mode: Type.Optional(
      Type.Union([Type.Literal('dhcp'), Type.Literal('proxy')], { description: 'dhcp | proxy' }),
    ),
    discovery: Type.Optional(
      Type.Union([Type.Literal('off'), Type.Literal('hold')], { description: 'off | hold' }),
    ),
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
    relays: Type.Optional(addresses),
  },
  { ...closed, description: 'interface, subnet, address and more' },
)
const File = Type.Object(
  {
    stateDir: path('an absolute path', { default: '/var/lib/sysclone' }),
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
        imageUrls: Type.Array(Type.String({ description: 'a base URL, as http://10.0.0.1:8090' }), {
          maxItems: 8,
          default: [],
          description: 'a list of base URLs of servers that have our blobs',
        }),
      },
      { ...closed, default: {}, description: 'port, imagePort, workers, imageUrls' },
    ),
    tftp: Type.Object(
      {
        port: port(69),
        workers: Type.Integer({ minimum: 1, maximum: 64, default: 1, description: '1 to 64 threads' }),
      },
      { ...closed, default: {}, description: 'port, workers' },
    ),
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
    loaders: Type.Object(
      Object.fromEntries(
        Object.keys(ownLoaders).map((key) => [key, Type.Optional(path('an absolute path of the file'))]),
      ) as Record<keyof typeof ownLoaders, TOptional<TString>>,
      { ...closed, default: {}, description: Object.keys(ownLoaders).join(', ') },
    ),
    registry: Type.Optional(
      Type.Object(
        {
          port: port(5000),
          certificate: path('the absolute path of a certificate, PEM'),
          key: path('the absolute path of its private key, PEM'),
          token: Type.Optional(path('the absolute path of a file with a token of 16 characters or more')),
        },
        { ...closed, description: 'port, certificate, key, token' },
      ),
    ),
    ssh: Type.Object(
      { identity: Type.Optional(path('the absolute path of a private key')) },
      { ...closed, default: {}, description: 'identity' },
    ),
  },
  { ...closed, description: 'keys and values: stateDir networks http tftp api loaders registry ssh' },
)
type File = Static<typeof File>
type NetworkKeys = Static<typeof NetworkKeys>

// ---- reading ----

/** The configuration that `text` describes, or a UserError with all its faults; `name` of the file is for the faults alone. */
export function parseConfig(text: string, name: string): Config {
  const { networks, http, ...rest } = readYaml(File, text, name, ruleFaults)
  const imageUrls = http.imageUrls.map(parseImageUrl)
  return { ...rest, http: { ...http, imageUrls }, networks: networks.map(networkOf) }
}

/** `FILE:LINE` of the networks in a file that parseConfig has read. */
export function placeOfNetworks(text: string, name: string): string {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  return faultAt({ name, document, lines }, ['networks'], '', '').object!
}

// ---- the typed network ----

function networkOf({
  mode,
  discovery,
  subnet,
  address,
  pool,
  gateway,
  dns,
  ntp,
  relays,
  ...rest
}: NetworkKeys): Network {
  return {
    ...rest,
    ...(mode === 'proxy' && { mode }),
    ...(discovery === 'hold' && { discovery }),
    subnet: parseSubnet(subnet),
    address: parseIpv4(address),
    ...(pool !== undefined && { pool: parsePool(pool) }),
    ...(gateway !== undefined && { gateway: parseIpv4(gateway) }),
    ...(dns && { dns: dns.map(parseIpv4) }),
    ...(ntp && { ntp: ntp.map(parseIpv4) }),
    ...(relays && { relays: relays.map(parseIpv4) }),
  }
}

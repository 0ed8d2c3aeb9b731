// Where kernels, ramdisks and layers are fetched: our own blob workers, or servers in front of them that have the same
// files (`http.imageUrls`). Under the base URL a blob is always `blobs/sha256/HEX`.
import { type Ipv4, isIpv4, subnetContains } from '../address.ts'
import { UserError } from '../fault.ts'
import type { Network } from '../node/network.ts'
import type { ServerAddress } from './plan.ts'

/** `http://10.0.0.1:8090/images`; `path` is '' or starts with a slash and does not end in one. */
export type ImageUrl = { address: Ipv4; port: number; path: string }

/** An address and no name: GRUB would need a DNS server for it, and firmware often gets none. */
export function parseImageUrl(text: string): ImageUrl {
  const [, address = '', port = '80', path = ''] =
    /^http:\/\/([0-9.]+)(?::(\d{1,5}))?((?:\/[A-Za-z0-9._-]+)*)\/?$/.exec(text) ?? []
  const number = Number(port)
  if (!isIpv4(address) || number < 1 || number > 65535 || /(^|\/)\.\.?(\/|$)/.test(path))
    throw new UserError('not a base URL of images', {
      what: text,
      allowed: 'http://ADDRESS, with :PORT and /PATH when needed, as http://10.0.0.1:8090',
    })
  return { address, port: number, path }
}

export const imageUrlText = ({ address, port, path }: ImageUrl): string =>
  `http://${address}${port === 80 ? '' : `:${port}`}${path}`

/** Those that a network's machines can use: one that lies in another of our networks is for that one. */
export function imageUrlsFor(network: Network, all: ImageUrl[], networks: Network[]): ImageUrl[] {
  const elsewhere = ({ address }: ImageUrl) =>
    networks.some(({ subnet }) => subnetContains(subnet, address)) && !subnetContains(network.subnet, address)
  return all.filter((url) => !elsewhere(url))
}

/** Every place that has the blobs, best first; our own workers come last and always. */
export function imageServers({ address, imagePort, images = [] }: ServerAddress): [ImageUrl, ...ImageUrl[]] {
  const own: ImageUrl = { address, port: imagePort, path: '' }
  const [first = own, ...rest] = [...images, own]
  return [first, ...rest]
}

/** Everything about us that a network's machines are told. */
export function serverAddress(
  network: Network,
  {
    networks,
    http,
  }: { networks: Network[]; http: { port: number; imagePort: number; imageUrls: ImageUrl[] } },
): ServerAddress {
  const { address } = network
  const images = imageUrlsFor(network, http.imageUrls, networks)
  return {
    ...{ address, httpPort: http.port, imagePort: http.imagePort },
    ...(images.length > 0 && { images }),
    ...(network.mode === 'proxy' && { proxy: true as const }),
  }
}

/** Our own addresses as the machine with that address sees them. */
export function serverFor(
  { networks, http }: Parameters<typeof serverAddress>[1],
  peer: Ipv4,
): ServerAddress {
  const network = networks.find(({ subnet }) => subnetContains(subnet, peer)) ?? networks[0]!
  return serverAddress(network, { http, networks })
}

import { expect, test } from 'vitest'
import type { Ipv4 } from '../../src/address.ts'
import { parseSubnet } from '../../src/address.ts'
import { renderGrub } from '../../src/boot/grub.ts'
import {
  imageServers,
  imageUrlsFor,
  imageUrlText,
  parseImageUrl,
  serverAddress,
} from '../../src/boot/image-url.ts'
import { renderIpxe } from '../../src/boot/ipxe.ts'
import { planBoot } from '../../src/boot/policy.ts'
import { UserError } from '../../src/fault.ts'
import { deployment, node } from './nodes.ts'

const network = (subnet: string, address: string) => ({
  subnet: parseSubnet(subnet),
  address: address as Ipv4,
})
const networks = [network('10.0.0.0/24', '10.0.0.1'), network('10.1.0.0/24', '10.1.0.1')]
const [first, second] = networks as [(typeof networks)[0], (typeof networks)[0]]
const urls = ['http://10.0.0.1:8090', 'http://10.1.0.1:8090/mirror', 'http://192.0.2.7'].map(parseImageUrl)
const http = { port: 80, imagePort: 8081, imageUrls: urls }

test('a URL is read and written', () => {
  expect(urls.map(imageUrlText)).toEqual([
    'http://10.0.0.1:8090',
    'http://10.1.0.1:8090/mirror',
    'http://192.0.2.7',
  ])
  expect(imageUrlText(parseImageUrl('http://10.0.0.1:80/a/b/'))).toBe('http://10.0.0.1/a/b')
})

const refused = [
  ...['10.0.0.1', 'https://10.0.0.1', 'http://mirror', 'http://10.0.0.1:0', 'http://10.0.0.1:99999'],
  ...[
    'http://010.0.0.1',
    'http://10.0.0.1/../x',
    'http://10.0.0.1/a?b',
    'http://10.0.0.1/a b',
    'http://u@10.0.0.1',
  ],
]
for (const text of refused)
  test(`refused: ${text}`, () => expect(() => parseImageUrl(text)).toThrow(UserError))

test('a network uses the servers that lie in it or in none of ours', () => {
  expect(imageUrlsFor(second, urls, networks).map(imageUrlText)).toEqual([
    'http://10.1.0.1:8090/mirror',
    'http://192.0.2.7',
  ])
})

test('loader texts name the best server, install scripts all of them and ours at the end', () => {
  const server = serverAddress(second, { networks, http })
  const plan = planBoot(node({ deployment: deployment('armed') }), server)!
  expect(renderGrub(plan, server)).toContain("set from='(http,10.1.0.1:8090)/mirror'")
  expect(renderGrub(plan, server)).toContain("set from='(tftp,10.1.0.1)'")
  expect(renderIpxe(plan, server, { name: 'x' })).toContain(' http://10.1.0.1:8090/mirror/blobs/sha256/')
  expect(imageServers(server).map(imageUrlText).at(-1)).toBe('http://10.1.0.1:8081')
  expect(imageServers(serverAddress(first, { networks, http: { ...http, imageUrls: [] } }))).toEqual([
    { address: '10.0.0.1', port: 8081, path: '' },
  ])
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Ipv4, Mac, NodeName } from '../../src/address.ts'
import { type Asker, indexNodes, normalizeName, resolveName, type World } from '../../src/boot/names.ts'
import { deployment, node, server } from './nodes.ts'

const one = node({ ip: '10.77.0.11' as Ipv4, deployment: deployment('armed') })
const two = node({ name: 'n2' as NodeName, mac: ['52:54:00:77:00:12' as Mac], offline: true })
const done = node({
  name: 'n3' as NodeName,
  mac: ['52:54:00:77:00:13' as Mac],
  deployment: deployment('booted'),
})
const world: World = {
  nodes: indexNodes([one, two, done]),
  loaders: new Set(['boot/grub/x86_64-efi/core.efi', 'boot/grub/i386-pc/core.0']),
  server,
}
const asker: Asker = { address: '10.77.0.11' as Ipv4 }
const grub = { kind: 'text', language: 'grub', node: one, plan: { kind: 'install' } }
const ipxe = { ...grub, language: 'ipxe', name: 'boot/ipxe/52-54-00-77-00-11' }
const hex = '1'.repeat(64)

const rows: [string, object | undefined, Asker?][] = [
  ['boot/grub/grub.cfg-01-52-54-00-77-00-11', grub],
  ['boot/grub/grub.cfg-01-52:54:00:77:00:11', grub],
  ['boot/grub/grub.cfg-01-52-54-00-77-00-1', undefined],
  ['boot/grub/grub.cfg-01-52-54-00-77-00-99', undefined], // an unknown machine: silent
  ['boot/grub/grub.cfg-01-52-54-00-77-00-12', undefined], // offline
  ['boot/grub/grub.cfg', grub],
  ['boot/grub/grub.cfg', undefined, { address: '10.77.0.200' as Ipv4 }],
  ['boot/grub/grub.cfg', grub, { address: '10.77.0.200' as Ipv4, mac: '52:54:00:77:00:11' as Mac }],
  // Its address is the node's, but DHCP knows that another machine has it.
  ['boot/grub/grub.cfg', undefined, { ...asker, mac: '52:54:00:77:00:99' as Mac }],
  ['boot/grub/grub.cfg-0A4D000B', grub],
  ['boot/grub/grub.cfg-0a4d000b', grub],
  ['boot/grub/grub.cfg-0A4D000B', undefined, { address: '10.77.0.12' as Ipv4 }],
  ['boot/grub/grub.cfg-0A4D000', undefined],
  ['boot/ipxe/52:54:00:77:00:11', ipxe],
  ['boot/ipxe/52-54-00-77-00-11', ipxe],
  ['tftpboot/boot/ipxe/52-54-00-77-00-11', ipxe],
  ['tftpboot/tftpboot/boot/ipxe/52-54-00-77-00-11', undefined],
  ['boot/grub/x86_64-efi/core.efi', { kind: 'loader', file: 'boot/grub/x86_64-efi/core.efi' }],
  ['boot/grub/i386-pc/core.0', { kind: 'loader', file: 'boot/grub/i386-pc/core.0' }],
  ['boot/grub/arm64-efi/core.efi', undefined],
  ['boot/grub/x86_64-efi/command.lst', { kind: 'empty' }],
  ['boot/grub/i386-pc/terminal.lst', { kind: 'empty' }],
  ['command.lst', undefined],
  [`blobs/sha256/${hex}`, { kind: 'blob', digest: `sha256:${hex}` }],
  [`blobs/sha256/${'4'.repeat(64)}`, undefined], // a layer's digest is not public
  [`blobs/sha256/${hex.slice(1)}`, undefined],
  ['etc/passwd', undefined],
  ['', undefined],
]
for (const [name, meaning, who = asker] of rows)
  test(`${name || '(empty)'} from ${who.address}${who.mac ? ` ${who.mac}` : ''}`, () => {
    const found = resolveName(name, who, world)
    if (meaning) expect(found).toMatchObject(meaning)
    else expect(found).toBeUndefined()
  })

test('only what an open deployment boots is public', () => {
  expect(indexNodes([one]).blobs.size).toBe(3)
  expect(indexNodes([done, node({ deployment: deployment('failed') })]).blobs.size).toBe(0)
})

const spellings: [string, string | undefined][] = [
  ['/boot//grub/./core.0', 'boot/grub/core.0'],
  ['\\boot\\grub\\core.0', 'boot/grub/core.0'],
  ['boot/grub/', 'boot/grub'],
  ['', ''],
  ['../x', undefined],
  ['a/..\\b', undefined],
  ['a/..', undefined],
  ['a..b', 'a..b'],
  ['a\0b', undefined],
  ['a\nb', undefined],
  ['x'.repeat(1025), undefined],
]
for (const [raw, name] of spellings)
  test(`spelling of ${JSON.stringify(raw.slice(0, 30))}`, () => expect(normalizeName(raw)).toBe(name))

test('law: a normalised name has one spelling and never climbs', () => {
  const part = fc.constantFrom('..', '.', '', 'a', '/', '\\', '%2e', '\0', 'b..')
  const raw = fc.oneof(
    fc.string(),
    fc.array(part).map((parts) => parts.join('/')),
  )
  fc.assert(
    fc.property(raw, (text) => {
      const name = normalizeName(text)
      if (name === undefined) return
      expect(name.split('/')).not.toContain('..')
      expect(name).not.toMatch(/^\/|\/\/|\\|[\0-\x1f]/)
      expect(normalizeName(name)).toBe(name)
    }),
  )
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Ipv4, Mac, NodeName } from '../../src/address.ts'
import { loaderFiles } from '../../src/boot/loaders.ts'
import { type Asker, indexNodes, normalizeName, resolveName, type World } from '../../src/boot/names.ts'
import { planBoot } from '../../src/boot/policy.ts'
import { renderText } from '../../src/boot/text.ts'
import { deployment, digest, node, server } from './nodes.ts'

const one = node({ ip: '10.77.0.11' as Ipv4, deployment: deployment('armed') })
const two = node({ name: 'n2' as NodeName, mac: ['52:54:00:77:00:12' as Mac], offline: true })
const done = node({
  name: 'n3' as NodeName,
  mac: ['52:54:00:77:00:13' as Mac],
  deployment: deployment('booted'),
})
const petit = node({
  name: 'p1' as NodeName,
  mac: ['52:54:00:77:00:14' as Mac],
  netboot: 'petitboot',
  deployment: deployment('armed'),
})
const ownSigned = (arch: 'x86_64' | 'aarch64') => ({
  signed: { arch, shim: { digest: digest('5'), bytes: 1 }, grub: { digest: digest('6'), bytes: 1 } },
})
const secure = node({
  name: 's1' as NodeName,
  mac: ['52:54:00:77:00:15' as Mac],
  netboot: 'shim',
  deployment: { ...deployment('armed'), image: 'el9:12', ...ownSigned('x86_64') },
})
const installed = node({
  name: 's2' as NodeName,
  mac: ['52:54:00:77:00:16' as Mac],
  deployment: { ...deployment('booted'), image: 'old:1', ...ownSigned('aarch64') },
})
const world: World = {
  nodes: indexNodes([one, two, done, petit, secure, installed]),
  loaders: new Set([...Object.values(loaderFiles).flatMap(Object.keys), 'elilo.efi']),
  server,
}
const asker: Asker = { address: '10.77.0.11' as Ipv4 }
const stranger: Asker = { address: '10.77.0.200' as Ipv4 }
const grub = { kind: 'text', language: 'grub', node: one, plan: { kind: 'install' } }
const signed = { ...grub, language: 'signed-grub' }
const ipxe = { ...grub, language: 'ipxe', name: 'boot/ipxe/52-54-00-77-00-11' }
const elilo = { ...grub, language: 'elilo' }
const pxelinux = { ...grub, language: 'pxelinux' }
const petitboot = { ...grub, language: 'petitboot', node: petit }
const slof = { ...grub, language: 'slof' }
const empty = { kind: 'fixed', text: '' }
const file = (name: string) => ({ kind: 'loader', file: name })
const hex = '1'.repeat(64)
const joined = `blobs/joined/${'2'.repeat(64)}.${'3'.repeat(64)}`

type Case = [name: string, meaning: object | undefined, who?: Asker]
const rules: Record<string, Case[]> = {
  'GRUB asks by hardware address, with dashes or colons': [
    ['boot/grub/grub.cfg-01-52-54-00-77-00-11', grub],
    ['boot/grub/grub.cfg-01-52:54:00:77:00:11', grub],
    ['boot/grub/grub.cfg-01-52-54-00-77-00-1', undefined],
    ['boot/grub/grub.cfg-01-52-54-00-77-00-99', undefined], // an unknown machine: silent
    ['boot/grub/grub.cfg-01-52-54-00-77-00-12', undefined], // offline
  ],
  'GRUB asks by address in hexadecimal, 8 digits down to 1: only its own': [
    ['boot/grub/grub.cfg-0A4D000B', grub],
    ['boot/grub/grub.cfg-0a4d000b', grub],
    ...['0A4D000', '0A4D00', '0A4D0', '0A4D', '0A4', '0A', '0'].map(
      (part): Case => [`boot/grub/grub.cfg-${part}`, grub],
    ),
    ['boot/grub/grub.cfg-0A4D000B', undefined, { address: '10.77.0.12' as Ipv4 }],
    ['boot/grub/grub.cfg-0A4E', undefined],
    ['boot/grub/grub.cfg-0A4D000B0', undefined],
    ['boot/grub/grub.cfg-', undefined],
  ],
  'GRUB asks by UUID first: a miss': [['boot/grub/grub.cfg-4c4c4544-0042-3510-8052-b4c04f564433', undefined]],
  'grub.cfg: by who asks': [
    ['boot/grub/grub.cfg', grub],
    ['boot/grub/grub.cfg', undefined, stranger],
    ['boot/grub/grub.cfg', grub, { ...stranger, mac: '52:54:00:77:00:11' as Mac }],
    // Its address is the node's, but DHCP knows that another machine has it.
    ['boot/grub/grub.cfg', undefined, { ...asker, mac: '52:54:00:77:00:99' as Mac }],
  ],
  "Open Firmware's GRUB asks beside its own file, xCAT's in boot/grub2 and in the root": [
    ['boot/grub/powerpc-ieee1275/grub.cfg-01-52-54-00-77-00-11', grub],
    ['boot/grub/powerpc-ieee1275/grub.cfg-0A4D000B', grub],
    ['boot/grub2/grub.cfg-01-52-54-00-77-00-11', grub],
    ['boot/grub2/n1', grub],
    ['grub.cfg', grub],
    ['boot/grub2/nobody', undefined],
  ],
  'the signed GRUB asks for grub/grub.cfg alone: one text, that asks on by hardware address': [
    ['grub/grub.cfg', { kind: 'fixed', text: expect.stringMatching(/grub\.cfg-01-\$net_default_mac/) }],
    ['grub/grub.cfg', { kind: 'fixed' }, stranger],
    ['grub/grub.cfg-01-52:54:00:77:00:11', signed],
    ['grub/grub.cfg-01-52-54-00-77-00-11', signed],
    ['grub/grub.cfg-01-52:54:00:77:00:99', undefined],
  ],
  "GRUB's lists of modules are empty: all it needs is built in": [
    ['boot/grub/x86_64-efi/command.lst', empty],
    ['boot/grub/i386-pc/terminal.lst', empty],
    ['grub/x86_64-efi/fs.lst', empty],
    ['boot/grub/powerpc-ieee1275/crypto.lst', empty],
    ['command.lst', undefined],
  ],
  'iPXE: its script by hardware address, and under the names of xNBA': [
    ['boot/ipxe/52:54:00:77:00:11', ipxe],
    ['boot/ipxe/52-54-00-77-00-11', ipxe],
    ['xcat/xnba/nodes/n1', ipxe],
    ['xcat/xnba/nodes/n1.uefi', ipxe],
    ['xcat/xnba/nodes/n2', undefined], // offline
    ['tftpboot/xcat/xnba/nodes/n1', ipxe],
  ],
  'iPXE asks for autoexec.ipxe first: a miss, and it goes on': [['autoexec.ipxe', undefined]],
  'elilo: its address from 8 digits down by pairs, with its processor, then elilo.conf': [
    ['0A4D000B.conf', elilo],
    ['0A4D00-x86_64.conf', elilo],
    ['0A4D00.conf', elilo],
    ['0A4D-x86_64.conf', elilo],
    ['0A4D.conf', elilo],
    ['0A-x86_64.conf', elilo],
    ['0A.conf', elilo],
    ['elilo-x86_64.conf', elilo],
    ['elilo.conf', elilo],
    ['0A4D000C.conf', undefined],
    ['elilo.conf', undefined, stranger],
  ],
  'elilo -C: the one file, by HTTP from the root or under /tftpboot': [
    ['boot/elilo/52-54-00-77-00-11', elilo],
    ['xcat/xnba/nodes/n1.elilo', elilo],
    ['tftpboot/xcat/xnba/nodes/n1.elilo', elilo],
  ],
  'pxelinux: by hardware address, by address 8 digits down to 1, then default': [
    ['pxelinux.cfg/01-52-54-00-77-00-11', pxelinux],
    ['pxelinux.cfg/0A4D000B', pxelinux],
    ['pxelinux.cfg/0A4D00', pxelinux],
    ['pxelinux.cfg/0', pxelinux],
    ['pxelinux.cfg/default', pxelinux],
    ['pxelinux.cfg/n1', pxelinux],
    ['pxelinux.cfg/4c4c4544-0042-3510-8052-b4c04f564433', undefined],
    ['pxelinux.cfg/default', undefined, stranger],
  ],
  "petitboot: its own file, or pxelinux' names when DHCP told it nothing": [
    ['boot/petitboot/52-54-00-77-00-14', petitboot],
    ['petitboot/p1', petitboot],
    ['pxelinux.cfg/01-52-54-00-77-00-14', petitboot],
  ],
  "SLOF: below the name that DHCP gave it, in pxelinux' order": [
    // By UUID first, of machines that have one: a quick miss.
    ['boot/slof/pxelinux.cfg/4c4c4544-0042-3510-8052-b4c04f564433', undefined],
    ['boot/slof/4c4c4544-0042-3510-8052-b4c04f564433', undefined],
    ['boot/slof/pxelinux.cfg/01-52-54-00-77-00-11', slof],
    ['boot/slof/01-52-54-00-77-00-11', slof],
    ['boot/slof/pxelinux.cfg/0A4D000B', slof],
    ['boot/slof/pxelinux.cfg/default', slof],
    ['boot/slof/', undefined],
  ],
  'loaders by the name that DHCP gives, and by those of xCAT': [
    ['boot/grub/x86_64-efi/core.efi', file('boot/grub/x86_64-efi/core.efi')],
    ['boot/grub/i386-pc/core.0', file('boot/grub/i386-pc/core.0')],
    ['pxelinux.0', file('pxelinux.0')],
    ['ldlinux.c32', file('ldlinux.c32')],
    ['xcat/xnba.kpxe', file('boot/ipxe/undionly.kpxe')],
    ['xcat/xnba.efi', file('boot/ipxe/snponly.efi')],
    ['tftpboot/xcat/elilo-x64.efi', file('elilo.efi')],
    ['boot/grub/riscv64-efi/core.efi', undefined],
  ],
  'shim: its second stage and MokManager beside it; what it asks for on the way is a quick miss': [
    ['boot/shim/x86_64/grubx64.efi', file('boot/shim/x86_64/grubx64.efi')],
    ['boot/shim/x86_64/mmx64.efi', file('boot/shim/x86_64/mmx64.efi')],
    ['boot/shim/aarch64/grubaa64.efi', file('boot/shim/aarch64/grubaa64.efi')],
    ['boot/shim/x86_64/revocations.efi', undefined],
    ['boot/shim/x86_64/revocations_sku.efi', undefined],
    ['boot/shim/x86_64/revocations_sbat.efi', undefined],
    ['boot/shim/x86_64/shim_certificate_0.efi', undefined],
    ['boot/shim/x86_64/oader/revocations.efi', undefined],
  ],
  'shim misled by its firmware (a Dell asks for "loader/?USB"): the usual second stage': [
    ['boot/shim/x86_64/loader/\ufffdUSB', file('boot/shim/x86_64/grubx64.efi')],
    ['boot/shim/aarch64/\ufffd', file('boot/shim/aarch64/grubaa64.efi')],
  ],
  'shim and GRUB of the image that is being installed, and of no other': [
    ['boot/signed/el9/12/shimx64.efi', { kind: 'blob', digest: digest('5') }],
    ['boot/signed/el9/12/grubx64.efi', { kind: 'blob', digest: digest('6') }],
    ['boot/signed/el9/12/loader/\ufffdUSB', { kind: 'blob', digest: digest('6') }],
    ['boot/signed/el9/12/revocations.efi', undefined],
    ['boot/signed/el9/12/grubaa64.efi', undefined],
    ['boot/signed/el9/11/shimx64.efi', undefined],
    ['boot/signed/old/1/shimaa64.efi', undefined],
  ],
  "Red Hat's GRUB asks beside itself": [
    ['boot/signed/el9/12/grub.cfg-01-52-54-00-77-00-15', { ...signed, node: secure }],
    ['boot/signed/el9/12/grub.cfg', { kind: 'fixed', text: expect.stringMatching(/net_default_mac/) }],
    ['boot/signed/el9/12/x86_64-efi/command.lst', empty],
  ],
  'kernels and ramdisks by digest; several ramdisks as one file': [
    [`blobs/sha256/${hex}`, { kind: 'blob', digest: `sha256:${hex}` }],
    [`blobs/sha256/${'4'.repeat(64)}`, undefined], // a layer's digest is not public
    [`blobs/sha256/${hex.slice(1)}`, undefined],
    [joined, { kind: 'joined', digests: [`sha256:${'2'.repeat(64)}`, `sha256:${'3'.repeat(64)}`] }],
    [`blobs/joined/${'3'.repeat(64)}.${'2'.repeat(64)}`, undefined],
    [`blobs/joined/${hex}.${'2'.repeat(64)}`, undefined],
  ],
  'one /tftpboot is an alias of the root, and nothing else is': [
    ['tftpboot/boot/ipxe/52-54-00-77-00-11', ipxe],
    ['tftpboot/tftpboot/boot/ipxe/52-54-00-77-00-11', undefined],
    ['etc/passwd', undefined],
    ['constructor', undefined],
    ['', undefined],
  ],
}
for (const [rule, cases] of Object.entries(rules))
  for (const [name, meaning, who = asker] of cases)
    test(`${rule}: ${name || '(empty)'} from ${who.address}${who.mac ? ` ${who.mac}` : ''}`, () => {
      const found = resolveName(name, who, world)
      if (meaning) expect(found).toMatchObject(meaning)
      else expect(found).toBeUndefined()
    })

test('a node whose name is hexadecimal is asked by it, but never by who has an address that begins so', () => {
  const named = node({ name: 'c01' as NodeName, deployment: deployment('armed') })
  const here = { ...world, nodes: indexNodes([named]) }
  const ask = (address: string) => resolveName('pxelinux.cfg/c01', { address: address as Ipv4 }, here)
  expect(ask('10.77.0.200')).toMatchObject({ kind: 'text', language: 'pxelinux', node: named })
  expect(ask('192.16.0.9')).toBeUndefined() // C0 10 00 09
})

test('every name in every spelling that firmware uses comes to the same', () => {
  for (const cases of Object.values(rules))
    for (const [name, , who = asker] of cases) {
      const plain = normalizeName(name)!
      for (const raw of [`/${name}`, `//${name.replaceAll('/', '//')}`, name.replaceAll('/', '\\')])
        expect(resolveName(normalizeName(raw)!, who, world)).toEqual(resolveName(plain, who, world))
    }
})

test('what a loader is told to fetch is there: every name of every text has a meaning', () => {
  const armed = node({ ip: '10.77.0.11' as Ipv4, deployment: deployment('armed') })
  const here = { ...world, nodes: indexNodes([armed]) }
  for (const language of ['grub', 'ipxe', 'elilo', 'pxelinux', 'petitboot', 'slof'] as const) {
    const plan = planBoot(armed, server)!
    const text = renderText({ language, plan, node: armed, server, name: 'boot/ipxe/52-54-00-77-00-11' })!
    const names = [...text.matchAll(/blobs\/[a-z0-9]+\/[0-9a-f.]+/g)].map(([name]) => name)
    expect(names.length).toBeGreaterThan(1)
    for (const name of names) expect(resolveName(name, stranger, here)).toBeDefined()
  }
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

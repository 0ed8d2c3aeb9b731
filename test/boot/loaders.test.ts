// Which client gets which loader: every machine that firmware can say, every netboot, installing and from its own disk.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseMac } from '../../src/address.ts'
import { type FirstLoader, loaderFiles, ownLoaders, planFirstLoader } from '../../src/boot/loaders.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { type Client, clientOf } from '../../src/dhcp/client.ts'
import { decodeOptions } from '../../src/dhcp/options.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { type Netboot, netboots } from '../../src/node/node.ts'
import { capture, captureNames } from '../dhcp/captures.ts'
import { deployment, digest, node, server } from './nodes.ts'

const mac = parseMac('52:54:00:77:00:11')
const built: ReadonlySet<string> = new Set([
  ...Object.values(loaderFiles).flatMap(Object.keys),
  ...Object.values(ownLoaders),
])
const firmware = (cpu: string, kind: string, protocol = 'tftp') =>
  ({ kind: 'firmware', protocol, machine: { cpu, firmware: kind } }) as Client
const clients = {
  BIOS: firmware('x86_64', 'bios'),
  UEFI: firmware('x86_64', 'uefi'),
  'UEFI HTTP': firmware('x86_64', 'uefi', 'http'),
  arm64: firmware('aarch64', 'uefi'),
  'arm64 HTTP': firmware('aarch64', 'uefi', 'http'),
  'SLOF, DISCOVER': { kind: 'firmware', protocol: 'tftp' },
  'SLOF, REQUEST': firmware('ppc64le', 'openfirmware'),
  petitboot: firmware('ppc64le', 'opal'),
  'iPXE BIOS': { ...firmware('x86_64', 'bios'), kind: 'ipxe' },
  'iPXE UEFI': { ...firmware('x86_64', 'uefi'), kind: 'ipxe' },
} satisfies Record<string, Client>
type Name = keyof typeof clients

const http = 'http://10.77.0.1'
const bios = 'boot/grub/i386-pc/core.0'
const uefi = 'boot/grub/x86_64-efi/core.efi'
const arm = 'boot/grub/arm64-efi/core.efi'
const ppc = 'boot/grub/powerpc-ieee1275/core.elf'
const script = `${http}/boot/ipxe/52-54-00-77-00-11`
const petitboot = `209 ${http}/boot/petitboot/52-54-00-77-00-11 210 ${http}/`
const core = {
  'arm64 HTTP': `${http}/${arm}`,
  'UEFI HTTP': `${http}/${uefi}`,
  ...{ BIOS: bios, UEFI: uefi, arm64: arm, petitboot },
  ...{ 'SLOF, DISCOVER': ppc, 'SLOF, REQUEST': ppc },
}
const grub = { ...core, 'iPXE BIOS': bios, 'iPXE UEFI': uefi }
const ipxe = {
  ...{ BIOS: 'boot/ipxe/undionly.kpxe', UEFI: 'boot/ipxe/snponly.efi', arm64: 'boot/ipxe/ipxe-arm64.efi' },
  ...{ 'UEFI HTTP': `${http}/boot/ipxe/snponly.efi`, 'arm64 HTTP': `${http}/boot/ipxe/ipxe-arm64.efi` },
  ...{ petitboot, 'iPXE BIOS': script, 'iPXE UEFI': script },
}
const shim = 'boot/shim/x86_64/shimx64.efi'

// What is not named gets an address and the reason.
const installing: Record<Netboot | 'none', Partial<Record<Name, string>>> = {
  none: { ...core, 'iPXE BIOS': script, 'iPXE UEFI': script },
  grub2: grub,
  'grub2-http': grub,
  'grub2-tftp': grub,
  shim: {
    ...{ BIOS: bios, UEFI: shim, arm64: 'boot/shim/aarch64/shimaa64.efi', petitboot },
    ...{ 'iPXE BIOS': bios, 'iPXE UEFI': shim },
  },
  ipxe,
  xnba: ipxe,
  elilo: { UEFI: 'elilo.efi', 'iPXE BIOS': script, 'iPXE UEFI': script, petitboot },
  pxe: {
    ...{ BIOS: 'pxelinux.0', 'iPXE BIOS': 'pxelinux.0', petitboot },
    ...{ 'SLOF, DISCOVER': 'boot/slof/', 'SLOF, REQUEST': 'boot/slof/' },
  },
  petitboot: { petitboot },
}

/** From its own disk: where there is no loader of that kind, or it has no word for this, GRUB sends it there. */
function ownDisk(netboot: Netboot | 'none', name: Name): string {
  if (name === 'SLOF, REQUEST') return 'silent'
  if (name === 'petitboot' || name === 'SLOF, DISCOVER') return 'none'
  const grubs: Partial<Record<Name, string>> = grub
  if (netboot === 'elilo' && name === 'UEFI') return uefi
  return installing[netboot][name] ?? grubs[name] ?? 'silent'
}

function brief(loader: FirstLoader): string {
  if (loader.kind !== 'file') return loader.kind
  return loader.file ?? `209 ${loader.configFile} 210 ${loader.pathPrefix}`
}
const ask = (client: Client, netboot: string, armed: boolean) =>
  planFirstLoader({
    client,
    mac,
    node: node({
      ...(netboot !== 'none' && { netboot: netboot as Netboot }),
      ...(armed && { deployment: deployment('armed') }),
    }),
    server,
    built,
  })

for (const netboot of ['none', ...netboots] as const)
  for (const [name, client] of Object.entries(clients)) {
    test(`netboot=${netboot}: ${name}`, () => {
      const expected = installing[netboot][name as Name] ?? 'none'
      expect(brief(ask(client, netboot, true))).toBe(expected)
    })
    test(`netboot=${netboot}: ${name}, from its own disk`, () => {
      expect(brief(ask(client, netboot, false))).toBe(ownDisk(netboot, name as Name))
    })
  }

test('shim of the image that is installed, for its processor; else our own', () => {
  const blob = { digest: digest('5'), bytes: 1 }
  const signed = { arch: 'x86_64' as const, shim: blob, grub: blob }
  const first = (
    client: Client,
    more: Partial<NonNullable<BootNode['deployment']>>,
    netboot: Netboot = 'shim',
  ) =>
    brief(
      planFirstLoader({
        ...{
          client,
          mac,
          server,
          built: new Set([...built].filter((name) => more.bootOnly || name !== shim)),
        },
        node: node({ netboot, deployment: { ...deployment('armed'), signed, ...more } }),
      }),
    )
  expect(first(clients.UEFI, {})).toBe('boot/signed/img/3/shimx64.efi')
  expect(first(clients['iPXE UEFI'], {})).toBe('boot/signed/img/3/shimx64.efi')
  expect(first(clients.arm64, {})).toBe('boot/shim/aarch64/shimaa64.efi')
  expect(first(clients['UEFI HTTP'], {})).toBe('none')
  expect(first(clients.UEFI, {}, 'grub2')).toBe(uefi)
  expect(first(clients.UEFI, { bootOnly: true })).toBe(shim)
  expect(first(clients.UEFI, { state: 'booted', bootOnly: true })).toBe(shim)
})

test('only HTTP boot gets a vendor class, and its port when it is not 80', () => {
  const asking = { mac, node: node({ deployment: deployment('armed') }), built }
  const ported = { ...server, httpPort: 8080 }
  expect(planFirstLoader({ ...asking, client: clients['UEFI HTTP'], server: ported })).toEqual({
    kind: 'file',
    file: `http://10.77.0.1:8080/${uefi}`,
    vendorClass: 'HTTPClient',
  })
  expect(planFirstLoader({ ...asking, client: clients.UEFI, server: ported })).toEqual({
    kind: 'file',
    file: uefi,
  })
})

const reasons: [what: string, client: Client, netboot: string, why: RegExp][] = [
  ['Secure Boot by HTTP boot', clients['UEFI HTTP'], 'shim', /netboot=shim is for PXE/],
  ['elilo under BIOS', clients.BIOS, 'elilo', /netboot=elilo is not for bios x86_64/],
  [
    'a machine that nobody knows',
    { kind: 'firmware', protocol: 'tftp', archCode: 153 },
    'none',
    /architecture 153/,
  ],
  ['a RISC-V machine', firmware('riscv64', 'uefi'), 'none', /no loader for uefi riscv64/],
  ['a system', { kind: 'os', protocol: 'tftp' }, 'none', /asks for no boot file/],
]
for (const [what, client, netboot, why] of reasons)
  test(`no loader, and why: ${what}`, () => {
    expect(ask(client, netboot, true)).toEqual({ kind: 'none', why: expect.stringMatching(why) })
  })

test('what was not built is not named; the cure is', () => {
  const asking = { mac, node: node({ deployment: deployment('armed') }), server, built: new Set<string>() }
  expect(planFirstLoader({ ...asking, client: clients.arm64 })).toMatchObject({
    kind: 'none',
    why: 'boot/grub/arm64-efi/core.efi is not built: sysclone bootfiles build aarch64',
  })
  const elilo = node({ netboot: 'elilo', deployment: deployment('armed') })
  expect(planFirstLoader({ ...asking, node: elilo, client: clients.UEFI })).toMatchObject({
    kind: 'none',
    why: expect.stringMatching(/elilo.efi is not built: name it under loaders:/),
  })
  // Firmware without an answer goes on to its disk.
  expect(planFirstLoader({ ...asking, node: node(), client: clients.arm64 }).kind).toBe('silent')
})

const proxied: [name: Name, netboot: Netboot | undefined, file: string][] = [
  ['BIOS', undefined, ipxe.BIOS],
  ['UEFI', undefined, ipxe.UEFI],
  ['arm64', undefined, ipxe.arm64],
  ['iPXE UEFI', undefined, script],
  ['UEFI HTTP', undefined, core['UEFI HTTP']], // its own address is a URL: GRUB knows its server
  ['UEFI', 'grub2', uefi], // for those whose DHCP names us as the next server
]
for (const [name, netboot, file] of proxied)
  for (const armed of [true, false])
    test(`GRUB: after a proxy's offer it asks the DHCP server, so ${name} gets ${file} (netboot=${netboot ?? ''}${armed ? '' : ', own disk'})`, () => {
      const asked = node({ ...(netboot && { netboot }), ...(armed && { deployment: deployment('armed') }) })
      const asking = { client: clients[name], mac, node: asked, server, built }
      expect(brief(planFirstLoader({ ...asking, proxy: true }))).toBe(file)
    })

test('beside another DHCP server GRUB is better than nothing where there is no iPXE', () => {
  const asking = { client: clients.UEFI, mac, node: node(), server, built: new Set([uefi]) }
  expect(brief(planFirstLoader({ ...asking, proxy: true }))).toBe(uefi)
})

test('offline: silence', () => {
  const gone = node({ offline: true, deployment: deployment('armed') })
  expect(planFirstLoader({ client: clients.UEFI, mac, node: gone, server, built }).kind).toBe('silent')
})

test('a definition says what firmware without option 93 is', () => {
  const told = (arch: 'x86_64' | 'aarch64') =>
    brief(
      planFirstLoader({
        client: clients['SLOF, DISCOVER'],
        mac,
        node: node({ arch, deployment: deployment('armed') }),
        server,
        built,
      }),
    )
  expect([told('x86_64'), told('aarch64')]).toEqual([bios, arm])
})

test('iPXE, whatever it says of itself, is never sent to iPXE again: no circle', () => {
  const ipxeFiles = Object.keys({ ...loaderFiles.x86_64, ...loaderFiles.aarch64 }).filter((name) =>
    /ipxe/.test(name),
  )
  expect(ipxeFiles).toHaveLength(4)
  for (const name of captureNames.filter((each) => each.startsWith('ipxe')))
    for (const netboot of ['none', ...netboots])
      for (const armed of [true, false])
        expect(ipxeFiles).not.toContain(
          brief(ask(clientOf(decodeOptions(parsePacket(capture(name)).options)), netboot, armed)),
        )
})

test('law: a UEFI client is never given an empty file name: EDK2 stops there', () => {
  const some = fc.subarray([...built])
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(clients)),
      fc.constantFrom(...netboots),
      some,
      (name, netboot, few) => {
        const client: Client = clients[name as Name]
        const loader = planFirstLoader({ client, mac, node: node({ netboot }), server, built: new Set(few) })
        if (loader.kind === 'file') expect(brief(loader)).not.toBe('')
        // A machine that is to start its own disk is led there or not answered.
        if (client.machine?.firmware === 'uefi') expect(loader.kind).not.toBe('none')
      },
    ),
  )
})

// Machines that nobody defined: codes, places, what stands on their screens.
import { describe, expect, test } from 'vitest'
import { type Ipv4, type Mac, parseSubnet } from '../../src/address.ts'
import { renderGrub } from '../../src/boot/grub.ts'
import { renderIpxe } from '../../src/boot/ipxe.ts'
import { indexNodes, resolveName } from '../../src/boot/names.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { planBoot } from '../../src/boot/policy.ts'
import {
  besideNodes,
  isSerial,
  makeStrangers,
  strangerIn,
  strangerNode,
  uuidText,
} from '../../src/boot/strangers.ts'
import { discoverAs } from '../../src/dhcp/asking.ts'
import { makeDryRun } from '../../src/dhcp/dry-run.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { readRequest } from '../../src/dhcp/request.ts'
import { capture } from '../dhcp/captures.ts'

const server = '10.0.0.1' as Ipv4
const macOf = (n: number) =>
  `52:54:00:00:${String(n >> 8).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}` as Mac
const minute = 60_000
const limits = { count: 10, perSecond: 20, quietMs: 30 * minute, yieldMs: 5 * minute }
/** Counts up, so that neighbours differ in one digit. */
function counting(start = 0) {
  let next = start
  return () => next++
}

describe('codes', () => {
  test('a machine keeps its code however often it asks; two never have one', () => {
    const strangers = makeStrangers(counting())
    const first = strangers.heard({ mac: macOf(1), server }, 0)!.stranger
    const second = strangers.heard({ mac: macOf(2), server, machine: 'uefi x86_64' }, 1)!.stranger
    expect(first.code).not.toBe(second.code)
    expect(strangers.heard({ mac: macOf(1), server, address: '10.0.0.100' as Ipv4 }, 5)).toEqual({
      isNew: false,
      stranger: { ...first, address: '10.0.0.100', lastSeen: 5 },
    })
    expect(strangers.list(5).map(({ mac }) => mac)).toEqual([macOf(1), macOf(2)])
  })

  test('one digit typed wrongly is nobody’s code', () => {
    const strangers = makeStrangers(counting())
    for (let n = 0; n < 100; n++) strangers.heard({ mac: macOf(n), server }, 0)
    const codes = strangers.list(0).map(({ code }) => code)
    const distances = codes.flatMap((a, i) =>
      codes.slice(i + 1).map((b) => [...a].filter((d, at) => d !== b[at]).length),
    )
    expect(Math.min(...distances)).toBeGreaterThanOrEqual(2)
    expect(codes.length).toBeGreaterThan(15)
    expect(codes.every((code) => /^\d{6}$/.test(code))).toBe(true)
  })

  test('a code expires with the machine that is quiet; what is learnt is kept until then', () => {
    const strangers = makeStrangers(counting())
    strangers.heard({ mac: macOf(1), server, uuid: 'u', machine: 'bios x86_64' }, 0)
    strangers.named(macOf(1), { serial: 'S123' }, 20 * minute)
    strangers.named(macOf(1), {}, 40 * minute)
    expect(strangers.list(69 * minute)).toMatchObject([
      { uuid: 'u', serial: 'S123', machine: 'bios x86_64', lastSeen: 40 * minute },
    ])
    expect(strangers.list(71 * minute)).toEqual([])
    expect(strangers.get(macOf(1))).toBeUndefined()
  })

  test('a clock that is set back by a day does not keep those that are gone', () => {
    const strangers = makeStrangers(counting())
    const day = 24 * 60 * minute
    strangers.heard({ mac: macOf(1), server }, day)
    strangers.heard({ mac: macOf(2), server }, minute)
    expect(strangers.list(2 * minute)).toHaveLength(2)
    strangers.named(macOf(2), {}, 20 * minute)
    expect(strangers.list(35 * minute).map(({ mac }) => mac)).toEqual([macOf(2)])
  })

  test('a flood of made-up machines takes no place of one that waits, and memory is bounded', () => {
    const strangers = makeStrangers(counting(), limits)
    const real = strangers.heard({ mac: macOf(1), server }, 0, true)!.stranger
    for (let n = 2; n < 5000; n++) strangers.heard({ mac: macOf(n), server }, n)
    expect(strangers.list(5000).length).toBe(10)
    expect(strangers.get(macOf(1))).toEqual(real)
  })

  test('among made-up machines, a real one that comes later gets a place: at the latest when its loader asks', () => {
    const strangers = makeStrangers(counting(), limits)
    let now = 0
    const flood = () => {
      for (let n = 0; n < 1000; n++) strangers.heard({ mac: macOf(100 + n), server }, now++)
    }
    flood()
    for (let n = 0; n < 10; n++) {
      flood()
      expect(strangers.heard({ mac: macOf(n), server }, now, true)).toMatchObject({ isNew: true })
      flood()
    }
    expect(strangers.list(now).map(({ mac }) => mac)).toEqual(Array.from({ length: 10 }, (_, n) => macOf(n)))
    // All ten have a screen: the next one waits until one of them is quiet.
    expect(strangers.heard({ mac: macOf(50), server }, now, true)).toBeUndefined()
    expect(strangers.heard({ mac: macOf(50), server }, now + 6 * minute, true)).toMatchObject({ isNew: true })
  })

  test('a flood makes few codes a second: to find one that is unlike all others takes its time', () => {
    let made = 0
    const strangers = makeStrangers((below) => (made++ * 7919) % below, limits)
    for (let n = 0; n < 5000; n++) strangers.heard({ mac: macOf(n), server }, n / 1000)
    expect(strangers.list(5).length).toBe(10)
    expect(made).toBeLessThan(5 * 20 + 60)
  })
})

describe('what loaders ask', () => {
  const rows: [string, string | undefined, string | undefined, secure?: true][] = [
    ['boot/known/52-54-00-77-00-11/secure/serial/ABC', '52:54:00:77:00:11', 'ABC', true],
    ['boot/known/52-54-00-77-00-11/secure/serial/', '52:54:00:77:00:11', '', true],
    ['boot/ipxe/52-54-00-77-00-11', '52:54:00:77:00:11', undefined],
    ['boot/ipxe/52-54-00-77-00-11/serial', '52:54:00:77:00:11', ''],
    ['boot/ipxe/52-54-00-01-00-11/serial/ABC 12/3', '52:54:00:01:00:11', 'ABC 12/3'],
    ['boot/grub/grub.cfg-01-52-54-00-77-00-11', '52:54:00:77:00:11', undefined],
    ['grub/grub.cfg-01-52:54:00:77:00:AA', '52:54:00:77:00:aa', undefined],
    ['pxelinux.cfg/01-52-54-00-77-00-11', '52:54:00:77:00:11', undefined],
    ['boot/grub/i386-pc/core.0', undefined, undefined],
    ['blobs/sha256/525400770011', undefined, undefined],
  ]
  for (const [name, mac, serial, secureBoot] of rows)
    test(name, () => {
      const said = { ...(serial !== undefined && { serial }), ...(secureBoot && { secureBoot }) }
      expect(strangerIn(name)).toEqual(mac && { mac, ...said })
    })

  const mac = macOf(1)
  const stranger = { mac, code: '012345', server, serial: 'S1', firstSeen: 0, lastSeen: 0 }
  const node = { name: 'n2', mac: [macOf(2)], kernelArgs: [] } as unknown as BootNode
  const nodes = besideNodes(indexNodes([node]), (other) =>
    other === mac || other === macOf(2) ? strangerNode(other, stranger) : undefined,
  )
  const us = { address: server, httpPort: 80, imagePort: 8081 }
  const resolve = (name: string) =>
    resolveName(name, { address: '10.0.0.100' as Ipv4 }, { nodes, loaders: new Set(), server: us })

  test('each loader gets the screen under the name it asks by; a node is never hidden by a stranger', () => {
    const dashes = mac.replaceAll(':', '-')
    for (const name of [
      `boot/grub/grub.cfg-01-${dashes}`,
      `boot/ipxe/${dashes}`,
      `boot/ipxe/${dashes}/serial/S1`,
    ])
      expect(resolve(name)).toMatchObject({ kind: 'text', plan: { kind: 'hold', asksOn: mac } })
    expect(resolve(`boot/ipxe/${macOf(2).replaceAll(':', '-')}`)).toMatchObject({ plan: { kind: 'local' } })
    expect(resolve(`boot/ipxe/${macOf(3).replaceAll(':', '-')}`)).toBeUndefined()
    for (const form of ['serial/S1', 'serial', 'secure/serial/S1', 'secure/serial'])
      expect(resolve(`boot/known/${dashes}/${form}`)).toEqual({ kind: 'fixed', text: '' })
    expect(resolve(`boot/known/${macOf(2).replaceAll(':', '-')}/serial`)).toEqual({
      kind: 'fixed',
      text: 'known\n',
    })
  })

  test('the screen has MAC and code, and asks on', () => {
    const plan = planBoot(strangerNode(mac, stranger), us)!
    for (const text of [renderGrub(plan, us), renderIpxe(plan, us, { name: 'x' })])
      for (const shown of [mac, '012345', 'sysclone adopt 012345 NAME']) expect(text).toContain(shown)
    expect(renderIpxe(plan, us, { name: 'x' })).toContain(
      'chain --replace --autofree http://10.0.0.1/boot/ipxe/52-54-00-00-00-01/serial/${serial:uristring} || goto again',
    )
    expect(renderGrub(plan, us)).toContain("set known='(tftp,10.0.0.1)/boot/known/52-54-00-00-00-01'")
  })
})

test('option 97 as SMBIOS tools show it; what no maker set is none', () => {
  const request = readRequest(parsePacket(capture('ovmf-pxe-discover')))
  const uuid = request.kind === 'request' ? request.options.uuid : undefined
  expect(uuid).toHaveLength(17)
  expect(uuidText(Buffer.from('0033221100554477668899aabbccddeeff', 'hex'))).toBe(
    '00112233-4455-6677-8899-aabbccddeeff',
  )
  for (const junk of [
    '00'.repeat(17),
    `00${'ff'.repeat(16)}`,
    '0000020003000400050006000700080009',
    '01',
    '',
  ])
    expect(uuidText(Buffer.from(junk, 'hex'))).toBeUndefined()
  expect(uuidText(undefined)).toBeUndefined()
})

test('a placeholder is no serial number', () => {
  for (const serial of ['CZ1234', 'VMware-42 1a', '7']) expect(isSerial(serial)).toBe(true)
  for (const serial of [
    '',
    '0',
    '0000',
    'To be filled by O.E.M.',
    'Default string',
    'None',
    'Not Specified',
    ' x',
    'a\nb',
  ])
    expect(isSerial(serial)).toBe(false)
})

describe('DHCP', () => {
  const network = {
    subnet: parseSubnet('10.0.0.0/24'),
    address: server,
    pool: { from: '10.0.0.100' as Ipv4, to: '10.0.0.110' as Ipv4 },
  }
  const world = {
    serverOf: () => ({ address: server, httpPort: 80, imagePort: 8081 }),
    nodes: indexNodes([]),
    built: new Set(['boot/grub/x86_64-efi/core.efi']),
    ...{ leases: [], waiting: [], now: 1e12 },
  }
  const asked = (more: object, as: Parameters<typeof discoverAs>[0]) =>
    makeDryRun({ ...world, networks: [{ ...network, ...more }] })({
      request: discoverAs(as, macOf(1)),
      replies: [],
    })

  test('off: an unknown machine gets nothing to boot; hold: a pool address and a loader', () => {
    expect(asked({}, 'uefi-x64').file).toBeUndefined()
    expect(asked({ discovery: 'hold' }, 'uefi-x64')).toMatchObject({
      answer: 'offer',
      file: 'boot/grub/x86_64-efi/core.efi',
    })
    expect(asked({ discovery: 'hold' }, 'ipxe-bios').file).toBe('http://10.0.0.1/boot/ipxe/52-54-00-00-00-01')
    expect(asked({ discovery: 'hold' }, 'system').file).toBeUndefined()
    const shim = 'boot/shim/x86_64/shimx64.efi'
    const secure = {
      ...world,
      built: new Set([...world.built, shim]),
      networks: [{ ...network, discovery: 'hold' as const }],
    }
    expect(makeDryRun(secure)({ request: discoverAs('uefi-x64', macOf(1)), replies: [] }).file).toBe(shim)
    const { pool: _, ...proxy } = network
    const run = makeDryRun({ ...world, networks: [{ ...proxy, mode: 'proxy', discovery: 'hold' }] })
    expect(run({ request: discoverAs('uefi-x64', macOf(1)), replies: [] })).toMatchObject({ answer: 'offer' })
  })
})

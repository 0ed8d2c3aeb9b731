// What real firmware needs of a reply: one test a rule, named after what it says and whose firmware needs it. Requests
// are captured ones, with the facts of machines that were not at hand put in.
import { expect, test } from 'vitest'
import { type Digest, type Ipv4, parseMac } from '../../src/address.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import { machineName } from '../../src/dhcp/client.ts'
import { bootServerDestination, destinationOf, usualPorts } from '../../src/dhcp/delivery.ts'
import type { Lease } from '../../src/dhcp/leases.ts'
import type { Options } from '../../src/dhcp/options.ts'
import { type Packet, parsePacket, serializePacket } from '../../src/dhcp/packet.ts'
import { bootServerAnswer, proxyAnswer } from '../../src/dhcp/proxy.ts'
import { type Answer, answer } from '../../src/dhcp/reply.ts'
import { roomFor } from '../../src/dhcp/request.ts'
import type { Network } from '../../src/node/network.ts'
import { deployment } from '../boot/nodes.ts'
import { capture } from './captures.ts'
import {
  context,
  ip,
  mac,
  network,
  node,
  now,
  optionsOf,
  pooled,
  replyOf,
  request,
  requestOf,
  requestWithout,
  server,
} from './cases.ts'

const efi = 'boot/grub/x86_64-efi/core.efi'
const bios = 'boot/grub/i386-pc/core.0'
const arm = 'boot/grub/arm64-efi/core.efi'
const petitbootConfig = 'http://10.77.0.1/boot/petitboot/52-54-00-77-00-11'
const proxied: Network = { ...network, mode: 'proxy' }
const pxe = (arch: number) => `PXEClient:Arch:${String(arch).padStart(5, '0')}:UNDI:003000`

/** iPXE's ROM without what makes it iPXE is a BIOS ROM. */
const biosRom = () => requestWithout('ipxe-rom-discover', [77, 175])
const nodeOf = (asked: { mac: BootNode['mac'][number] }, more: Partial<BootNode> = {}): BootNode => ({
  ...{ ...node, mac: [asked.mac] },
  ...more,
})
const inDhcp = (asked: ReturnType<typeof request>, more: Partial<BootNode> = {}) =>
  answer(asked, context({ node: nodeOf(asked, more) }))
const inProxy = (asked: ReturnType<typeof request>) =>
  proxyAnswer(asked, context({ node: nodeOf(asked), network: proxied }))
const at4011 = (asked: ReturnType<typeof request>, net = proxied) =>
  bootServerAnswer(asked, context({ node: nodeOf(asked), network: net }))
const bytesOf = (answered: Answer, asked: ReturnType<typeof request>) =>
  serializePacket(replyOf(answered), roomFor(asked))
const digest = `sha256:${'0'.repeat(64)}` as Digest
const armed: NonNullable<BootNode['deployment']> = {
  ...{ id: 'd1', state: 'armed', image: 'img:1', token: '00', initrds: [] },
  kernel: { digest, bytes: 1 },
}
const codes = (answered: Answer) => [...replyOf(answered).options.keys()]

// ---- which replies a client accepts ----

test('BIOS ROM: a proxy offer says "use this file" (43 = 06 01 08 ff) and names it', () => {
  const answered = inProxy(biosRom())
  expect(replyOf(answered)).toMatchObject({
    yiaddr: '0.0.0.0',
    ciaddr: '0.0.0.0',
    siaddr: '10.77.0.1',
    file: bios,
  })
  const { vendorOptions, vendorClass, serverId, bootFile } = optionsOf(answered)
  expect(vendorOptions?.toString('hex')).toBe('060108ff')
  expect({ vendorClass, serverId, bootFile }).toEqual({
    vendorClass: 'PXEClient',
    serverId: '10.77.0.1',
    bootFile: bios,
  })
})

// Of 32-bit firmware only iPXE gets anything: there is no loader of ours for it.
for (const [arch, vendorClass, capture] of [
  [6, 'PXEClient', 'ipxe-efi-discover'],
  [7, 'PXEClient', 'ovmf-pxe-discover'],
  [7, 'PXEClient', 'ipxe-efi-discover'],
  [9, 'PXEClient', 'ovmf-pxe-discover'],
  [11, 'PXEClient', 'aavmf-pxe-discover'],
  [11, 'PXEClient', 'ipxe-arm64-discover'],
  [16, 'HTTPClient', 'ovmf-http-discover'],
  [19, 'HTTPClient', 'aavmf-http-discover'],
] as const)
  test(`EDK2 of 2014-2016 (${capture}, arch ${arch}): a proxy offer has no option 43, or the first one is lost`, () => {
    const own = vendorClass + pxe(arch).slice('PXEClient'.length)
    const asked = request(capture, { clientArchs: [arch], vendorClass: own })
    const answered = inProxy(asked)
    expect(parsePacket(bytesOf(answered, asked)).options.has(43)).toBe(false)
    expect(replyOf(answered)).toMatchObject({ siaddr: '10.77.0.1', yiaddr: '0.0.0.0' })
    expect(replyOf(answered).file).not.toBe('')
    expect(optionsOf(answered)).toMatchObject({ vendorClass, serverId: '10.77.0.1' })
  })
test('32-bit UEFI (arch 6): there is no loader for it, and a proxy that has none says nothing', () => {
  const asked = request('ovmf-pxe-discover', { clientArchs: [6], vendorClass: pxe(6) })
  expect(inProxy(asked)).toEqual({ kind: 'ignore', why: 'no boot file: no loader for uefi i386' })
})

test('EDK2 asks port 4011 next, and gets its file there, with identifiers and its real address back', () => {
  const uuid = Buffer.from('0011111111222233334444555555555555', 'hex')
  const asked = request('ovmf-pxe-request', { uuid }, { ciaddr: ip('10.77.0.150') })
  for (const net of [proxied, network]) {
    const answered = at4011(asked, net)
    expect(answered.kind).toBe('ack')
    expect(replyOf(answered)).toMatchObject({
      ciaddr: '10.77.0.150',
      yiaddr: '0.0.0.0',
      siaddr: '10.77.0.1',
      file: efi,
    })
    expect(optionsOf(answered)).toMatchObject({
      ...{ messageType: 5, serverId: '10.77.0.1', vendorClass: 'PXEClient', uuid },
      ...{ bootFile: efi },
    })
    expect(answered).not.toHaveProperty('lease')
  }
})

test('port 4011: the answer goes where the request came from, be it port 68 (BIOS) or 4011 (EDK2)', () => {
  for (const port of [68, 4011, 1234]) {
    const peer = { address: ip('10.77.0.150'), port }
    expect(bootServerDestination(peer)).toEqual(peer)
  }
  expect(bootServerDestination({ address: ip('0.0.0.0'), port: 68 })).toEqual({
    address: '255.255.255.255',
    port: 68,
  })
})

test('EDK2: our own DHCP offer has no option 60, or it would leave our file and ask port 4011', () => {
  const chosen = { serverId: network.address, requestedAddress: node.ip! }
  for (const asked of [request('ovmf-pxe-discover'), request('ovmf-pxe-request', chosen), biosRom()]) {
    const answered = inDhcp(asked)
    expect(codes(answered)).not.toContain(60)
    expect(codes(answered)).not.toContain(43)
    expect(replyOf(answered).file).not.toBe('')
  }
})

test('EDK2 skips an offer without a file and hangs: it is never sent one', () => {
  const asked = request('ovmf-pxe-discover', { clientArchs: [11], vendorClass: pxe(11) })
  const none = { built: new Set<string>() }
  const armed = nodeOf(asked, { deployment: deployment('armed') })
  expect(answer(asked, { ...context({ node: armed }), ...none })).toEqual({
    kind: 'ignore',
    why: expect.stringMatching(/^no boot file: .*arm64.* is not built/),
  })
  expect(answer(asked, context({ network: pooled })).kind).toBe('ignore')
})

test('EDK2 takes an address that begins with 0 for none: all four bytes of a proxy offer are 0', () => {
  const bytes = bytesOf(inProxy(request('ovmf-pxe-discover')), request('ovmf-pxe-discover'))
  expect(bytes.subarray(16, 20).toString('hex')).toBe('00000000')
  expect(bytes[20]).toBe(10)
})

test('iPXE: a proxy offer has option 60, siaddr and file, so that it need not ask port 4011', () => {
  const answered = inProxy(request('ipxe-rom-discover'))
  const script = 'http://10.77.0.1/boot/ipxe/52-54-00-77-00-12'
  expect(replyOf(answered)).toMatchObject({ siaddr: '10.77.0.1', file: script })
  expect(optionsOf(answered)).toMatchObject({ vendorClass: 'PXEClient', bootFile: script })
})

test('iPXE waits 2 s for a proxy unless 175 = b0 01 01: said in offer and ACK, and never by a proxy', () => {
  const asked = request('ipxe-rom-discover')
  const chosen = request('ipxe-rom-request', { serverId: network.address, requestedAddress: node.ip! })
  expect(optionsOf(inDhcp(asked)).ipxe?.toString('hex')).toBe('b00101')
  expect(optionsOf(inDhcp(chosen)).ipxe?.toString('hex')).toBe('b00101')
  expect(codes(inProxy(asked))).not.toContain(175)
  expect(codes(inDhcp(request('ovmf-pxe-discover')))).not.toContain(175)
})

test('iPXE: offer and ACK name the same server', () => {
  const chosen = request('ipxe-rom-request', { serverId: network.address, requestedAddress: node.ip! })
  const ids = [inDhcp(request('ipxe-rom-discover')), inDhcp(chosen)].map((each) => optionsOf(each).serverId)
  expect(ids).toEqual(['10.77.0.1', '10.77.0.1'])
})

test('a proxy says nothing to systems, to unknown machines, and to REQUESTs for the real server', () => {
  const system = request('udhcpc-discover')
  expect(inProxy(system)).toEqual({ kind: 'ignore', why: expect.stringMatching(/neither a PXE nor/) })
  const firmware = request('ovmf-pxe-discover')
  expect(proxyAnswer(firmware, context({ network: proxied }))).toMatchObject({ why: 'unknown machine' })
  const offline = context({ node: nodeOf(firmware, { offline: true }), network: proxied })
  expect(proxyAnswer(firmware, offline)).toMatchObject({ why: 'offline' })
  for (const name of ['ovmf-pxe-request', 'udhcpc-renew', 'udhcpc-release'])
    expect(inProxy(request(name)).kind, name).toBe('ignore')
})

test('Secure Boot beside another DHCP server: shim takes its server from that one, so it is said what that must be', () => {
  const shim = 'boot/shim/x86_64/shimx64.efi'
  const asked = request('ovmf-pxe-discover')
  const world = context({ node: nodeOf(asked, { netboot: 'shim' }), network: proxied })
  const answered = proxyAnswer(asked, { ...world, built: new Set([shim]) })
  expect(answered).toMatchObject({
    kind: 'offer',
    file: { name: shim, warning: expect.stringMatching(/next-server.*10\.77\.0\.1$/) },
  })
  expect(inProxy(asked)).not.toHaveProperty('file.warning')
})

test('two offers are not put together by all firmware: a proxy is never needed where we are the DHCP server', () => {
  // One offer has address and file; nothing in it sends the client to a second server.
  for (const name of ['ovmf-pxe-discover', 'ipxe-rom-discover', 'slof-discover'])
    expect(replyOf(inDhcp(request(name)))).toMatchObject({ yiaddr: '10.77.0.21', siaddr: expect.any(String) })
})

test('petitboot: 209 is the whole URL of its configuration, 210 ends in a slash, and there is no file', () => {
  const answered = inDhcp(petitboot(14), { deployment: armed })
  const { configFile, bootFile } = optionsOf(answered)
  expect(configFile).toBe('http://10.77.0.1/boot/petitboot/52-54-00-77-00-21')
  expect(bootFile).toBeUndefined()
  expect(replyOf(answered)).toMatchObject({ file: '', siaddr: '10.77.0.1' })
  const read = parsePacket(bytesOf(answered, petitboot(14))).options
  expect(read.get(209)?.toString('latin1')).toBe(configFile)
  expect(read.get(210)?.toString('latin1')).toBe('http://10.77.0.1/') // names are appended to it as they are
})

test('option 210 is for petitboot alone, and never without 209', () => {
  for (const name of ['ovmf-pxe-discover', 'ovmf-http-discover', 'ipxe-rom-discover', 'slof-discover'])
    for (const code of [209, 210])
      expect(codes(inDhcp(request(name), { deployment: armed })), name).not.toContain(code)
  const ownDisk = inDhcp(petitboot(14))
  for (const code of [209, 210]) expect(codes(ownDisk)).not.toContain(code)
})

test('SLOF never gets a 209: it would leave its boot file and load nothing', () => {
  for (const name of ['slof-discover', 'slof-request']) {
    const asked = request(name, { serverId: network.address, requestedAddress: node.ip! })
    for (const netboot of ['grub2', 'pxe', 'petitboot'] as const) {
      const answered = inDhcp(asked, { netboot, arch: 'ppc64le', deployment: armed })
      if ('reply' in answered) expect(codes(answered), `${name} ${netboot}`).not.toContain(209)
    }
  }
})

test('UEFI HTTP boot beside another DHCP server: option 60 HTTPClient and a URL', () => {
  const answered = inProxy(request('ovmf-http-discover'))
  expect(optionsOf(answered)).toMatchObject({
    vendorClass: 'HTTPClient',
    bootFile: `http://10.77.0.1/${efi}`,
  })
})

test('Dell firmware drops to disk on a NAK race: an address is held from its offer on, one for each machine', () => {
  const asked = request('ipxe-rom-discover')
  const first = answer(asked, context({ network: pooled }))
  if (first.kind !== 'offer') throw new Error(first.kind)
  expect(first.lease).toEqual({ type: 'offer', mac: asked.mac, address: first.address, now })
  const held = { mac: asked.mac, address: first.address, state: 'held' as const, until: now + 1 }
  const again = answer(asked, context({ network: pooled, leases: [held] }))
  expect(again).toMatchObject({ kind: 'offer', address: first.address })
  const other = request('udhcpc-discover', { requestedAddress: first.address })
  const theirs = answer(other, context({ network: pooled, leases: [held] }))
  expect(theirs.kind).toBe('offer')
  expect('address' in theirs && theirs.address).not.toBe(first.address)
})

test('thirty machines that start at once: an address is of the machine, not of who asks first, and none gets a NAK', () => {
  const big = { ...pooled, pool: { from: ip('10.77.0.100'), to: ip('10.77.0.199') } }
  const asks = (name: string, n: number, leases: Lease[], options: Options = {}) => {
    const chaddr = Buffer.alloc(16)
    chaddr.set([0x52, 0x54, 0, 0x77, 1, n * 7])
    const asked = request(name, options, { chaddr })
    return { asked, answered: answer(asked, context({ network: big, leases })) }
  }
  const offers = (machines: number[]): Lease[] => {
    const leases: Lease[] = []
    for (const n of machines) {
      const { asked, answered } = asks('udhcpc-discover', n, leases)
      if (answered.kind !== 'offer') throw new Error(answered.kind)
      leases.push({ mac: asked.mac, address: answered.address, state: 'held', until: now + 1000 })
    }
    return leases
  }
  const machines = Array.from({ length: 30 }, (_, n) => n)
  const leases = offers(machines)
  expect(new Set(leases.map(({ address }) => address)).size).toBe(30)
  const byMac = (list: Lease[]) => Object.fromEntries(list.map(({ mac, address }) => [mac, address]))
  expect(byMac(offers(machines.toReversed()))).toEqual(byMac(leases))
  // Each asks for what it was offered while the others hold theirs.
  for (const [n, { address }] of leases.entries()) {
    const chosen = { serverId: network.address, requestedAddress: address }
    expect(asks('udhcpc-request', n, leases, chosen).answered).toMatchObject({ kind: 'ack', address })
  }
})

// ---- fields and options ----

test('op, htype, hlen, xid, flags, giaddr, chaddr: copied', () => {
  const header = { flags: 0x8001, giaddr: ip('10.77.0.253') }
  const asked = request('ovmf-pxe-discover', {}, header)
  const reply = replyOf(inDhcp(asked))
  const { htype, hlen, xid, chaddr } = asked.packet
  expect(reply).toMatchObject({ op: 'reply', htype, hlen, xid, chaddr, ...header, hops: 0, secs: 0 })
})

test('hlen above 16 is malformed; an Ethernet card has 6', () => {
  const bytes = capture('udhcpc-discover')
  bytes[2] = 17
  expect(() => parsePacket(bytes)).toThrow(/hlen: 17/)
  expect(() => request('udhcpc-discover', {}, { hlen: 16 })).toThrow(/no card/)
})

test('delivery: to the relay, to the address that the client has, else to all; a NAK to all', () => {
  const to = (header: Partial<Packet>, refusal = false) => {
    const reply = { ...replyOf(inDhcp(request('udhcpc-discover'))), ...header }
    const { address, port } = destinationOf(reply, { refusal, ports: usualPorts })
    return `${address}:${port}`
  }
  const ciaddr = ip('10.77.0.21')
  const giaddr = ip('10.77.0.253')
  expect(to({ giaddr, ciaddr })).toBe('10.77.0.253:67')
  expect(to({ ciaddr })).toBe('10.77.0.21:68')
  expect(to({ flags: 0 })).toBe('255.255.255.255:68')
  expect(to({ ciaddr }, true)).toBe('255.255.255.255:68')
  expect(to({ ciaddr, giaddr }, true)).toBe('10.77.0.253:67')
})

test('option 54 is in offer, ACK and NAK', () => {
  const wrong = request('udhcpc-request', { serverId: network.address, requestedAddress: ip('10.77.0.77') })
  const right = request('udhcpc-request', { serverId: network.address, requestedAddress: node.ip! })
  for (const [asked, kind] of [
    [request('udhcpc-discover'), 'offer'],
    [right, 'ack'],
    [wrong, 'nak'],
  ] as const) {
    const answered = inDhcp(asked)
    expect([answered.kind, optionsOf(answered).serverId]).toEqual([kind, '10.77.0.1'])
  }
})

test("a REQUEST with another server's 54 is dropped silently, and told as another server", () => {
  const asked = request('udhcpc-request', { serverId: ip('10.77.0.9') })
  expect(inDhcp(asked)).toMatchObject({ kind: 'ignore', server: '10.77.0.9' })
})

test('option 61 comes back (RFC 6842), also in a NAK, and is never what an address depends on (RFC 4361)', () => {
  const ids = ['01525400770021', 'ff00000001000100012c3d4e5f525400770021', '00736f6d657468696e67']
  const given = ids.map((hex) => {
    const clientId = Buffer.from(hex, 'hex')
    const answered = answer(request('udhcpc-discover', { clientId }), context({ network: pooled }))
    expect(optionsOf(answered).clientId).toEqual(clientId)
    return 'address' in answered && answered.address
  })
  expect(new Set(given).size).toBe(1)
  const clientId = Buffer.from(ids[1]!, 'hex')
  const wrong = { serverId: network.address, requestedAddress: ip('10.77.0.77'), clientId }
  expect(optionsOf(inDhcp(request('udhcpc-request', wrong))).clientId).toEqual(clientId)
})

test('option 82 comes back byte for byte, even if nobody can read it, and last before END', () => {
  const relayInfo = Buffer.from('0104aabbccdd0200ff05', 'hex')
  const asked = request('ovmf-pxe-discover', { relayInfo }, { giaddr: ip('10.77.0.253') })
  const bytes = bytesOf(inDhcp(asked), asked)
  const end = bytes.lastIndexOf(255)
  expect(bytes.subarray(end - 12, end).toString('hex')).toBe(`520a${relayInfo.toString('hex')}`)
})

test('option 51: minutes for firmware, which never renews, hours for a system', () => {
  const seconds = (name: string) => optionsOf(inDhcp(request(name))).leaseSeconds
  for (const name of ['ovmf-pxe-discover', 'ipxe-rom-discover', 'ovmf-http-discover'])
    expect(seconds(name)).toBe(300)
  expect(seconds('udhcpc-discover')).toBe(43_200)
  expect(seconds('dhclient-discover')).toBe(43_200)
})

test('option 93: the first known value counts; 7 and 9 are both x64', () => {
  for (const clientArchs of [[7], [9], [0x99, 7], [0x99, 0x98, 9]])
    expect(replyOf(inDhcp(request('ovmf-pxe-discover', { clientArchs }))).file).toBe(efi)
  expect(replyOf(inDhcp(request('ovmf-pxe-discover', { clientArchs: [0] }))).file).toBe(bios)
})

// Each value that the rule has: what the client is, and what it loads first; `why` when there is nothing for it.
const machines: [code: number, what: string, loads: { file?: string; configFile?: string; why?: string }][] =
  [
    [0x00, 'bios x86_64', { file: bios }],
    [0x06, 'uefi i386', { why: 'no boot file: no loader for uefi i386' }],
    [0x07, 'uefi x86_64', { file: efi }],
    [0x09, 'uefi x86_64', { file: efi }],
    [0x0a, 'uefi arm', { why: 'no boot file: no loader for uefi arm' }],
    [0x0b, 'uefi aarch64', { file: arm }],
    [0x0c, 'openfirmware ppc64le', { file: 'boot/grub/powerpc-ieee1275/core.elf' }],
    [0x0d, 'opal ppc64le', { configFile: petitbootConfig }],
    [0x0e, 'opal ppc64le', { configFile: petitbootConfig }],
    [0x0f, 'uefi i386', { why: 'no loader for uefi i386' }],
    [0x10, 'uefi x86_64', { file: `http://10.77.0.1/${efi}` }],
    [0x11, 'uefi x86_64', { file: `http://10.77.0.1/${efi}` }],
    [0x12, 'uefi arm', { why: 'no loader for uefi arm' }],
    [0x13, 'uefi aarch64', { file: `http://10.77.0.1/${arm}` }],
    [0x19, 'uefi riscv32', { why: 'no boot file: no loader for uefi riscv32' }],
    [0x1b, 'uefi riscv64', { why: 'no boot file: no loader for uefi riscv64' }],
    [0x1f, 'bios s390x', { why: 'no loader for bios s390x' }],
    [0x27, 'uefi loongarch64', { why: 'no boot file: no loader for uefi loongarch64' }],
    [0x29, 'raspberry aarch64', { why: 'no loader for raspberry aarch64' }],
  ]
const byHttp = (code: number) => code >= 0x0f && code <= 0x13
for (const [code, what, { file, configFile, why }] of machines)
  test(`option 93 = 0x${code.toString(16).padStart(2, '0')}: ${what}, ${file ?? configFile ?? why}`, () => {
    const vendorClass = byHttp(code) ? pxe(code).replace('PXE', 'HTTP') : pxe(code)
    const asked = request('ovmf-pxe-discover', { clientArchs: [code], vendorClass })
    expect(machineName(asked.client)).toBe(what)
    expect(asked.client.protocol).toBe(byHttp(code) ? 'http' : 'tftp')
    const answered = inDhcp(asked, { deployment: armed })
    if (answered.kind === 'ignore') return expect(answered.why).toBe(why)
    expect(answered).toMatchObject({
      kind: 'offer',
      file: why === undefined ? { name: file ?? configFile } : { why },
    })
    const options = optionsOf(answered)
    expect([options.bootFile, options.configFile]).toEqual([file, configFile])
    expect(replyOf(answered).file).toBe(file ?? '')
    expect(options.vendorClass).toBe(byHttp(code) && file ? 'HTTPClient' : undefined)
  })

test('option 60: matched by its beginning, answered with exactly PXEClient or HTTPClient', () => {
  const http = request('ovmf-http-discover', { vendorClass: 'HTTPClient:Arch:00019:UNDI:003016' })
  expect(replyOf(inDhcp(http)).options.get(60)?.toString()).toBe('HTTPClient')
  expect(
    replyOf(inProxy(request('ovmf-pxe-discover')))
      .options.get(60)
      ?.toString(),
  ).toBe('PXEClient')
})

// petitboot's udhcpc names itself in option 60 and its architecture in 93; SLOF says neither in its DISCOVER.
const petitboot = (clientArch: number) =>
  request('udhcpc-discover', { clientArchs: [clientArch], parameterList: [1, 3, 6, 54, 67, 209, 210, 211] })
test('no option 60: petitboot and SLOF are firmware all the same', () => {
  for (const asked of [petitboot(14), petitboot(13), request('slof-discover')]) {
    expect(asked.client.kind).toBe('firmware')
    expect(inDhcp(asked)).toMatchObject({ kind: 'offer', leaseSeconds: 300 })
  }
})

test('options 94 and 97 missing: Intel cards omit 97, they are answered', () => {
  const answered = inDhcp(requestWithout('ovmf-pxe-discover', [94, 97]))
  expect(replyOf(answered).file).toBe(efi)
  expect(codes(answered)).not.toContain(97)
})

test('option 97 comes back unchanged, 17 bytes of type 0', () => {
  const uuid = Buffer.from('0003000200040005000006000700080009', 'hex')
  const answered = inDhcp(request('ovmf-pxe-discover', { uuid }))
  expect(optionsOf(answered).uuid).toEqual(uuid)
})

test('option 77: iPXE is known bare, with a length (RFC 3004), and by its older names', () => {
  for (const hex of ['69505845', '0469505845', '67505845', '784e4241', '04784e4241']) {
    const { packet } = biosRom()
    const options = new Map([...packet.options, [77, Buffer.from(hex, 'hex')] as const])
    const asked = requestOf({ ...packet, options })
    expect(replyOf(inDhcp(asked)).file, hex).toBe('http://10.77.0.1/boot/ipxe/52-54-00-77-00-12')
  }
})

test('option 175: iPXE even when a script has set another user class', () => {
  const asked = request('ipxe-rom-discover', { userClasses: ['mine'] })
  expect(asked.client.kind).toBe('ipxe')
})

test('a file of up to 127 bytes is in header and option 67; a longer one in 67 alone; 52 is never used', () => {
  // "http:// address /boot/ipxe/52-54-00-77-00-12" with an address that makes it 127 and 128 bytes long.
  for (const [length, inHeader] of [
    [127, 127],
    [128, 0],
  ] as const) {
    const asked = request('ipxe-rom-discover')
    const around = 'http:///boot/ipxe/52-54-00-77-00-12'.length
    const address = 'x'.repeat(length - around) as Ipv4
    const answered = answer(asked, { ...context({ node: nodeOf(asked) }), server: { ...server, address } })
    expect(replyOf(answered).file).toHaveLength(inHeader)
    expect(optionsOf(answered).bootFile).toHaveLength(length)
    expect(codes(answered)).not.toContain(52)
    const bytes = bytesOf(answered, asked)
    expect(bytes[108 + 127]).toBe(0)
  }
})

test('option 67 ends in NUL: EDK2 writes one over the next tag, ROMs ask for name\\xff without it', () => {
  for (const asked of [request('ovmf-pxe-discover'), request('ovmf-http-discover'), biosRom()])
    expect(replyOf(inDhcp(asked)).options.get(67)?.at(-1)).toBe(0)
  expect(replyOf(inProxy(biosRom())).options.get(67)?.at(-1)).toBe(0)
})

test('sname and option 66 are our address in numbers: SLOF would ask DNS for a name', () => {
  const answered = inDhcp(biosRom())
  expect(replyOf(answered).sname).toBe('10.77.0.1')
  expect(optionsOf(answered).tftpServer).toBe('10.77.0.1')
  const withoutFile = inDhcp(request('udhcpc-discover'))
  expect(replyOf(withoutFile)).toMatchObject({ sname: '', siaddr: '0.0.0.0' })
  expect(codes(withoutFile)).not.toContain(66)
})

test('a gateway is given only when it is in the subnet', () => {
  const outside = { ...network, gateway: ip('10.78.0.1') }
  const asked = request('udhcpc-discover')
  expect(codes(inDhcp(asked))).toContain(3)
  expect(codes(answer(asked, context({ node, network: outside })))).not.toContain(3)
})

test('a reply has at least 300 bytes, also in proxy mode and as NAK', () => {
  const nak = request('udhcpc-request', { serverId: network.address, requestedAddress: ip('10.77.0.77') })
  const all = [
    [inDhcp(nak), nak],
    [inProxy(biosRom()), biosRom()],
    [inDhcp(request('udhcpc-discover')), request('udhcpc-discover')],
  ] as const
  for (const [answered, asked] of all) expect(bytesOf(answered, asked).length).toBeGreaterThanOrEqual(300)
})

test('a reply is no longer than option 57 says; 576 when it says nothing or less', () => {
  const relayInfo = Buffer.alloc(200, 1)
  const clientId = Buffer.alloc(255, 2)
  for (const [maxBytes, most] of [
    [undefined, 548],
    [0, 548],
    [576, 548],
    [700, 672],
    [65_535, 1472],
  ] as const) {
    const options: Options = { relayInfo, clientId, ...(maxBytes !== undefined && { maxBytes }) }
    const asked = requestWithout('udhcpc-discover', [57], options)
    const bytes = bytesOf(inDhcp(asked), asked)
    expect(bytes.length).toBeLessThanOrEqual(most)
    expect(bytes.at(-1) === 255 || bytes.includes(255)).toBe(true)
  }
})

test('RFC 3396: an option above 255 bytes is written in pieces and read whole', () => {
  const clientId = Buffer.from(Array.from({ length: 600 }, (_, i) => i & 255))
  const asked = request('ovmf-pxe-discover', { clientId, maxBytes: 1500 })
  const bytes = bytesOf(inDhcp(asked), asked)
  expect(bytes.includes(Buffer.from([61, 255]))).toBe(true)
  expect(parsePacket(bytes).options.get(61)).toEqual(clientId)
})

// ---- BOOTP (RFC 951, RFC 1534) ----

const bootp = (header: Partial<Packet> = {}) =>
  requestOf({ ...parsePacket(capture('udhcpc-discover')), ...header, options: new Map() })

test('BOOTP: a known node gets its address for good, in 300 bytes and without what only DHCP knows', () => {
  const asked = bootp()
  const answered = inDhcp(asked)
  expect(answered).toMatchObject({ kind: 'ack', address: '10.77.0.21' })
  expect(answered).not.toHaveProperty('lease')
  const bytes = bytesOf(answered, asked)
  expect(bytes.length).toBe(300)
  const much = context({ node, network: { ...network, domain: 'x'.repeat(200) } })
  expect(bytesOf(answer(asked, much), asked).length).toBe(300) // there is no room for more in BOOTP
  expect(parsePacket(bytes)).toMatchObject({ op: 'reply', yiaddr: '10.77.0.21' })
  const read = parsePacket(bytes).options
  for (const code of [51, 53, 54, 58, 59]) expect(read.has(code)).toBe(false)
  expect(read.get(1)?.toString('hex')).toBe('ffffff00')
})

test('BOOTP: never an address of the pool (RFC 1534), nor for a second card', () => {
  expect(answer(bootp(), context({ network: pooled })).kind).toBe('ignore')
  const second = { ...node, mac: [parseMac('02:00:00:00:00:01'), mac] }
  expect(answer(bootp(), context({ node: second, network: pooled })).kind).toBe('ignore')
})

test('BOOTP: a request for another server by name is left to that one', () => {
  expect(inDhcp(bootp({ sname: 'bootsrv' }))).toMatchObject({
    kind: 'ignore',
    why: expect.stringMatching(/bootsrv/),
  })
  expect(inDhcp(bootp({ sname: '10.77.0.1' })).kind).toBe('ack')
})

test('BOOTP without a cookie (RFC 951) and with options that do not end (RFC 1497) is read; what is cut is not', () => {
  const header = capture('udhcpc-discover').subarray(0, 236)
  const plain = Buffer.concat([header, Buffer.alloc(64)])
  expect(parsePacket(plain).options.size).toBe(0)
  const unended = Buffer.concat([header, Buffer.from('63825363'.padEnd(128, '0'), 'hex')])
  expect(parsePacket(unended).options.size).toBe(0)
  for (let length = 0; length < 300; length++)
    for (const whole of [plain, unended]) expect(() => parsePacket(whole.subarray(0, length))).toThrow()
  const vendor = Buffer.concat([header, Buffer.alloc(64, 7)])
  expect(() => parsePacket(vendor)).toThrow(/cookie/)
})

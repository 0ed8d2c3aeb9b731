// What machines got is written down: real clients against the whole server, and main killed in between.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStore } from '../../services/store/store.ts'
import type { Mac } from '../../src/address.ts'
import type { Step } from '../../src/boot/record.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { type Machine, openMachine } from './machine.ts'
import { addresses, mac, openWorld, until, type World } from './world.ts'

let world: World
let machine: Machine
beforeAll(async () => {
  world = await openWorld()
  await world.publish()
  await world.start()
  expect(world.sysclone('mkdef', 'n1', `mac=${mac}`, `ip=${addresses.n1}`)).toMatchObject({
    err: '',
    code: 0,
  })
  expect(world.sysclone('nodeset', 'n1', 'osimage=img')).toMatchObject({ err: '', code: 0 })
  // The machine itself has the address in this test.
  world.inside('ip', 'addr', 'del', `${addresses.n1}/24`, 'dev', 'br0')
  machine = openMachine(world, mac)
}, 240_000)
afterAll(async () => {
  machine?.close()
  await world?.close()
})

async function boots(): Promise<Step[][]> {
  const store = await openStore(join(world.stateDir, 'sysclone.db'))
  try {
    const rows = await store.boots.list({ macs: [mac as Mac] })
    return await Promise.all(rows.map((row) => store.boots.stepsOf(row)))
  } finally {
    await store.close()
  }
}
const shape = (steps: Step[]) =>
  steps.map((step) => {
    if (step.kind === 'dhcp') return `${step.client} ${step.type} ${step.answer}`
    if (step.kind === 'file') return `${step.by} ${step.name} ${step.sent.what}`
    return step.kind === 'end' ? `end ${step.bytes > 0}` : `blob ${step.bytes}`
  })

test('one netboot: every packet with its reply, every name with its text, the kernel', async () => {
  expect(machine.dhcp('bios')).toEqual({ ip: addresses.n1, file: 'boot/grub/i386-pc/core.0' })
  expect(machine.tftp('boot/grub/i386-pc/core.0').code).toBe(0)
  const name = `boot/grub/grub.cfg-01-${mac.replaceAll(':', '-')}`
  const text = machine.tftp(name).out
  expect(text).toContain('sysclone.token=')
  expect(machine.tftp('boot/grub/other').code).not.toBe(0)
  const kernel = /blobs\/sha256\/[0-9a-f]{64}/.exec(text)![0]
  expect(machine.http(`http://${addresses.server}:8081/${kernel}`).body).toBe('kernel')
  await until(
    'all of it is stored',
    async () => (await boots())[0]?.some((step) => step.kind === 'blob') === true,
  )
  const [steps] = await boots()
  expect(shape(steps!)).toEqual([
    'firmware discover offer',
    'firmware request ack',
    'tftp boot/grub/i386-pc/core.0 loader',
    'end true',
    `tftp ${name} text`,
    'end true',
    'tftp boot/grub/other nothing',
    'blob 6',
  ])
  const [first] = steps!
  const reply = first?.kind === 'dhcp' ? parsePacket(Buffer.from(first.reply!, 'base64')) : undefined
  expect(reply).toMatchObject({ yiaddr: addresses.n1, file: 'boot/grub/i386-pc/core.0' })
  expect(steps!.find((step) => step.kind === 'file' && step.sent.what === 'text')).toMatchObject({
    sent: { kind: 'install', text },
  })
})

test('main killed -9 between the answer and its storing: the boot is in the record all the same, once', async () => {
  const [main] = world.pids('main')
  process.kill(main!, 'SIGSTOP') // it takes the batch from nobody
  expect(machine.dhcp('bios')?.ip).toBe(addresses.n1) // machines do not wait for it
  process.kill(main!, 'SIGKILL')
  expect(machine.tftp('boot/grub/i386-pc/core.0').code).toBe(0)
  await until(
    'the second boot is stored',
    async () => (await boots())[1]?.some((s) => s.kind === 'end') === true,
  )
  expect((await boots()).map((steps) => shape(steps).length)).toEqual([8, 4])
})

test('events outlive main: a watcher goes on where it was', async () => {
  const seen = world.inside(
    'curl',
    '-s',
    '-m',
    '2',
    '--unix-socket',
    world.socket,
    'http://x/events?since=0&things=dhcp',
  )
  const ids = [...seen.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
  expect(seen).toContain('"type":"dhcp.offer"')
  expect(ids.length).toBeGreaterThanOrEqual(3)
  expect([...ids].sort((a, b) => a - b)).toEqual(ids)
  const rest = world.inside(
    ...['curl', '-s', '-m', '2', '--unix-socket', world.socket, '-H', `Last-Event-ID: ${ids[1]}`],
    'http://x/events?things=dhcp',
  )
  expect([...rest.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))).toEqual(ids.slice(2))
})

test('explain: why n1 gets what it gets, and what its last boot got', () => {
  const { code, out, err } = world.sysclone('explain', 'n1')
  expect([code, err]).toEqual([0, ''])
  expect(out).toMatch(/^n1 {2}52:54:00:99:00:11\npolicy {2}install: deployment \w+ of img:1 is booting$/m)
  expect(out).toMatch(/^ {2}yiaddr +10\.99\.0\.11 +ip of n1$/m)
  expect(out).toMatch(/^ {2}option 51 leaseSeconds +300 +short: firmware and loaders never renew$/m)
  expect(out).toMatch(/^ {2}loads boot\/grub\/i386-pc\/core\.0: loader/m)
  expect(out).toMatch(/^ {4}\| .*sysclone\.token=/m)
  expect(out).toContain('it would get the same now')

  const boot = world.sysclone('explain', 'n1', '--boot', '-2').out
  expect(boot).toMatch(/^ +\+0\.\ds {2}dhcp discover of firmware, bios x86_64 -> offer of 10\.99\.0\.11$/m)
  expect(boot).toMatch(/^ +option 97 |^ +option 60 vendorClass +"PXEClient:Arch:00000:UNDI:002001"$/m)
  expect(boot).toMatch(/tftp boot\/grub\/grub\.cfg-01-\S+ -> text \[install\], [\d.]+ K?B read$/m)
  expect(boot).toMatch(/http sha256:[0-9a-f]{64} \(6 B\)$/m)
  expect(boot).toMatch(/tftp boot\/grub\/other -> no such file$/m)

  world.sysclone('nodeset', 'n1', 'boot')
  const after = world.sysclone('explain', 'n1', '--boot', '-2', '--json').out
  const { boot: json } = JSON.parse(after)
  const text = json.steps.find((each: any) => each.step.sent?.what === 'text')
  expect(text).toMatchObject({ same: false, step: { sent: { kind: 'install' } }, now: { what: 'text' } })
  expect(world.sysclone('explain', 'n1', '--boot', '-2').out).toMatch(/^ {4}- .*sysclone\.token=/m)
  expect(world.sysclone('explain', 'n1', '--boot', '-9')).toMatchObject({
    code: 1,
    err: expect.stringContaining('n1: no such boot (-9 of n1; allowed: -1 to -2)'),
  })
})

test('explain of a machine that was never seen, as each kind of client; of one that nobody has', () => {
  const stranger = world.sysclone('explain', '52-54-00-99-00-99', '--arch', 'bios')
  expect(stranger.out).toMatch(
    /^bios: discover of firmware, bios x86_64 -> ignore in .* \(unknown machine\)$/m,
  )
  const n1 = world.sysclone('explain', 'n1', '--arch', 'uefi-x64-http,ipxe-bios,system')
  expect(n1.out).toMatch(/^uefi-x64-http: .*-> offer of/m)
  expect(n1.out).toMatch(/option 60 vendorClass +"HTTPClient"/)
  expect(n1.out).toMatch(/^ {2}loads boot\/ipxe\/52-54-00-99-00-11: text \(ipxe: its own disk/m)
  expect(world.sysclone('explain', 'nobody')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^nobody: no such node/),
  })
  expect(world.sysclone('explain', 'n1', '--arch', 'toaster').code).toBe(2)
})

test('a capture of the wire, answered again by the running configuration and by another', async () => {
  const file = join(world.folder, 'boot.pcap')
  const words = [
    'netns',
    'exec',
    world.namespace,
    'tcpdump',
    '-i',
    'br0',
    '-U',
    '--immediate-mode',
    '-w',
    file,
    'udp',
  ]
  const tcpdump = spawn('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  tcpdump.stderr.on('data', (text) => (said += text))
  await until('tcpdump listens', () => said.includes('listening'))
  expect(machine.dhcp('uefi')?.ip).toBe(addresses.n1)
  expect(machine.dhcp('ipxe')?.ip).toBe(addresses.n1)
  await sleep(300)
  tcpdump.kill('SIGINT')
  await new Promise((done) => tcpdump.once('exit', done))

  const same = world.sysclone('explain', file)
  expect([same.code, same.err]).toEqual([0, ''])
  expect(same.out).toMatch(/4 DHCP requests of 1 machines\n(.*\n)?every reply is the same, byte for byte\n$/)
  expect(world.sysclone('explain', file, '--all').out).toMatch(
    /^#\d+ \S+ n1 \(\S+\) request of iPXE, bios x86_64: the same, ack of 10\.99\.0\.11$/m,
  )
  const other = join(world.folder, 'other.yaml')
  writeFileSync(
    other,
    'networks: [{ interface: x, subnet: 10.99.0.0/24, address: 10.99.0.1, gateway: 10.99.0.254, domain: lab.test }]\n',
  )
  const differs = world.sysclone('explain', file, '--config', other)
  expect(differs.code).toBe(1)
  expect(differs.out).toMatch(
    /^ {4}\d+ +option 3 routers +\(absent\) +10\.99\.0\.254 +networks\[\]\.gateway$/m,
  )
  expect(differs.out).toMatch(/^ {4}\d+ +option 15 domain +\(absent\) +"lab\.test"/m)
  expect(differs.out).toMatch(/^4 of 4 differ$/m)
  writeFileSync(other, 'networks: [{ subnet: 10.99.0.0/33 }]\n')
  expect(world.sysclone('explain', file, '--config', other)).toMatchObject({
    code: 1,
    err: expect.stringContaining('other.yaml:1'),
  })
  writeFileSync(other, 'not a capture, though it is long enough')
  expect(world.sysclone('explain', other)).toMatchObject({
    code: 1,
    err: expect.stringContaining('not a packet capture'),
  })
})

// What machines got is written down: real clients against the whole server, and main killed in between.
import { join } from 'node:path'
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

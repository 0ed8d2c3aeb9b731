// The address that we are configured with is a secondary one of its interface, as one that moves between two servers is: every
// answer must come from it, and never from the interface's own.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { capture } from '../dhcp/captures.ts'
import { type Machine, openMachine } from './machine.ts'
import { addresses, openWorld, type World } from './world.ts'

const mac = '52:54:00:99:05:01'
const primary = '10.99.0.200'
let world: World
let machine: Machine
beforeAll(async () => {
  world = await openWorld({ primary })
  await world.start()
  world.sysclone('mkdef', 'n1', `mac=${mac}`, 'ip=10.99.0.21')
  machine = openMachine(world, mac)
  machine.run('ip', 'addr', 'add', '10.99.0.21/24', 'dev', 'eth0')
  machine.run('ip', 'route', 'add', 'broadcast', '255.255.255.255', 'dev', 'eth0')
})
afterAll(async () => {
  machine?.close()
  await world?.close()
})

test('the interface has another address before ours', () => {
  const [, first, second] =
    /inet (\S+).*inet (10\.99\.0\.1)\/24 .*secondary/s.exec(world.inside('ip', 'addr', 'show', 'br0')) ?? []
  expect([first, second]).toEqual([`${primary}/24`, addresses.server])
})

/** A captured request of this machine; `ciaddr`: it has its address. */
function requestOf(name: string, ciaddr?: string): string {
  const bytes = capture(name)
  if (ciaddr) bytes.set(ciaddr.split('.').map(Number), 12)
  bytes.set(
    mac.split(':').map((part) => Number.parseInt(part, 16)),
    28,
  )
  return bytes.toString('hex')
}
const read = Buffer.from('\0\x01boot/grub/i386-pc/core.0\0octet\0', 'latin1').toString('hex')

// from: the port of ours that the answer is to come from; TFTP answers from one that is nobody's.
const asked: [what: string, port: number, hex: string, to: string, at: number, from: RegExp][] = [
  ['DHCP, by broadcast', 68, requestOf('ovmf-pxe-discover'), '255.255.255.255', 67, /^67$/],
  ['DHCP, renewing', 68, requestOf('udhcpc-renew', '10.99.0.21'), addresses.server, 67, /^67$/],
  ['port 4011', 4011, requestOf('ovmf-bootserver-request', '10.99.0.21'), addresses.server, 4011, /^4011$/],
  ['TFTP', 0, read, addresses.server, 69, /^(?!69$)\d+$/],
]
for (const [what, port, hex, to, at, from] of asked)
  test(`${what}: the answer comes from our address`, () => {
    const { out } = machine.run(process.execPath, '-e', askByUdp, `${port}`, hex, to, `${at}`)
    const { address, port: theirs } = JSON.parse(out)
    expect(address).toBe(addresses.server)
    expect(`${theirs}`).toMatch(from)
  })

test('HTTP: both ports answer at our address, and at no other', () => {
  const ask = (host: string, port: number) => machine.http(`http://${host}:${port}/`).status
  for (const port of [80, 8081]) {
    expect(ask(addresses.server, port)).toBe(404)
    expect(ask(primary, port)).toBe(0)
  }
})

test('what a machine is sent names our address alone', () => {
  const discover = requestOf('ovmf-pxe-discover')
  const { hex } = JSON.parse(
    machine.run(process.execPath, '-e', askByUdp, '68', discover, '255.255.255.255', '67').out,
  )
  expect(hex).toContain(Buffer.of(10, 99, 0, 1).toString('hex'))
  expect(hex).not.toContain(Buffer.of(10, 99, 0, 200).toString('hex'))
})

/** PORT HEX TO AT: sends it from PORT and prints who answers, and what. */
const askByUdp = `
const [port, hex, to, at] = process.argv.slice(1)
const socket = require('dgram').createSocket('udp4')
socket.on('message', (bytes, { address, port }) => {
  console.log(JSON.stringify({ address, port, hex: bytes.toString('hex') }))
  process.exit()
})
socket.bind(Number(port), () => {
  socket.setBroadcast(true)
  socket.send(Buffer.from(hex, 'hex'), Number(at), to)
})
setTimeout(() => process.exit(1), 8000)`

// mode: proxy with discovery: hold. The addresses are dnsmasq's; the loader, the screen and the code are ours.
import { type ChildProcess, spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Machine, openMachine } from './machine.ts'
import { openWorld, until, type World } from './world.ts'

const macs = { dnsmasq: '52:54:00:99:03:09', n1: '52:54:00:99:03:01', thief: '52:54:00:99:03:66' }
const script = `/boot/ipxe/${macs.n1.replaceAll(':', '-')}`
let world: World
let machines: Record<keyof typeof macs, Machine>
let dnsmasq: ChildProcess
let said = ''

beforeAll(async () => {
  world = await openWorld({ network: 'mode: proxy, discovery: hold' })
  machines = {
    dnsmasq: openMachine(world, macs.dnsmasq),
    n1: openMachine(world, macs.n1),
    thief: openMachine(world, macs.thief),
  }
  machines.dnsmasq.run('ip', 'addr', 'add', '10.99.0.9/24', 'dev', 'eth0')
  machines.thief.run('ip', 'addr', 'add', '10.99.0.67/24', 'dev', 'eth0')
  dnsmasq = spawn('ip', [
    ...['netns', 'exec', machines.dnsmasq.namespace, 'setpriv', '--pdeathsig', 'KILL', 'dnsmasq'],
    ...['--no-daemon', '--port=0', '--conf-file=/dev/null', '--user=root', '--no-ping', '--interface=eth0'],
    ...['--dhcp-range=10.99.0.160,10.99.0.190', '--log-facility=-', '--dhcp-authoritative'],
    `--dhcp-leasefile=${world.folder}/leases`,
  ])
  for (const stream of [dnsmasq.stdout!, dnsmasq.stderr!]) stream.on('data', (text) => (said += text))
  await until('dnsmasq answers', () => /DHCP, IP range/.test(said))
  await world.start()
})
afterAll(async () => {
  dnsmasq?.kill('SIGKILL')
  for (const machine of Object.values(machines ?? {})) machine.close()
  await world?.close()
})

const discovered = (): any[] =>
  JSON.parse(world.inside('curl', '-s', '--unix-socket', world.socket, 'http://x/discovered')).machines
const codeOn = (text: string) => /adopt (\d{6}) NAME/.exec(text)?.[1]

test('an unknown machine gets its address from the other server, and waits at our screen with that address', () => {
  // udhcpc cannot tell a proxy's offer, which has no address, from a server's: the loader is heard, a system gets the address.
  machines.n1.dhcp('ipxe')
  const got = machines.n1.dhcp('os')
  expect(got?.ip).toMatch(/^10\.99\.0\.1[6-9]\d$/)
  const { status, body } = machines.n1.http(script)
  expect([status, body.includes(macs.n1)]).toEqual([200, true])
  expect(discovered()).toMatchObject([
    { mac: macs.n1, code: codeOn(body), address: got!.ip, machine: 'bios x86_64' },
  ])
})

test('nobody else speaks for it', () => {
  machines.n1.http(`${script}/serial/SN1`)
  machines.thief.http(`${script}/serial/forged`)
  expect(discovered()).toMatchObject([{ mac: macs.n1, serial: 'SN1' }])
})

test('adopted it goes on as the node, by its address from the other server', async () => {
  const [{ code }] = discovered()
  expect(world.sysclone('adopt', code, 'n5')).toMatchObject({ code: 0, err: '' })
  expect(discovered()).toEqual([])
  await until('it is known', () =>
    machines.n1.tftp(`boot/known/${macs.n1.replaceAll(':', '-')}/serial`).out.includes('known'),
  )
  expect(machines.n1.http(script).body).not.toContain('adopt')
})

// Addresses of the pool that somebody uses without having been given them are found ahead of time.
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseNeighbours } from '../../services/net/neighbours.ts'
import { parseSubnet } from '../../src/address.ts'
import { openLan, startServer, until } from './lan.ts'

test('the neighbour table of the kernel: those that answered, by interface', () => {
  const text = `IP address       HW type     Flags       HW address            Mask     Device
10.77.0.103      0x1         0x2         52:54:00:77:00:66     *        s0
10.77.0.104      0x1         0x0         00:00:00:00:00:00     *        s0
10.78.0.7        0x20        0x2         80:00:00:48:fe:80     *        ib0
`
  expect([...parseNeighbours(text)]).toEqual([['s0 10.77.0.103', '52:54:00:77:00:66']])
})

const lan = openLan('probe', ['server', 'lan'] as const)
const squatter = '52:54:00:77:00:66'
beforeAll(() => {
  lan.wire(['server', 's0'], ['lan', 'c0', squatter])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('lan', 'c0', '10.77.0.103/24') // never asked for
  lan.ip('lan', 'link', 'add', 'v0', 'link', 'c0', 'address', '52:54:00:77:00:99', 'type', 'macvlan')
  lan.ip('lan', 'link', 'set', 'v0', 'up')
})
afterAll(() => lan.close())

const udhcpc = async () => {
  const argv = ['udhcpc', '-f', '-n', '-q', '-t', '3', '-T', '1', '-i', 'v0', '-s', '/bin/true']
  const { said } = await lan.run('lan', argv)
  return /lease of ([\d.]+) obtained/.exec(said)?.[1]
}

test('an address that a stranger uses is not given, and is told once it is certain; a reserved one is not looked at', async () => {
  const pool = { from: '10.77.0.102', to: '10.77.0.105' }
  const nodes = [
    { name: 'n2', mac: ['52:54:00:77:00:02'], ip: '10.77.0.102', kernelArgs: [] },
    { name: 'n4', mac: ['52:54:00:77:00:04'], ip: '10.77.0.104', kernelArgs: [] },
  ]
  const heard = lan.start('lan', ['tcpdump', '--immediate-mode', '-lni', 'c0', 'arp and src 10.77.0.1'])
  await until(() => /listening on/.test(heard.said()))
  const network = { interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1', pool }
  const server = await startServer(lan, 'server', { networks: [network], nodes })
  await until(() => /who-has 10.77.0.103/.test(heard.said()))
  await new Promise((done) => setTimeout(done, 2200)) // the answer is read within a second
  const started = Date.now()
  expect(await udhcpc()).toBe('10.77.0.105')
  expect(Date.now() - started).toBeLessThan(5000)
  await until(() => server.seen('dhcp.conflict').length > 0, { timeoutMs: 15_000 })
  expect(server.seen('dhcp.conflict')).toMatchObject([{ address: '10.77.0.103', mac: squatter }])
  expect(heard.said()).not.toMatch(/who-has 10.77.0.10[24]/)
  await lan.stop(heard)
  // The squatter itself may have it: it is the machine that answers there.
  const asked = lan.start('lan', [
    ...['udhcpc', '-f', '-n', '-q', '-t', '3', '-T', '1', '-i', 'c0', '-s', '/bin/true', '-r', '10.77.0.103'],
  ])
  await once(asked, 'close')
  expect(asked.said()).toMatch(/lease of 10.77.0.103 obtained/)
  await server.stop()
})

test('an offer does not wait for a probe: it leaves within 300 ms while the whole pool is looked at', async () => {
  const pool = { from: '10.77.0.110', to: '10.77.0.250' }
  const network = { interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1', pool }
  const journal = join(lan.folder, 'second.journal')
  const server = await startServer(lan, 'server', { networks: [network], journal })
  const heard = lan.start('lan', [
    'tcpdump',
    '--immediate-mode',
    '-lttni',
    'v0',
    'udp port 67 or udp port 68',
  ])
  await until(() => /listening on/.test(heard.said()))
  for (let i = 0; i < 3; i++) await udhcpc()
  await until(
    () =>
      heard
        .said()
        .split('\n')
        .filter((line) => / IP /.test(line)).length >= 12,
  )
  await lan.stop(heard, 'SIGINT')
  const packets = [...heard.said().matchAll(/^([\d.]+) IP (\S+) >/gm)].map(([, time, from]) => ({
    ms: Number(time) * 1000,
    ask: /\.68$/.test(from!),
  }))
  const waits = packets.flatMap((packet, i) =>
    packet.ask && packets[i + 1] && !packets[i + 1]!.ask ? [packets[i + 1]!.ms - packet.ms] : [],
  )
  expect(waits.length).toBeGreaterThanOrEqual(6)
  expect(Math.max(...waits)).toBeLessThan(300)
  await server.stop()
})

// Bad networks: packets lost in either direction, doubled and out of order.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { openLan, type Server, startServer } from './lan.ts'

const lan = openLan('lossy', ['server', 'relay', 'far'] as const)
const COUNT = 10
const macs = Array.from({ length: COUNT }, (_, i) => `52:54:00:79:01:${String(i + 10)}`)
/** Half of the machines are nodes with an address of their own, the others get one of the pool. */
const nodes = macs
  .slice(0, COUNT / 2)
  .map((mac, i) => ({ name: `n${i}`, mac: [mac], ip: `10.79.0.${20 + i}`, kernelArgs: [] }))
const networks = [
  { interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1' },
  {
    ...{ subnet: parseSubnet('10.79.0.0/24'), address: '10.77.0.1', gateway: '10.79.0.254' },
    pool: { from: '10.79.0.100', to: '10.79.0.199' },
  },
]
let server: Server

beforeAll(async () => {
  lan.wire(['server', 's0'], ['relay', 'r0'])
  lan.wire(['relay', 'r1'], ['far', 'f0'])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('relay', 'r0', '10.77.0.253/24')
  lan.address('relay', 'r1', '10.79.0.254/24')
  lan.ip('server', 'route', 'add', '10.79.0.0/24', 'via', '10.77.0.253')
  for (const [i, mac] of macs.entries()) {
    lan.ip('far', 'link', 'add', `m${i}`, 'link', 'f0', 'address', mac, 'type', 'macvlan')
    lan.ip('far', 'link', 'set', `m${i}`, 'up')
  }
  writeFileSync(join(lan.folder, 'relay.cjs'), badRelay)
  lan.start('relay', [process.execPath, join(lan.folder, 'relay.cjs')])
  server = await startServer(lan, 'server', { networks, nodes })
})
afterAll(() => lan.close())

/** All machines at once; the address that each got, and from how many packets the server learned of it. */
async function boot(): Promise<(string | undefined)[]> {
  return await Promise.all(
    macs.map(async (_, i) => {
      const argv = ['udhcpc', '-f', '-n', '-q', '-t', '12', '-T', '1', '-i', `m${i}`, '-s', '/bin/true']
      const { said } = await lan.run('far', argv)
      return /lease of ([\d.]+) obtained/.exec(said)?.[1]
    }),
  )
}
async function checkAll(got: (string | undefined)[]) {
  expect(got.slice(0, COUNT / 2)).toEqual(nodes.map(({ ip }) => ip))
  for (const address of got.slice(COUNT / 2)) expect(address).toMatch(/^10\.79\.0\.1\d\d$/)
  expect(new Set(got).size).toBe(COUNT)
  const bound = (await server.leases()).filter(({ state }) => state === 'bound')
  expect(bound.map(({ mac, address }) => `${mac} ${address}`).sort()).toEqual(
    macs.map((mac, i) => `${mac} ${got[i]}`).sort(),
  )
  expect(server.seen('dhcp.nak')).toEqual([])
}

test('packets doubled and out of order on their way through a relay: each machine has one address, none refused', async () => {
  const got = await boot()
  await checkAll(got)
  const asked = macs.map((mac) => server.seen('dhcp.discover', { mac }).length)
  expect(Math.max(...asked)).toBeGreaterThan(1) // they were doubled
})

for (const percent of [1, 10])
  test(`${percent} % of the packets lost in either direction: each machine keeps its address`, async () => {
    const before = await boot()
    const drop = `numgen random mod 100 < ${percent} counter drop`
    const rules = [
      `chain input { type filter hook input priority 0; udp dport 67 ${drop}; }`,
      `chain output { type filter hook output priority 0; udp sport 67 ${drop}; }`,
    ]
    const { code, said } = await lan.run('server', ['nft', `table ip loss {\n${rules.join('\n')}\n}`])
    expect(code, said).toBe(0)
    const got: (string | undefined)[][] = []
    for (let round = 0; round < (percent === 1 ? 1 : 2); round++) got.push(await boot())
    const lost = await lan.run('server', ['nft', 'list', 'table', 'ip', 'loss'])
    if (percent === 10) expect(lost.said).toMatch(/packets [1-9]/)
    await lan.run('server', ['nft', 'delete', 'table', 'ip', 'loss'])
    for (const each of got) expect(each).toEqual(before)
    await checkAll(before)
  })

/** A relay agent (RFC 1542) that forwards each packet one to three times, up to 60 ms late. */
const badRelay = `
const dgram = require('dgram')
const heard = dgram.createSocket({ type: 'udp4', reuseAddr: true })
const toClients = dgram.createSocket({ type: 'udp4', reuseAddr: true })
let count = 0
const badly = (send) => { for (let i = 0; i <= count % 3; i++) setTimeout(send, (count * 37 + i * 23) % 60); count++ }
const take = (bytes) => {
  const copy = Buffer.from(bytes)
  if (copy[0] === 1) { copy.set([10, 79, 0, 254], 24); copy[3]++; badly(() => heard.send(copy, 67, '10.77.0.1')) }
  else badly(() => toClients.send(copy, 68, '255.255.255.255'))
}
heard.on('message', take)
toClients.on('message', take) // what the server sends to giaddr
heard.bind(67, '0.0.0.0', () => toClients.bind(67, '10.79.0.254', () => toClients.setBroadcast(true)))`

import { expect, test } from 'vitest'
import { openStrangers } from '../../services/discovery/strangers.ts'
import { textContent } from '../../services/http/content.ts'
import { parseIpv4, parseMac, parseSubnet } from '../../src/address.ts'
import { indexNodes } from '../../src/boot/names.ts'
import { type Lease, makeLeaseTable } from '../../src/dhcp/leases.ts'

const mac = parseMac('52:54:00:00:00:01')
const address = parseIpv4('10.0.0.100')
const server = parseIpv4('10.0.0.1')

test('a screen that asks on is renewed when half of its lease is over, and a longer lease stays as it is', async () => {
  const world = { now: 1_000_000, written: 0 }
  const lease: Lease = { mac, address, state: 'bound', until: world.now + 300_000 }
  const leases = makeLeaseTable([lease])
  const strangers = openStrangers({
    networks: [{ subnet: parseSubnet('10.0.0.0/24'), address: server, discovery: 'hold' }],
    nodes: () => indexNodes([]),
    leaseOf: leases.get,
    strangerAt: () => undefined,
    async take(event) {
      leases.apply(event)
      world.written += 1
    },
    emit: () => {},
    now: () => world.now,
  })
  const open = strangers.opening(server, async () => textContent('x'))
  const asks = () => open('boot/ipxe/52-54-00-00-00-01', address)
  const left = () => leases.get(mac)!.until - world.now
  for (let i = 0; i < 100; i++) await asks()
  expect([world.written, left()]).toEqual([0, 300_000])
  for (let i = 0; i < 20; i++) {
    world.now += 30_000
    await asks()
    expect(left()).toBeGreaterThan(100_000)
  }
  expect(world.written).toBeLessThanOrEqual(4)
  leases.apply({ type: 'ack', mac, address, now: world.now, seconds: 12 * 3600 })
  await asks()
  expect(left()).toBe(12 * 3600_000)
})

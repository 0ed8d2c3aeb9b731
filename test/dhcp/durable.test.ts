// No ACK leaves before its lease is on the disk; and what becomes of machines when the disk takes no more.
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { openLan, startServer, until } from './lan.ts'

const lan = openLan('durable', ['server', 'lan'] as const)
const network = {
  ...{ interface: 's0', subnet: parseSubnet('10.77.0.0/24'), address: '10.77.0.1' },
  ...{ pool: { from: '10.77.0.100', to: '10.77.0.199' } },
}
const [first, second, stranger] = ['52:54:00:77:00:21', '52:54:00:77:00:22', '52:54:00:77:00:99']
const nodes = [{ name: 'n1', mac: [first, second], ip: '10.77.0.21', kernelArgs: [] }]
const disk = join(lan.folder, 'disk')
beforeAll(() => {
  lan.wire(['server', 's0'], ['lan', 'c0'])
  lan.address('server', 's0', '10.77.0.1/24')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk])
})
afterAll(async () => {
  spawnSync('umount', ['-l', disk])
  await lan.close()
})
const start = (journal: string) => startServer(lan, 'server', { networks: [network], nodes, journal })

/** Asks as `mac`: for each question it waits as long as it is told. */
function udhcpc(mac: string, { times, seconds }: { times: number; seconds: number }) {
  lan.ip('lan', 'link', 'set', 'c0', 'address', mac)
  const patience = ['-t', `${times}`, '-T', `${seconds}`]
  return lan.start('lan', ['udhcpc', '-f', '-n', '-q', '-i', 'c0', '-s', '/bin/true', ...patience])
}
const got = (said: string) => /lease of (\S+) obtained/.exec(said)?.[1]
/** What it got in three tries of a second; undefined: nothing. */
async function leaseOf(mac: string): Promise<string | undefined> {
  const client = udhcpc(mac, { times: 3, seconds: 1 })
  await once(client, 'close')
  return got(client.said())
}

for (const [who, mac, address] of [
  ['a stranger', stranger, /^10\.77\.0\.1\d\d$/],
  ['a node with an address of its own', first, /^10\.77\.0\.21$/],
] as const)
  test(`${who}: while the write of its lease is held back no ACK leaves, and then the same one does`, async () => {
    const server = await start(join(lan.folder, `${mac}.journal`))
    server.journal('hold')
    const client = udhcpc(mac, { times: 1, seconds: 20 })
    await until(() => /selecting|select for/.test(client.said()), { why: client.said })
    await sleep(1500)
    expect((await server.leases()).map(({ state }) => state)).toEqual(['bound']) // it has been asked for
    expect(got(client.said())).toBeUndefined()
    expect(server.seen('dhcp.ack')).toEqual([])
    server.journal('let')
    await once(client, 'close')
    expect(got(client.said())).toMatch(address)
    expect(server.seen('dhcp.ack')).toHaveLength(1)
    await server.stop()
  })

test('the disk is full: no ACK for an address of the pool; who has its address by definition boots', async () => {
  const server = await start(join(disk, 'leases.journal'))
  const rest = join(disk, 'rest')
  expect(spawnSync('dd', ['if=/dev/zero', `of=${rest}`, 'bs=4k']).stderr.toString()).toMatch(/No space left/)
  expect(await leaseOf(stranger)).toBeUndefined()
  expect(await leaseOf(second)).toBeUndefined() // a card of a node, but not the one that has its address
  const why = expect.stringMatching(/the lease cannot be written: ENOSPC/)
  expect(server.events).toContainEqual(expect.objectContaining({ type: 'dhcp.ignore', mac: stranger, why }))
  expect(server.seen('dhcp.ack')).toEqual([])
  expect(await leaseOf(first)).toBe('10.77.0.21')
  rmSync(rest)
  expect(await leaseOf(stranger)).toMatch(/^10\.77\.0\.1\d\d$/)
  expect(await leaseOf(second)).toMatch(/^10\.77\.0\.1\d\d$/)
  await server.stop()
})

// The whole server beside another DHCP server, as a person meets it.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openLan, until } from './lan.ts'

const lan = openLan('beside', ['server', 'other'] as const)
beforeAll(async () => {
  lan.wire(['server', 's0'], ['other', 'o0'])
  lan.address('server', 's0', '10.77.0.1/24')
  lan.address('other', 'o0', '10.77.0.9/24')
  const dnsmasq = lan.start('other', [
    ...['dnsmasq', '--no-daemon', '--port=0', '--conf-file=/dev/null', '--user=root', '--no-ping'],
    ...['--interface=o0', '--dhcp-range=10.77.0.150,10.77.0.160', '--log-facility=-'],
    `--dhcp-leasefile=${join(lan.folder, 'leases')}`,
  ])
  await until(() => /DHCP, IP range/.test(dnsmasq.said()), { why: dnsmasq.said })
})
afterAll(() => lan.close())

test('serve ends with 1 and one line that says who is there and what can be done', async () => {
  const config = join(lan.folder, 'server.yaml')
  writeFileSync(
    config,
    `stateDir: ${join(lan.folder, 'state')}
networks: [{ interface: s0, subnet: 10.77.0.0/24, address: 10.77.0.1 }]
http: { workers: 1 }
api: { socket: ${join(lan.folder, 'api.sock')} }
`,
  )
  const cli = join(import.meta.dirname, '../../services/cli/main.ts')
  const server = lan.start('server', [process.execPath, cli, 'serve', '--config', config], {
    env: { SYSCLONE_CACHE: process.env.SYSCLONE_CACHE || '/var/cache/sysclone' },
  })
  await until(() => server.exitCode !== null, { timeoutMs: 60_000, why: server.said })
  expect(server.exitCode).toBe(1)
  expect(server.said()).toMatch(
    /^s0: another DHCP server answers on this network \(10\.77\.0\.9; allowed: to stop that server, `mode: proxy` for this network, or `serve --coexist`\)$/m,
  )
}, 90_000)

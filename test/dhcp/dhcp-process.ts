// startDhcp in a process of its own, so that a test can run it inside a network namespace.
// Argument: JSON {networks, nodes, journal, coexist?, restarted?, lookEveryMs?}, or the file with it. Events leave as JSON lines; it ends with its standard input.
// A line on that: `leases` has them said; `hold` keeps back that leases are stored, until `let`.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { openLeases } from '../../services/dhcp/leases.ts'
import { startDhcp } from '../../services/dhcp/server.ts'
import { makeEmit } from '../../services/emit.ts'
import { handedDescriptors } from '../../services/net/handed.ts'
import { grubCores } from '../../src/boot/loaders.ts'
import type { BootNode } from '../../src/boot/plan.ts'

const argument = process.argv[2]!
const setup = argument.startsWith('{') ? argument : readFileSync(argument, 'utf8')
const { networks, nodes, journal, coexist, restarted, lookEveryMs } = JSON.parse(setup)
const byMac = new Map<string, BootNode>(nodes.flatMap((n: BootNode) => n.mac.map((mac) => [mac, n])))
const addresses = new Set(nodes.map(({ ip }: BootNode) => ip))
const leases = await openLeases(journal)
let gate: PromiseWithResolvers<void> | undefined
const dhcp = await startDhcp({
  networks,
  serverOf: ({ address }) => ({ address, httpPort: 80, imagePort: 8081 }),
  lookup: (mac) => byMac.get(mac),
  reserved: (address) => addresses.has(address),
  built: new Set(Object.values(grubCores)),
  leases: { ...leases, take: (event) => leases.take(event)?.then(() => gate?.promise) },
  emit: makeEmit((event) => console.log(JSON.stringify(event))),
  coexist,
  restarted,
  lookEveryMs,
  handed: handedDescriptors(process.env, process.pid),
})
console.log(JSON.stringify({ type: 'ready' }))
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'leases') console.log(JSON.stringify({ type: 'leases', leases: leases.list() }))
  if (line === 'hold') gate = Promise.withResolvers()
  if (line === 'let') gate?.resolve()
}
await dhcp.close()
await leases.close()

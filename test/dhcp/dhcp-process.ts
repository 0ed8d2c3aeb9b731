// startDhcp in a process of its own, so that a test can run it inside a network namespace.
// Argument: JSON {network, nodes, ports?, journal}. Events leave as JSON lines; it ends with its standard input.
import { createInterface } from 'node:readline'
import { openLeases } from '../../services/dhcp/leases.ts'
import { startDhcp } from '../../services/dhcp/server.ts'
import { makeEmit } from '../../services/emit.ts'
import { grubCores } from '../../src/boot/loaders.ts'
import type { BootNode } from '../../src/boot/plan.ts'

const { network, nodes, ports = { http: 80, image: 8081 }, journal } = JSON.parse(process.argv[2]!)
const leases = await openLeases(journal)
const dhcp = await startDhcp({
  network,
  ports,
  lookup: (mac) => nodes.find((node: BootNode) => node.mac.includes(mac)),
  reserved: (address) => nodes.some((node: BootNode) => node.ip === address),
  built: new Set(Object.values(grubCores)),
  leases,
  emit: makeEmit((event) => console.log(JSON.stringify(event))),
})
console.log(JSON.stringify({ type: 'ready' }))
for await (const line of createInterface({ input: process.stdin }))
  if (line === 'leases') console.log(JSON.stringify({ type: 'leases', leases: leases.list() }))
await dhcp.close()
await leases.close()

// What answers depend on where there is nothing to answer.
import { indexNodes } from '../../src/boot/names.ts'
import type { DryWorld } from '../../src/dhcp/dry-run.ts'

export const emptyWorld: DryWorld = {
  networks: [],
  serverOf: ({ address }) => ({ address, httpPort: 80, imagePort: 8081 }),
  nodes: indexNodes([]),
  built: new Set(),
  leases: [],
  waiting: [],
  now: 1e12,
}

// CPU of the boot process with 10,000 nodes: one changed node taken over, and what a node boots, by its MAC.
//   node test/bench/boot.ts
import type { Digest, Ipv4, Mac, NodeName } from '../../src/address.ts'
import { ipv4FromNumber } from '../../src/address.ts'
import { indexNodes, resolveName } from '../../src/boot/names.ts'
import type { BootNode, Snapshot } from '../../src/boot/plan.ts'
import { applyDelta } from '../../src/boot/snapshot.ts'
import { renderText } from '../../src/boot/text.ts'

const count = 10_000
const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest
const macOf = (n: number) => `52:54:00:00:${hex(n >> 8)}:${hex(n & 255)}` as Mac
const hex = (n: number) => n.toString(16).padStart(2, '0')
const nodeOf = (n: number): BootNode => ({
  name: `n${n}` as NodeName,
  mac: [macOf(n)],
  ip: ipv4FromNumber(0x0a000100 + n),
  kernelArgs: ['console=tty0', 'console=ttyS0,115200'],
  deployment: {
    id: n.toString(16).padStart(16, '0'),
    state: 'armed',
    image: 'img:1',
    token: 'a'.repeat(64),
    kernel: { digest: digest('1'), bytes: 8_000_000 },
    initrds: [
      { digest: digest('2'), bytes: 12_000_000 },
      { digest: digest('3'), bytes: 13_000_000 },
    ],
  },
})

const cpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
/** CPU milliseconds of one call, the mean of many; the first ones, before the compiler, are left out. */
function mean(calls: number, work: (n: number) => unknown): number {
  for (let n = 0; n < calls; n++) work(n)
  const before = cpuMs()
  for (let n = 0; n < calls; n++) work(n)
  return (cpuMs() - before) / calls
}
const report = (what: string, value: number, unit: string, goal: number) =>
  console.log(
    `${what.padEnd(52)} ${value.toFixed(2)} ${unit} CPU  (goal ${goal})${value > goal ? '  MISSED' : ''}`,
  )

let snapshot: Snapshot = { version: 0, nodes: Array.from({ length: count }, (_, n) => nodeOf(n)) }
let nodes = indexNodes(snapshot.nodes)
const delta = mean(20, (n) => {
  snapshot = applyDelta(snapshot, { version: snapshot.version + 1, changed: [nodeOf(n)], removed: [] })!
  nodes = indexNodes(snapshot.nodes)
})
report('one changed node of 10,000, taken over', delta, 'ms', 50)

const server = { address: '10.0.0.1' as Ipv4, httpPort: 80, imagePort: 8081 }
const asker = { address: '10.0.1.0' as Ipv4 }
const names = Array.from({ length: count }, (_, n) => `boot/ipxe/${macOf(n).replaceAll(':', '-')}`)
const decision = mean(count, (n) => resolveName(names[n]!, asker, { nodes, loaders: new Set(), server }))
report('what a node boots, by its MAC', decision * 1000, 'us', 50)
const text = mean(count, (n) => {
  const meaning = resolveName(names[n]!, asker, { nodes, loaders: new Set(), server })
  return meaning?.kind === 'text' ? renderText({ ...meaning, server }) : undefined
})
report('the same with its text', text * 1000, 'us', 100)

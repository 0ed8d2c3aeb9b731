// A process of its own, on a disk of its own that is too small: writes nodes until that fails, frees space, goes on.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openStore } from '../../services/store/store.ts'
import type { NodeName } from '../../src/address.ts'
import type { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'

const folder = process.argv[2]!
const ballast = join(folder, 'ballast')
const batch = (number: number): Node[] =>
  Array.from({ length: 100 }, (_, i) => ({
    name: `n${number}-${i}` as NodeName,
    groups: ['x'.repeat(200)],
    mac: [],
  }))

writeFileSync(ballast, Buffer.alloc(300_000))
const path = join(folder, 'sysclone.db')
const store = await openStore(path)
let written = 0
let fault: UserError | undefined
for (; written < 1000 && !fault; written++)
  await store.nodes.create(batch(written)).catch((error) => {
    fault = error
    written -= 1
  })
const kept = (await store.nodes.list()).length
rmSync(ballast)
const after = await store.nodes.create(batch(written)).then(
  () => 'written',
  (error: Error) => error.message,
)
await store.close()
const again = await openStore(path) // whole: the check at its opening says so
const reopened = (await again.nodes.list()).length
await again.close()
console.log(JSON.stringify({ written, kept, status: fault?.status, fault: fault?.fault, after, reopened }))

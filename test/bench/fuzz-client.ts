// The clients of fuzz.ts, in the clients' namespace: sends mutated packets, judges every answer, and after each few of them
// asks as a good client does: it must be answered, so nothing before it broke the server or was left unread.
//   node test/bench/fuzz-client.ts TASK      TASK and the result are JSON
import { fuzzDhcp } from './fuzz-dhcp.ts'
import { fuzzBlobs, fuzzHttp } from './fuzz-http.ts'
import { fuzzProxy } from './fuzz-proxy.ts'
import { fuzzTftp } from './fuzz-tftp.ts'
import { seeded } from './mutate.ts'
import type { Site } from './site.ts'

export type FuzzTask = {
  protocol: keyof typeof runs
  count: number
  seed: number
  /** Known nodes: number i is as client i of the rack. */
  nodes: number
  site: Omit<Site, 'lan'>
}
export type FuzzResult = {
  sent: number
  answered: number
  alive: number
  wrong: string[]
  wrongCount: number
  seconds: number
}

/** `blobs`: the image port; `proxy`: port 67 and 4011 of a server with mode: proxy. */
const runs = { dhcp: fuzzDhcp, tftp: fuzzTftp, http: fuzzHttp, blobs: fuzzBlobs, proxy: fuzzProxy }

const task = JSON.parse(process.argv[2]!) as FuzzTask
const tally = { sent: 0, answered: 0, alive: 0, wrong: [] as string[], wrongCount: 0 }
const judge = {
  ...tally,
  wrongly(what: string) {
    judge.wrongCount += 1
    if (judge.wrong.length < 20) judge.wrong.push(what)
  },
}
export type Judge = typeof judge

const started = performance.now()
await runs[task.protocol](task, seeded(task.seed), judge)
const { wrongly: _, ...result } = judge
process.stdout.write(JSON.stringify({ ...result, seconds: (performance.now() - started) / 1000 }), () =>
  process.exit(0),
)

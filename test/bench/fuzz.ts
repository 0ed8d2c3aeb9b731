// A million packets that almost are what clients send, against DHCP, TFTP, the HTTP of loader texts and that of blobs of a
// running server, and against one with mode: proxy.
// Nothing may end, every answer must be one that a client may get, and memory must stay where it is.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { memoryOf } from './accounting.ts'
import type { FuzzResult, FuzzTask } from './fuzz-client.ts'
import { sysclone } from './ours.ts'
import { output } from './process.ts'
import { heading, note, plain } from './report.ts'
import type { Ground } from './site.ts'

const PACKETS = Number(process.env.SYSCLONE_FUZZ_PACKETS) || 1_000_000
const SEED = Number(process.env.SYSCLONE_FUZZ_SEED) || Date.now() % 1_000_000
/** What is kept of machines that ask is bounded, and bounded things fill up: until a third of the packets it may grow. */
const GROWN_MB = 32
const NODES = 50
/** A proxy has words for known machines alone, and few for one that asks often. */
const PROXY_NODES = 1000

export async function fuzz(ground: Ground) {
  heading(`Fuzz: ${PACKETS.toLocaleString('en-US')} mutated packets for each server, seed ${SEED}`)
  await against(ground, { nodes: NODES }, ['dhcp', 'tftp', 'http', 'blobs'])
  await against(ground, { nodes: PROXY_NODES, proxy: true }, ['proxy'])
}

async function against(
  ground: Ground,
  options: { nodes: number; proxy?: boolean },
  protocols: FuzzTask['protocol'][],
) {
  const site = ground.site()
  const { nodes } = options
  const server = await sysclone(options).start(site)
  try {
    for (const protocol of protocols) {
      const client = (count: number, seed: number) => runClient({ protocol, count, seed, nodes, site })
      const first = await client(Math.ceil(PACKETS / 3), SEED)
      const before = memoryOf(server.pids)
      const rest = await client(PACKETS - Math.ceil(PACKETS / 3), SEED + 1)
      say(protocol, [first, rest], memoryOf(server.pids) - before)
    }
    const log = readFileSync(join(site.folder, 'sysclone.log'), 'utf8')
    const ended = log.match(/"type":"serve\.(exit|fail)"/g)?.length ?? 0
    plain('processes that ended, and faults', { value: ended, unit: '' }, { atMost: 0 })
    if (ended > 0) process.exitCode = 1
    for (const [line] of log.matchAll(/^.*"type":"serve\.(?:exit|fail)".*$/gm)) note(line)
  } finally {
    await server.stop()
  }

  async function runClient(task: FuzzTask): Promise<FuzzResult> {
    const argv = [process.execPath, '--disable-warning=ExperimentalWarning']
    const program = join(import.meta.dirname, 'fuzz-client.ts')
    const words = [...argv, program, JSON.stringify({ ...task, site: { ...site, lan: undefined } })]
    return JSON.parse(await output(ground.lan.inClient(words), 600)) as FuzzResult
  }
}

function say(protocol: string, results: FuzzResult[], grown: number) {
  const sum = (of: (result: FuzzResult) => number) => results.reduce((all, result) => all + of(result), 0)
  const name = protocol.toUpperCase()
  const wrong = results.flatMap((result) => result.wrong)
  plain(`${name}: wrong answers`, { value: sum(({ wrongCount }) => wrongCount), unit: '' }, { atMost: 0 })
  plain(`${name}: memory grown`, { value: Math.max(0, grown) / 1e6, unit: 'MB' }, { atMost: GROWN_MB })
  note(
    `${name}: ${sum(({ sent }) => sent)} sent, ${sum(({ answered }) => answered)} answered, ` +
      `${sum(({ alive }) => alive)} times a good client in between, in ${sum(({ seconds }) => seconds).toFixed(0)} s`,
  )
  for (const each of wrong.slice(0, 5)) note(`wrong: ${each}`)
  if (wrong.length > 0) process.exitCode = 1
}

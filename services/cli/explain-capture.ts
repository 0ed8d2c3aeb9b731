// A packet capture beside what we would have answered: each request, and every byte of its reply that differs.
import { type CapturedExchange, exchangesIn } from '../../src/dhcp/exchanges.ts'
import { readCapture } from '../../src/pcap.ts'
import { differenceText, type RunShown } from './explain-text.ts'

export type Replayed = {
  file: string
  frames: number
  skipped: Record<string, number>
  exchanges: {
    frame: number
    time: number
    mac: string
    replies: { frame: number; from: string }[]
    run: RunShown
  }[]
}
type Sent = { request: string; replies: string[]; server?: string; port: number }
type Ask = (exchanges: Sent[]) => Promise<{ runs: RunShown[] }>

const AT_ONCE = 1000

/** The requests of one machine are asked together, for the later ones depend on the earlier. */
export async function replayCapture(bytes: Buffer, file: string, ask: Ask): Promise<Replayed> {
  const { datagrams, frames, skipped } = readCapture(bytes, file)
  const byMachine = [...Map.groupBy(exchangesIn(datagrams), ({ mac }) => mac).values()]
  const replayed: Replayed['exchanges'] = []
  for (const some of portions(byMachine)) {
    const { runs } = await ask(some.map(sentOf))
    some.forEach(({ frame, time, mac, replies }, i) => {
      replayed.push({
        frame,
        time,
        mac,
        replies: replies.map(({ frame, from }) => ({ frame, from })),
        run: runs[i]!,
      })
    })
  }
  replayed.sort((a, b) => a.frame - b.frame)
  return { file, frames, skipped: Object.fromEntries(skipped), exchanges: replayed }
}

/** Whole machines, as many as are asked at once. */
function portions(machines: CapturedExchange[][]): CapturedExchange[][] {
  const all: CapturedExchange[][] = []
  let open: CapturedExchange[] = []
  for (const exchange of machines.flatMap((its) => pieces(its))) {
    if (open.length > 0 && open.length + exchange.length > AT_ONCE) {
      all.push(open)
      open = []
    }
    open.push(...exchange)
  }
  return open.length > 0 ? [...all, open] : all
}

const pieces = (its: CapturedExchange[]): CapturedExchange[][] =>
  Array.from({ length: Math.ceil(its.length / AT_ONCE) }, (_, i) => its.slice(i * AT_ONCE, (i + 1) * AT_ONCE))

const sentOf = ({ request, replies, server, port }: CapturedExchange): Sent => ({
  port,
  request: request.toString('base64'),
  replies: replies.slice(0, 20).map(({ bytes }) => bytes.toString('base64')),
  ...(server !== undefined && { server }),
})

export const isDifferent = ({ exchanges }: Replayed): boolean => exchanges.some(({ run }) => differs(run))
const differs = ({ compared }: RunShown) => compared !== undefined && !compared.same

export function captureText(
  { file, frames, skipped, exchanges }: Replayed,
  { all }: { all: boolean },
): string[] {
  const machines = new Set(exchanges.map(({ mac }) => mac)).size
  const unread = Object.entries(skipped).map(([why, count]) => `${count} ${why}`)
  const differing = exchanges.filter(({ run }) => differs(run))
  return [
    `${file}: ${frames} frames, ${exchanges.length} DHCP requests of ${machines} machines`,
    ...(unread.length > 0 ? [`not looked at: ${unread.join(', ')}`] : []),
    ...(all ? exchanges : differing).flatMap(exchangeText),
    exchanges.length === 0
      ? 'nothing to answer is in it'
      : differing.length === 0
        ? 'every reply is the same, byte for byte'
        : `${differing.length} of ${exchanges.length} differ`,
  ]
}

function exchangeText({ frame, time, mac, run }: Replayed['exchanges'][number]): string[] {
  const clock = new Date(time).toTimeString().slice(0, 8)
  const who = run.node ? `${run.node} (${mac})` : mac
  const head = `#${frame} ${clock} ${who} ${run.asked}`
  const { compared } = run
  const ours = run.reply
    ? [run.answer, run.address && `of ${run.address}`].filter(Boolean).join(' ')
    : `nothing (${run.why})`
  if (!compared) return [`${head}: no reply then and none now${run.why ? ` (${run.why})` : ''}`]
  if (compared.same) return [`${head}: the same, ${ours}`]
  return [
    `${head}: captured ${compared.captured ?? 'nothing'}, ours ${ours}`,
    ...differenceText(compared.differences, run),
  ]
}

// Capture: a tree of 75,000 entries and 2.4 GB over ssh, against rsync -aHAXS: the first time, at 1 Gbit/s, when nothing has
// changed, and when one file in a hundred and 200 MB have. And one of a million small files: what they cost in memory.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { openContest, startSshd, type Turn } from './capture-contest.ts'
import { makeGoldenTree, makeManyFiles } from './golden-tree.ts'
import { devices } from './lan.ts'
import { heading, plain, ratio } from './report.ts'
import type { Ground } from './site.ts'

const MB = 1e6
const MEMORY_MB = 300
const cached = (name: string) => join(process.env.SYSCLONE_CACHE ?? '/var/cache/sysclone', name)
const seconds = (turn: Turn) => ({ value: turn.seconds, unit: 's' })
const megabytes = (bytes: number) => ({ value: bytes / MB, unit: 'MB' })

export async function capture(ground: Ground) {
  heading('capture: 75,000 entries, 2.4 GB, over ssh, against rsync -aHAXS')
  const tree = makeGoldenTree(cached('bench-golden/tree'))
  execFileSync('sh', ['-c', 'find . -type f -print0 | xargs -0 cat > /dev/null'], { cwd: tree.root }) // into the page cache
  const sshd = await startSshd(ground)
  const { both, stored, forget } = openContest(ground, sshd, tree.root, 'capture')
  const memory: number[] = []
  try {
    const [first, firstRsync] = await both('first')
    memory.push(first.memory)
    ratio('first capture, time', seconds(first), seconds(firstRsync), { atMost: 0.65 })
    ratio('first capture, over the wire', megabytes(first.wire), megabytes(firstRsync.wire), { atMost: 0.37 })
    ratio('first capture, stored', megabytes(stored('ours')), megabytes(stored('rsync')), { atMost: 0.37 })

    const [same, sameRsync] = await both('unchanged')
    if (JSON.parse(same.said).isNew) throw new Error('nothing has changed, and a version was made')
    ratio('nothing has changed, time', seconds(same), seconds(sameRsync), { atMost: 0.5 })

    const changed = tree.changeOnePercent()
    const before = stored('ours')
    const compressed = Number(
      execFileSync('sh', ['-c', 'tar -c --format=posix --null -T - | zstd -1 -q -c | wc -c'], {
        cwd: tree.root,
        input: changed.join('\0'),
      }),
    )
    const [some, someRsync] = await both('1 % and 200 MB')
    memory.push(some.memory)
    ratio('1 % and 200 MB changed, time', seconds(some), seconds(someRsync), { atMost: 0.7 })
    ratio(
      '1 % and 200 MB changed, stored, against tar | zstd -1',
      megabytes(stored('ours') - before),
      megabytes(compressed),
      { atMost: 1.02 },
    )
    forget()

    shape(ground, 'add')
    const [shaped, shapedRsync] = await both('1 Gbit/s').finally(() => shape(ground, 'del'))
    memory.push(shaped.memory)
    ratio('first capture at 1 Gbit/s, time', seconds(shaped), seconds(shapedRsync), { atMost: 0.4 })
    plain('most memory of the server', megabytes(Math.max(...memory)), { atMost: MEMORY_MB })
  } finally {
    forget()
    await sshd.stop()
  }
}

/** What is kept in memory for each file shows here; how long it takes is said beside rsync, and has no goal. */
export async function captureMany(ground: Ground) {
  heading('many: 1,000,000 small files over ssh, against rsync -aHAXS')
  const tree = makeManyFiles(cached('bench-many/tree'))
  const sshd = await startSshd(ground)
  const { both, forget } = openContest(ground, sshd, tree.root, 'many')
  const memory: number[] = []
  try {
    for (const [what, change] of [
      ['first', () => {}],
      ['unchanged', () => {}],
      ['5 % changed, a fifth of the folders renamed', tree.change],
    ] as const) {
      change()
      const [ours, theirs] = await both(what)
      ratio(`${what}, time`, seconds(ours), seconds(theirs))
      memory.push(ours.memory)
    }
    plain('most memory of the server', megabytes(Math.max(...memory)), { atMost: MEMORY_MB })
  } finally {
    forget()
    await sshd.stop()
  }
}

/** A token bucket on both ends of the cable. */
function shape({ lan }: Ground, what: 'add' | 'del') {
  const bucket = ['tbf', 'rate', '1gbit', 'burst', '256kb', 'latency', '20ms']
  const tc = (device: string) => ['tc', 'qdisc', what, 'dev', device, 'root', ...bucket]
  for (const argv of [lan.inServer(tc(devices.server)), lan.inClient(tc(devices.client))])
    execFileSync(argv[0]!, argv.slice(1), { stdio: 'inherit' })
}

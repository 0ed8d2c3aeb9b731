// Capture: a tree of 75,000 entries and 2.4 GB over ssh, against rsync -aHAXS: the first time, at 1 Gbit/s, when nothing has
// changed, and when one file in a hundred and 200 MB have. Both read the tree from the page cache of the same sshd.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openAccount, watchMemory } from './accounting.ts'
import { makeGoldenTree } from './golden-tree.ts'
import { devices } from './lan.ts'
import { launch } from './process.ts'
import { heading, note, plain, ratio } from './report.ts'
import type { Ground } from './site.ts'

const PORT = 2222
const goldenAddress = '10.77.0.2'
const MB = 1e6
const MEMORY_MB = 300

type Turn = { seconds: number; cpu: number; goldenCpu: number; wire: number; memory: number; said: string }
type Contestant = { name: string; argv(store: string): string[] }

export async function capture(ground: Ground) {
  heading('capture: 75,000 entries, 2.4 GB, over ssh, against rsync -aHAXS')
  const { lan, work } = ground
  const tree = makeGoldenTree(join(process.env.SYSCLONE_CACHE ?? '/var/cache/sysclone', 'bench-golden/tree'))
  execFileSync('sh', ['-c', 'find . -type f -print0 | xargs -0 cat > /dev/null'], { cwd: tree.root }) // into the page cache
  const sshd = await startSshd(ground)
  const store = (name: string) => join(work, `capture-${name}`)
  const order = (images: string) => ({
    ...{
      images,
      tree: tree.root,
      host: goldenAddress,
      port: PORT,
      hostKey: sshd.hostKey,
      identity: sshd.identity,
    },
  })
  const ours: Contestant = {
    name: 'sysclone',
    argv: (images) => [
      ...[process.execPath, '--disable-warning=ExperimentalWarning'],
      ...[join(import.meta.dirname, 'capture-ours.ts'), JSON.stringify(order(images))],
    ],
  }
  const rsync: Contestant = {
    name: 'rsync',
    argv: (into) => [
      ...['rsync', '-aHAXS', '--numeric-ids', '--delete', '-e', sshd.client],
      ...[`root@${goldenAddress}:${tree.root}/`, `${into}/`],
    ],
  }
  const wireBytes = () =>
    Number(
      execFileSync(
        'ip',
        lan.inServer(['cat', `/sys/class/net/${devices.server}/statistics/rx_bytes`]).slice(1),
      ),
    )

  async function turn({ name, argv }: Contestant, into: string): Promise<Turn> {
    mkdirSync(into, { recursive: true })
    const account = openAccount()
    const [program, ...words] = account.enter(lan.inServer(argv(into)))
    const [wire, golden, from] = [wireBytes(), sshd.cpu(), performance.now()]
    const child = spawn(program!, words, { stdio: ['ignore', 'pipe', 'inherit'] })
    const memory = watchMemory([child.pid!])
    let said = ''
    child.stdout.on('data', (chunk) => {
      said += chunk
    })
    const [code] = await once(child, 'close')
    const seconds = (performance.now() - from) / 1000
    if (code !== 0) throw new Error(`${name} ended with ${code}`)
    const cpu = account.seconds(child.pid!)
    account.close()
    return {
      seconds,
      cpu,
      goldenCpu: sshd.cpu() - golden,
      wire: wireBytes() - wire,
      memory: memory.stop(),
      said,
    }
  }
  const both = async (what: string): Promise<[Turn, Turn]> => {
    const our = await turn(ours, store('ours'))
    const their = await turn(rsync, store('rsync'))
    for (const [name, { seconds, cpu, goldenCpu, wire, memory }] of [
      ['sysclone', our],
      ['rsync', their],
    ] as const)
      note(
        `${what}, ${name}: ${seconds.toFixed(2)} s, ${cpu.toFixed(1)} s CPU here, ${goldenCpu.toFixed(1)} s there, ` +
          `${(wire / MB).toFixed(0)} MB over the wire, ${(memory / MB).toFixed(0)} MB of memory`,
      )
    return [our, their]
  }
  const seconds = (turn: Turn) => ({ value: turn.seconds, unit: 's' })
  const megabytes = (bytes: number) => ({ value: bytes / MB, unit: 'MB' })
  let memory = 0

  try {
    const [first, firstRsync] = await both('first')
    ratio('first capture, time', seconds(first), seconds(firstRsync), { atMost: 0.65 })
    ratio('first capture, over the wire', megabytes(first.wire), megabytes(firstRsync.wire), { atMost: 0.37 })
    ratio('first capture, stored', megabytes(sizeOf(store('ours'))), megabytes(sizeOf(store('rsync'))), {
      atMost: 0.37,
    })
    memory = Math.max(memory, first.memory)

    const [same, sameRsync] = await both('unchanged')
    if (JSON.parse(same.said).isNew) throw new Error('nothing has changed, and a version was made')
    ratio('nothing has changed, time', seconds(same), seconds(sameRsync), { atMost: 0.5 })

    const changed = tree.changeOnePercent()
    const before = sizeOf(store('ours'))
    const compressed = Number(
      execFileSync('sh', ['-c', 'tar -c --format=posix --null -T - | zstd -1 -q -c | wc -c'], {
        cwd: tree.root,
        input: changed.join('\0'),
      }),
    )
    const [some, someRsync] = await both('1 % and 200 MB')
    ratio('1 % and 200 MB changed, time', seconds(some), seconds(someRsync), { atMost: 0.7 })
    ratio(
      '1 % and 200 MB changed, stored, against tar | zstd -1',
      megabytes(sizeOf(store('ours')) - before),
      megabytes(compressed),
      { atMost: 1.02 },
    )
    memory = Math.max(memory, some.memory)
    for (const name of ['ours', 'rsync']) rmSync(store(name), { recursive: true })

    shape(ground, 'add')
    const [shaped, shapedRsync] = await both('1 Gbit/s')
    ratio('first capture at 1 Gbit/s, time', seconds(shaped), seconds(shapedRsync), { atMost: 0.4 })
    plain(
      'most memory of the server',
      { value: Math.max(memory, shaped.memory) / MB, unit: 'MB' },
      { atMost: MEMORY_MB },
    )
  } finally {
    await sshd.stop()
  }
}

/** A token bucket on both ends of the cable. */
function shape({ lan }: Ground, what: 'add' | 'del') {
  const tc = (device: string) => [
    'tc',
    'qdisc',
    what,
    'dev',
    device,
    'root',
    'tbf',
    'rate',
    '1gbit',
    'burst',
    '256kb',
    'latency',
    '20ms',
  ]
  for (const argv of [lan.inServer(tc(devices.server)), lan.inClient(tc(devices.client))])
    execFileSync(argv[0]!, argv.slice(1), { stdio: 'inherit' })
}

/** Bytes on the disk. */
const sizeOf = (folder: string): number =>
  Number(execFileSync('du', ['-sB1', folder]).toString().split('\t')[0])

async function startSshd({ lan, work }: Ground) {
  mkdirSync('/run/sshd', { recursive: true })
  const folder = join(work, 'sshd')
  mkdirSync(folder)
  const key = (name: string) => {
    const path = join(folder, name)
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path])
    return path
  }
  const [host, identity] = [key('host'), key('client')]
  const config = join(folder, 'config')
  const options = {
    ...{ Port: PORT, ListenAddress: goldenAddress, HostKey: host, AuthorizedKeysFile: `${identity}.pub` },
    ...{ StrictModes: 'no', PermitRootLogin: 'yes', UsePAM: 'no', PidFile: 'none' },
    SetEnv: 'SHLVL=2', // bash then does not read what this machine's root has in ~/.bashrc
  }
  writeFileSync(
    config,
    Object.entries(options)
      .map((pair) => `${pair.join(' ')}\n`)
      .join(''),
  )
  const argv = lan.inClient(['/usr/sbin/sshd', '-D', '-e', '-f', config])
  const running = await launch('sshd', { argv, log: join(folder, 'log'), listens: { tcp: [PORT] } })
  const known = join(folder, 'known')
  writeFileSync(known, `[${goldenAddress}]:${PORT} ${readFileSync(`${host}.pub`, 'utf8')}`)
  const hostKey = execFileSync('ssh-keygen', ['-lf', `${host}.pub`])
    .toString()
    .split(' ')[1]!
  const client = `ssh -p ${PORT} -i ${identity} -o UserKnownHostsFile=${known} -o BatchMode=yes`
  return { ...running, hostKey, identity, client }
}

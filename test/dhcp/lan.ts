// A server and its clients in network namespaces of their own, and the programs that run there. Everything that was
// started ends with `close`.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { BootNode } from '../../src/boot/plan.ts'

export type Lan = ReturnType<typeof openLan>
export type Running = ChildProcess & { said: () => string }

/** The namespaces are called by `names`; more than one test file may run at a time. */
export function openLan<Name extends string>(label: string, names: readonly Name[]) {
  const folder = mkdtempSync(join(tmpdir(), `sysclone-${label}-`))
  const running = new Set<ChildProcess>()
  const space = (name: Name) => `sc${label}${process.pid}${name}`
  for (const name of names) {
    ip('netns', 'add', space(name))
    ip('-n', space(name), 'link', 'set', 'lo', 'up')
  }

  /** A wire between two interfaces, `space device mac?`; its addresses are given with `address`. */
  function wire(
    a: [space: Name, device: string, mac?: string],
    b: [space: Name, device: string, mac?: string],
  ) {
    const [one, other] = [space(a[0]), space(b[0])]
    ip('-n', one, 'link', 'add', a[1], 'type', 'veth', 'peer', 'name', b[1], 'netns', other)
    for (const [name, device, mac] of [a, b]) {
      if (mac) ip('-n', space(name), 'link', 'set', device, 'address', mac)
      ip('-n', space(name), 'link', 'set', device, 'up')
    }
  }
  const address = (name: Name, device: string, text: string) =>
    ip('-n', space(name), 'addr', 'add', text, 'dev', device)

  /** Starts a program in a namespace; what it writes is kept. It does not outlive us, however we end. */
  function start(name: Name, argv: string[], options: { env?: object } = {}): Running {
    const child = spawn('ip', ['netns', 'exec', space(name), 'setpriv', '--pdeathsig', 'KILL', ...argv], {
      env: { ...process.env, ...options.env },
    })
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (more) => (text += more))
    running.add(child)
    child.once('exit', () => running.delete(child))
    return Object.assign(child, { said: () => text })
  }
  /** Runs it to its end: exit code and everything that it wrote. */
  async function run(name: Name, argv: string[]): Promise<{ code: number | null; said: string }> {
    const child = start(name, argv)
    const [code] = await once(child, 'close')
    return { code, said: child.said() }
  }
  async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM') {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }

  async function close() {
    await Promise.all([...running].map((child) => stop(child, 'SIGKILL')))
    for (const name of names) ip('netns', 'del', space(name))
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    folder,
    space,
    wire,
    address,
    ip: (name: Name, ...args: string[]) => ip('-n', space(name), ...args),
    start,
    run,
    stop,
    close,
  }
}

function ip(...args: string[]) {
  execFileSync('ip', args)
}

export async function until(met: () => boolean, { timeoutMs = 10_000, why = (): string => '' } = {}) {
  for (const end = Date.now() + timeoutMs; !met(); await new Promise((done) => setTimeout(done, 20)))
    if (Date.now() > end) throw new Error(`still not so after ${timeoutMs} ms: ${met}\n${why()}`)
}

type Setup = {
  networks: object[]
  nodes?: (Partial<BootNode> | object)[]
  coexist?: boolean
  restarted?: boolean
  lookEveryMs?: number
  journal?: string
}
type ServerEvent = Record<string, any>
export type Server = Awaited<ReturnType<typeof startServer>>

/** startDhcp in a process of that namespace; resolves when it answers, rejects with what it says when it does not start. */
export async function startServer<Name extends string>(
  lan: ReturnType<typeof openLan<Name>>,
  space: Name,
  {
    networks,
    nodes = [],
    coexist = true,
    restarted = false,
    lookEveryMs,
    journal = join(lan.folder, 'leases.journal'),
  }: Setup,
  before: string[] = [],
) {
  const program = join(import.meta.dirname, 'dhcp-process.ts')
  const setup = join(lan.folder, 'setup.json')
  writeFileSync(setup, JSON.stringify({ networks, nodes, coexist, restarted, lookEveryMs, journal }))
  const child = lan.start(space, [
    ...before,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    program,
    setup,
  ])
  const events: ServerEvent[] = []
  createInterface({ input: child.stdout! }).on('line', (line) => events.push(JSON.parse(line)))
  await until(() => {
    if (child.exitCode !== null) throw new Error(child.said())
    return events.some(({ type }) => type === 'ready')
  })
  return {
    child,
    events,
    seen: (type: string, facts: ServerEvent = {}) =>
      events.filter(
        (e) => e.type === type && Object.entries(facts).every(([key, value]) => e[key] === value),
      ),
    /** The events since the last call are forgotten. */
    forget: () => void events.splice(0),
    /** `hold`: that leases are stored is kept back, until `let`. */
    journal: (word: 'hold' | 'let') => void child.stdin!.write(`${word}\n`),
    async leases(): Promise<ServerEvent[]> {
      const before = events.length
      child.stdin!.write('leases\n')
      await until(() => events.slice(before).some(({ type }) => type === 'leases'))
      return events.findLast(({ type }) => type === 'leases')!.leases
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.stdin!.end()
      await gone
    },
  }
}

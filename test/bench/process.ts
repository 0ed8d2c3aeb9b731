// Processes that the bench starts: each is ended by its own id, whatever happens.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { openAccount } from './accounting.ts'

const execute = promisify(execFile)

/** `cpu`: seconds so far, of all that it has started. */
export type Running = { name: string; pids: number[]; cpu(): number; stop(): Promise<void> }
export type Listening = { udp?: number[]; tcp?: number[] }

type Start = {
  argv: string[]
  log: string // gets all that it says
  listens: Listening // ports: when it has all of them, it has started
  env?: Record<string, string>
}

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** Resolves when it listens; throws with its own words when it ends instead. */
export async function launch(name: string, { argv, log, listens, env }: Start): Promise<Running> {
  const fd = openSync(log, 'w')
  const account = openAccount()
  const [program, ...words] = account.enter(argv)
  const child = spawn(program!, words, {
    stdio: ['ignore', fd, fd],
    env: { ...process.env, ...env },
  })
  closeSync(fd)
  alive.add(child)
  const gone = new Promise<void>((done) => child.once('close', () => done()))
  void gone.then(() => alive.delete(child))
  const said = () => readFileSync(log, 'utf8').slice(-2000)
  for (const end = Date.now() + 60_000; !hears(child.pid!, listens); await sleep(20)) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${name} ended: ${said()}`)
    if (Date.now() > end) throw new Error(`${name} does not listen: ${said()}`)
  }
  return {
    name,
    pids: [child.pid!],
    cpu: () => account.seconds(child.pid!),
    async stop() {
      const timer = setTimeout(() => child.kill('SIGKILL'), 8000)
      child.kill('SIGTERM')
      await gone
      clearTimeout(timer)
      account.close()
    },
  }
}

/** Several servers that are one set-up. */
export function together(name: string, parts: Running[]): Running {
  return {
    name,
    pids: parts.flatMap(({ pids }) => pids),
    cpu: () => parts.reduce((sum, part) => sum + part.cpu(), 0),
    stop: async () => void (await Promise.all(parts.map((part) => part.stop()))),
  }
}

/** Runs a command to its end; its output, be the exit code what it will. */
export async function output(argv: string[], seconds: number): Promise<string> {
  try {
    const { stdout } = await execute(argv[0]!, argv.slice(1), {
      timeout: seconds * 1000,
      maxBuffer: 256 << 20,
    })
    return stdout
  } catch (error) {
    const { stdout, stderr, killed } = error as { stdout?: string; stderr?: string; killed?: boolean }
    if (killed || !stdout)
      throw new Error(`${argv.join(' ')}: ${killed ? `not done in ${seconds} s` : stderr}`)
    return stdout
  }
}

/** Whether somebody listens on these ports in the network namespace of that process. */
function hears(pid: number, { udp = [], tcp = [] }: Listening): boolean {
  return udp.every((port) => isBound(pid, 'udp', port)) && tcp.every((port) => isBound(pid, 'tcp', port))
}
function isBound(pid: number, protocol: 'udp' | 'tcp', port: number): boolean {
  const local = new RegExp(`^ *\\d+: [0-9A-F]{8}:${port.toString(16).toUpperCase().padStart(4, '0')} `, 'm')
  try {
    return local.test(readFileSync(`/proc/${pid}/net/${protocol}`, 'latin1'))
  } catch {
    return false // it has ended
  }
}

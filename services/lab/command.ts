// Commands of the lab: build steps that are waited for, and the machines and servers that keep running.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { UserError } from '../../src/fault.ts'

export type Output = { code: number; stdout: string; stderr: string }
type Options = {
  input?: string
  env?: Record<string, string>
  timeoutMs?: number
  /** Gets each line as it is written, of both streams. */
  onLine?: (line: string) => void
}

/** Runs a command to its end. A command that is missing is a UserError; its exit code is the caller's business. */
export async function run(argv: string[], options: Options = {}): Promise<Output> {
  const child = spawnOurs(argv, {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    ...(options.timeoutMs && { timeout: options.timeoutMs, killSignal: 'SIGKILL' }),
  })
  const texts = Promise.all([child.stdout!, child.stderr!].map((stream) => collect(stream, options.onLine)))
  child.stdin?.on('error', () => {}) // a command may end without reading all of its input
  child.stdin?.end(options.input)
  const code = await ended(child)
  const [stdout, stderr] = (await texts) as [string, string]
  if (code === 127 && /^setpriv: failed to execute/m.test(stderr))
    throw new UserError('command not found', { what: `${argv[0]} is not installed`, object: argv[0]! })
  return { code, stdout, stderr }
}

/** Runs a command that must succeed; a failure says the command and the last lines it wrote. */
export async function must(argv: string[], options: Options = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options)
  if (code === 0) return stdout
  const said = (stderr.trim() || stdout.trim()).split('\n').slice(-5).join(' | ')
  const object = argv.join(' ').slice(0, 200)
  throw new UserError(`ended with exit code ${code}`, { what: said || 'it said nothing', object })
}

export type Running = {
  pid: number
  /** How it ended, once it has. */
  ended: () => string | undefined
  /** SIGTERM, and SIGKILL when that was not enough after `graceMs`. */
  stop(graceMs?: number): Promise<void>
}

/** Starts a command that keeps running, its output in a log file. */
export function start(argv: string[], log: string, env: Record<string, string> = {}): Promise<Running> {
  const out = openSync(log, 'a')
  // A process group of its own: Ctrl-C on the terminal is ours to handle, in our order.
  const child = spawnOurs(argv, {
    stdio: ['ignore', out, out],
    env: { ...process.env, ...env },
    detached: true,
  })
  closeSync(out)
  let end: string | undefined
  const exit = ended(child).then((code) => {
    end = `exit code ${code}`
  })
  async function stop(graceMs = 5000) {
    child.kill('SIGTERM')
    const hard = setTimeout(() => child.kill('SIGKILL'), graceMs)
    await exit
    clearTimeout(hard)
  }
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve({ pid: child.pid!, ended: () => end, stop }))
    child.once('error', reject)
    exit.catch(reject)
  })
}

/** setpriv lets the kernel end a child when we end, however that happens: nothing of a lab outlives a kill -9. */
function spawnOurs(argv: string[], options: SpawnOptions): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'TERM', '--', ...argv], options)
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)))
  })
}

async function collect(stream: NodeJS.ReadableStream, onLine?: (line: string) => void): Promise<string> {
  let text = ''
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream) {
    text += chunk
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) onLine?.(line)
  }
  if (rest) onLine?.(rest)
  return text
}

// Commands of the lab: build steps that are waited for, and the machines and servers that keep running.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { UserError } from '../../src/fault.ts'

export type Output = { code: number; stdout: string; stderr: string }

/** Runs a command to its end. A command that is missing is a UserError; its exit code is the caller's business. */
export async function run(argv: string[], options: Options = {}): Promise<Output> {
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
    ...(options.signal && { signal: options.signal }),
    ...(options.timeoutMs && { timeout: options.timeoutMs, killSignal: 'SIGKILL' }),
  })
  const stdout = collect(child.stdout!)
  const stderr = collect(child.stderr!)
  child.stdin?.on('error', () => {}) // a command may end without reading all of its input
  child.stdin?.end(options.input)
  const code = await ended(child, argv[0]!)
  return { code, stdout: await stdout, stderr: await stderr }
}
type Options = { input?: string; env?: Record<string, string>; signal?: AbortSignal; timeoutMs?: number }

/** Runs a command that must succeed; a failure says the command and the last lines it wrote. */
export async function must(argv: string[], options: Options = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options)
  if (code === 0) return stdout
  const said = (stderr.trim() || stdout.trim()).split('\n').slice(-5).join(' | ')
  throw new UserError(`${argv[0]} ended with ${code}`, {
    what: said || 'it said nothing',
    object: argv.join(' ').slice(0, 200),
  })
}

export type Running = {
  pid: number
  /** The exit code or signal, once it has ended. */
  ended: () => string | undefined
  /** SIGTERM, and SIGKILL when that is not enough after `graceMs`. */
  stop(graceMs?: number): Promise<void>
}

/**
 * Starts a command that keeps running, its output in a log file. setpriv makes the kernel end it when we end, however
 * that happens: nothing of a lab survives a kill -9.
 */
export function start(argv: string[], log: string, env: Record<string, string> = {}): Promise<Running> {
  const out = openSync(log, 'a')
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...argv], {
    stdio: ['ignore', out, out],
    env: { ...process.env, ...env },
  })
  closeSync(out)
  let end: string | undefined
  const exit = ended(child, 'setpriv').then(
    (code) => {
      end = `exit code ${code}`
    },
    (error: Error) => {
      end = error.message
    },
  )
  async function stop(graceMs = 5000) {
    child.kill('SIGTERM')
    const hard = setTimeout(() => child.kill('SIGKILL'), graceMs)
    await exit
    clearTimeout(hard)
  }
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve({ pid: child.pid!, ended: () => end, stop }))
    child.once('error', (error) => reject(missing('setpriv', error)))
  })
}

function ended(child: ChildProcess, name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(missing(name, error)))
    child.once('close', (code, signal) => resolve(code ?? (signal === 'SIGKILL' ? 137 : 143)))
  })
}

function missing(name: string, error: Error & { code?: string }) {
  if (error.code !== 'ENOENT') return error
  return new UserError('command not found', { what: `${name} is not installed`, object: name })
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString('utf8')
}

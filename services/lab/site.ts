// A place to work in: a private network, a server of our own and machines, in one work folder. close() ends all of it.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../src/fault.ts'
import { type Output, type Running, run, start } from './command.ts'
import type { Say } from './golden.ts'
import { type Machine, makeMachine, type WantedMachine } from './machine.ts'
import { startNetwork } from './network.ts'

export type SiteOptions = {
  cache: string
  /** How the command line of sysclone is started: its argv without the command. */
  sysclone: string[]
  say: Say
  signal: AbortSignal
}
export type Site = Awaited<ReturnType<typeof openSite>>

/** Where machines of the lab keep what they write. Not /tmp: that may be memory. */
const workRoot = '/var/tmp'
const workPrefix = 'sysclone-lab-'

/** Opens a site without a server and without machines. */
export async function openSite(options: SiteOptions) {
  const { cache, say, signal } = options
  sweepWork()
  const work = join(workRoot, `${workPrefix}${process.pid}`)
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { recursive: true, mode: 0o700 })
  const network = await startNetwork()
  const machines: Machine[] = []
  const others: { name: string; running: Running; log: string }[] = []
  const socket = join(work, 'api.sock')
  const serverLog = join(work, 'server.log')
  let server: Running | undefined

  async function addMachine(wanted: WantedMachine): Promise<Machine> {
    const made = await makeMachine(wanted, network, work)
    machines.push(made)
    return made
  }

  /** `config` is the text of the server's configuration file; its API socket must be `socket`. */
  async function startServer(config: string, ...flags: string[]) {
    const file = join(work, 'server.yaml')
    writeFileSync(file, config)
    const argv = [...options.sysclone, 'serve', '--config', file, ...flags]
    server = await start(network.inside(argv), serverLog, { SYSCLONE_CACHE: cache })
    const up = () => answers(socket)
    await until(
      'the server answers',
      { limitMs: 180_000, everyMs: 200, signal },
      async () => check() ?? (await up()),
    )
  }

  /** Another program that runs as long as the site; gives the path of its log. */
  async function startOther(name: string, argv: string[]): Promise<string> {
    const log = join(work, `${name}.log`)
    others.push({ name, log, running: await start(argv, log) })
    return log
  }

  /** Throws when something that must run has ended. */
  function check(): undefined {
    for (const { name, running, log } of [
      ...(server ? [{ name: 'the server', running: server, log: serverLog }] : []),
      ...others,
    ]) {
      const end = running.ended()
      if (end !== undefined)
        throw new UserError(`${name} ended by itself`, { what: `${end}: ${lastLine(log)}` })
    }
    for (const made of machines) made.check()
  }

  /** A command as a person types it; its lines are shown as they come. */
  async function sysclone(...words: string[]): Promise<Output> {
    say(`$ sysclone ${words.join(' ')}`)
    const output = await ask(words, (line) => say(`  ${line}`))
    if (output.code !== 0)
      throw new UserError(`ended with exit code ${output.code}`, {
        what: output.stderr.trim() || output.stdout.trim(),
        object: `sysclone ${words.join(' ')}`,
      })
    return output
  }
  function ask(words: string[], onLine?: (line: string) => void) {
    const env = { SYSCLONE_SERVER: socket }
    return race(run([...options.sysclone, ...words], { env, ...(onLine && { onLine }) }), signal)
  }

  async function close(failed: boolean) {
    await Promise.allSettled(machines.map((made) => made.powerOff()))
    await Promise.allSettled(others.map(({ running }) => running.stop()))
    await server?.stop(20_000)
    await network.close()
    if (failed) keepLogs(work)
    else rmSync(work, { recursive: true, force: true })
    return failed ? logsIn(work) : []
  }

  const parts = { work, socket, serverLog, network, signal }
  return {
    ...parts,
    ...{ addMachine, startServer, startOther, check, sysclone, ask, close },
    /** The last line of the server's log about a node. */
    lastSaidOf: (name: string) => lastLine(serverLog, (line) => line.includes(`"node":"${name}"`)),
  }
}

type Wait = { limitMs: number; everyMs: number; signal: AbortSignal }

/** Asks again and again until there is an answer. Running out of time is a fault that says what was waited for. */
export async function until<T>(what: string, wait: Wait, ask: () => Promise<T | undefined>): Promise<T> {
  const from = performance.now()
  for (;;) {
    const answer = await race(ask(), wait.signal)
    if (answer !== undefined) return answer
    if (performance.now() - from > wait.limitMs)
      throw new UserError('waited too long', { what: `${Math.round(wait.limitMs / 1000)} s for: ${what}` })
    await sleep(wait.everyMs, undefined, { signal: wait.signal })
  }
}

/** The work, or the reason of the signal if that comes first; the work's own end is then nobody's business. */
export function race<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

function answers(socket: string): Promise<true | undefined> {
  return new Promise((resolve) => {
    const connection = createConnection(socket)
    connection.once('connect', () => resolve(true))
    connection.once('error', () => resolve(undefined))
    connection.once('connect', () => connection.destroy())
  })
}

const isLog = (name: string) => /\.(log|pcap)$/.test(name)
const logsIn = (work: string) =>
  readdirSync(work)
    .filter(isLog)
    .map((name) => join(work, name))

function keepLogs(work: string) {
  for (const name of readdirSync(work))
    if (!isLog(name)) rmSync(join(work, name), { recursive: true, force: true })
}

/** Disks of labs that were killed before they could clean up. */
function sweepWork() {
  for (const name of readdirSync(workRoot).filter((entry) => entry.startsWith(workPrefix)))
    if (!existsSync(join('/proc', name.slice(workPrefix.length)))) keepLogs(join(workRoot, name))
}

function lastLine(log: string, wanted = (_line: string) => true) {
  const lines = readFileSync(log, 'utf8').trim().split('\n')
  return lines.filter(wanted).at(-1)?.slice(0, 400) ?? 'it said nothing'
}

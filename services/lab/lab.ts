// A lab: private network, golden disk, a server of our own and machines, in one work folder. close() ends all of it.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../src/fault.ts'
import { type Output, type Running, run, start } from './command.ts'
import { ensureGolden, fingerprint, type Golden, type Say } from './golden.ts'
import { type Firmware, type Machine, makeBlankDisk, makeMachine } from './machine.ts'
import { bridge, serverAddress, startNetwork, subnet } from './network.ts'

export type LabOptions = {
  cache: string
  /** How the command line of sysclone is started: its argv without the command. */
  sysclone: string[]
  say: Say
  signal: AbortSignal
}
export type Lab = Awaited<ReturnType<typeof openLab>>

/** Where machines of the lab keep what they write. Not /tmp: that may be memory. */
const workRoot = '/var/tmp'
const workPrefix = 'sysclone-lab-'

/** Opens a lab without a server and without machines. */
export async function openLab(options: LabOptions) {
  const { cache, say, signal } = options
  sweepWork()
  const golden = await race(ensureGolden(cache, say), signal)
  const work = join(workRoot, `${workPrefix}${process.pid}`)
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work, { recursive: true, mode: 0o700 })
  const network = await startNetwork()
  const machines: Machine[] = []
  const socket = join(work, 'api.sock')
  let server: Running | undefined

  async function machine(wanted: { name: string; firmware: Firmware; mac: string; diskBytes: number }) {
    const disk = join(work, `${wanted.name}.raw`)
    await makeBlankDisk(disk, wanted.diskBytes)
    return keep(await makeMachine({ ...wanted, disk, boots: 'network' }, network, work))
  }
  async function goldenMachine(mac: string) {
    const wanted = {
      name: 'golden',
      firmware: 'bios',
      mac,
      disk: golden.disk,
      boots: 'disk',
      pristine: true,
      processors: 2,
    } as const
    return keep(await makeMachine(wanted, network, work))
  }
  function keep(made: Machine) {
    machines.push(made)
    return made
  }

  async function startServer() {
    const config = join(work, 'server.yaml')
    writeFileSync(config, serverConfig({ work, socket, golden }))
    const log = join(work, 'server.log')
    server = await start(network.inside([...options.sysclone, 'serve', '--config', config]), log, {
      SYSCLONE_CACHE: cache,
    })
    const up = () => answers(socket)
    await until(
      'the server answers',
      { limitMs: 180_000, everyMs: 200, signal },
      async () => check() ?? (await up()),
    )
    return readFileSync(config, 'utf8')
  }

  /** Throws when something that must run has ended. */
  function check(): undefined {
    const end = server?.ended()
    if (end !== undefined)
      throw new UserError('the server ended by itself', {
        what: `${end}: ${lastLine(join(work, 'server.log'))}`,
      })
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

  /** Runs a script on a machine as root; `undefined` while its sshd does not answer. */
  async function ssh(name: string, address: string, script: string): Promise<string | undefined> {
    const known = join(work, `${name}.known_hosts`)
    const settings = ['BatchMode=yes', 'StrictHostKeyChecking=accept-new', `UserKnownHostsFile=${known}`]
    const argv = [
      'ssh',
      '-F',
      '/dev/null',
      '-i',
      golden.key,
      ...['ConnectTimeout=5', ...settings].flatMap((s) => ['-o', s]),
    ]
    const argument = [...argv, `root@${address}`, 'sh', '-eu', '-s']
    const { code, stdout, stderr } = await race(
      run(network.inside(argument), { input: script, timeoutMs: 60_000 }),
      signal,
    )
    if (code === 0) return stdout
    if (code === 255 || code === 137) return undefined
    throw new UserError(`a command on ${name} ended with exit code ${code}`, { what: stderr.trim() })
  }

  async function close(failed: boolean) {
    await Promise.allSettled(machines.map((made) => made.powerOff()))
    await server?.stop(20_000)
    await network.close()
    if (failed) keepLogs(work)
    else rmSync(work, { recursive: true, force: true })
    return failed ? logsIn(work) : []
  }

  return {
    ...{
      golden,
      work,
      network,
      machine,
      goldenMachine,
      startServer,
      check,
      sysclone,
      ask,
      ssh,
      close,
      signal,
    },
    /** The last line of the server's log about a node. */
    lastSaidOf: (name: string) =>
      lastLine(join(work, 'server.log'), (line) => line.includes(`"node":"${name}"`)),
    /** 'SHA256:...' of the host key that a machine showed at its first ssh contact in this lab. */
    hostKeyOf: (name: string) => {
      const line = readFileSync(join(work, `${name}.known_hosts`), 'utf8').trim()
      return fingerprint(line.slice(line.indexOf(' ') + 1))
    },
  }
}

function serverConfig(lab: { work: string; socket: string; golden: Golden }) {
  return `# One private network, one namespace: nothing outside it hears this server.
stateDir: ${join(lab.work, 'state')}
networks: [{ interface: ${bridge}, subnet: ${subnet}, address: ${serverAddress}, mode: dhcp }]
http: { port: 80, imagePort: 8081, workers: 2 }
tftp: { port: 69 }
api: { socket: ${lab.socket} }
ssh: { identity: ${lab.golden.key} }
`
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
function race<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
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

const isLog = (name: string) => name.endsWith('.log')
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

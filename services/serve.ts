// The supervisor: starts the other processes, restarts whichever dies, relays their messages, writes the one log.
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Config } from '../src/config.ts'
import type { Event } from '../src/events.ts'
import { type Fault, UserError } from '../src/fault.ts'
import { makeEmit } from './emit.ts'
import type { HandedDescriptor } from './net/handed.ts'
import type { Down, JobSpec, Role, ToBoot, ToMain, Up } from './process.ts'
import { heapOf } from './process.ts'

const backoffMs = { first: 100, most: 5000, healthyAfter: 10_000 }
/** stdin, stdout, stderr, the channel; those that systemd opened come behind. */
const ownDescriptors = ['ignore', 'inherit', 'inherit', 'ipc'] as const
const queueLimit = 20_000 // messages kept for a process that is being restarted

type Needs = {
  config: Config
  log: (event: Event) => void
  coexist?: boolean
  handed?: readonly HandedDescriptor[]
}
type Child = {
  name: string
  role: Role
  process: ChildProcess
  startedAt: number
  ready: boolean
  job: string | undefined
  /** A job: it has told how it ended. */
  hasTold: boolean
}

/**
 * Starts everything and resolves when all of it is ready.
 * @param log gets every event, once; must not throw
 * @param coexist also beside another DHCP server
 * @param handed sockets for DHCP that systemd opened
 * @throws UserError what the first process that could not start said
 */
export async function startServer({ config, log, coexist = false, handed = [] }: Needs) {
  const children = new Map<string, Child>()
  const queued = { main: [] as ToMain[], boot: [] as ToBoot[] }
  const delays = new Map<string, number>()
  const timers = new Set<NodeJS.Timeout>()
  let stopping = false
  let started = false
  const emit = makeEmit((event) => observe([event as Event], 'serve'))

  const workers = Array.from({ length: config.http.workers }, (_, i) => `blob${i + 1}`)
  const awaited = new Set(['main', 'boot', ...workers])
  const firstStart = Promise.withResolvers<void>()
  const failStart = ({ error, ...more }: Fault) => firstStart.reject(new UserError(error, more))
  spawnChild('main', 'main')
  spawnChild('boot', 'boot')
  for (const name of workers) spawnChild(name, 'blob')

  function spawnChild(name: string, role: Role, job?: { id: string; spec: JobSpec }) {
    const passed = role === 'boot' ? handed : []
    const child = fork(join(import.meta.dirname, `${role}.ts`), [], {
      execArgv: [...process.execArgv, ...heapOf[role]],
      stdio: [...ownDescriptors, ...passed.map(({ fd }) => fd)],
    })
    const entry: Child = {
      name,
      role,
      process: child,
      startedAt: performance.now(),
      ready: false,
      job: job?.id,
      hasTold: false,
    }
    children.set(name, entry)
    child.on('message', (message: Up) => receive(entry, message))
    child.on('error', () => {}) // a failed send; the exit that follows says it all
    // What a job said last may come in after its end: `close` waits for it.
    child.on(role === 'job' ? 'close' : 'exit', (code, signal) => exited(entry, code, signal, job))
    // Another DHCP server may come while we run: the boot process that is started again does not give way to it.
    const inChild = passed.map(({ name }, i) => ({ name, fd: ownDescriptors.length + i }))
    const begin = { config, coexist, restarted: started, handed: inChild }
    tell(entry, {
      kind: 'begin',
      ...begin,
      ...(job && { job: job.id, spec: job.spec }),
      ...(role === 'main' && { jobs: jobsToExpect() }),
    })
    return entry
  }

  /** A job that ended while main was away is one that main still knows as running. */
  function jobsToExpect(): string[] {
    const running = [...children.values()].flatMap(({ job }) => job ?? [])
    return [...running, ...queued.main.flatMap((body) => (body.type === 'job-ended' ? body.job : []))]
  }

  function tell(child: Child, message: Down) {
    if (child.process.connected) child.process.send(message, () => {})
  }

  function receive(child: Child, message: Up) {
    switch (message.kind) {
      case 'ready':
        child.ready = true
        emit('serve.start', { process: child.name })
        for (const body of child.role === 'main' ? queued.main.splice(0) : [])
          tell(child, { kind: 'message', body })
        for (const body of child.role === 'boot' ? queued.boot.splice(0) : [])
          tell(child, { kind: 'message', body })
        awaited.delete(child.name)
        if (awaited.size === 0) firstStart.resolve()
        return
      case 'fatal':
        if (!started && child.role !== 'job') return failStart(message.fault)
        return emit('serve.fail', { process: child.name, why: message.fault.error, what: message.fault.what })
      case 'events':
        return observe(message.events, child.name)
      case 'send':
        child.hasTold ||= message.body.type === 'job-ended'
        return message.to === 'main' ? relay('main', message.body) : relay('boot', message.body)
      case 'start-job':
        emit('job.start', {
          job: message.job,
          kind: message.spec.kind,
          ...('node' in message.spec && { node: message.spec.node }),
        })
        return void spawnChild(`job ${message.job}`, 'job', { id: message.job, spec: message.spec })
    }
  }

  /** Every event goes to the log; main gets those that it did not emit itself. */
  function observe(events: Event[], from: string) {
    for (const event of events) log(event)
    if (from !== 'main') relay('main', { type: 'events', events })
  }

  function relay(to: 'main', body: ToMain): void
  function relay(to: 'boot', body: ToBoot): void
  function relay(to: 'main' | 'boot', body: ToMain | ToBoot) {
    const child = children.get(to)
    // The boot process becomes ready by what main tells it; main takes messages once it can act on them.
    const listens = child?.process.connected && (child.ready || to === 'boot')
    if (child && listens) return tell(child, { kind: 'message', body })
    // One by one: the limit is one of events, however many came together.
    if (body.type !== 'events') return enqueue(queued[to], body)
    for (const event of body.events) enqueue(queued[to], { ...body, events: [event] })
  }

  function enqueue(queue: (ToMain | ToBoot)[], body: ToMain | ToBoot) {
    // It comes again until it is stored; once is enough.
    const before = body.type === 'boot-steps' ? queue.findIndex(({ type }) => type === body.type) : -1
    if (before >= 0) queue.splice(before, 1)
    queue.push(body)
    if (queue.length <= queueLimit) return
    // Events were logged (those that main had in its pipe when it was killed are in the log alone), and the boot process asks again for what it misses; how a job ended is said once.
    const oldest = queue.shift()!
    if (oldest.type === 'job-ended') queue.push(oldest)
  }

  function exited(
    child: Child,
    code: number | null,
    signal: string | null,
    job?: { id: string; spec: JobSpec },
  ) {
    children.delete(child.name)
    if (stopping) return
    const how = signal ? { signal } : { code: code ?? -1 }
    if (child.role === 'job') {
      if (child.hasTold) return
      const what = signal ? `ended by ${signal}` : `exit code ${code}`
      if (job)
        relay('main', {
          type: 'job-ended',
          job: job.id,
          kind: job.spec.kind,
          fault: { error: 'the job died', what },
        })
      return
    }
    emit('serve.exit', { process: child.name, ...how })
    if (!started)
      return failStart({ error: `the ${child.name} process did not start`, what: JSON.stringify(how) })
    const healthy = performance.now() - child.startedAt > backoffMs.healthyAfter
    const delay = healthy ? backoffMs.first : (delays.get(child.name) ?? backoffMs.first)
    delays.set(child.name, Math.min(delay * 2, backoffMs.most))
    const timer = setTimeout(() => {
      timers.delete(timer)
      if (!stopping) spawnChild(child.name, child.role)
    }, delay)
    timers.add(timer)
  }

  async function close() {
    stopping = true
    for (const timer of timers) clearTimeout(timer)
    await Promise.all([...children.values()].map(endChild))
  }

  async function endChild(child: Child) {
    if (child.process.exitCode !== null || child.process.signalCode !== null) return
    const gone = new Promise((done) => child.process.once('exit', done))
    tell(child, { kind: 'stop' })
    const timer = setTimeout(() => child.process.kill('SIGKILL'), 5000)
    await gone
    clearTimeout(timer)
  }

  try {
    await firstStart.promise
    started = true
  } catch (error) {
    await close()
    throw error
  }
  return { close, pids: () => Object.fromEntries([...children].map(([name, c]) => [name, c.process.pid])) }
}

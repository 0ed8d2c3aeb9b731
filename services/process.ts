// The processes of the server: how node runs each, and what they say to each other through the supervisor (see serve.ts).

import { join } from 'node:path'
import type { Ipv4, Mac, NodeName } from '../src/address.ts'
import type { Delta, Snapshot } from '../src/boot/plan.ts'
import type { Stranger } from '../src/boot/strangers.ts'
import type { Config } from '../src/config.ts'
import type { LeaseState } from '../src/dhcp/leases.ts'
import type { Event } from '../src/events.ts'
import { type Fault, faultOf } from '../src/fault.ts'
import type { ImageKind } from '../src/image/version.ts'
import { type Emit, makeEmit } from './emit.ts'
import type { HandedDescriptor } from './net/handed.ts'

export type Role = 'main' | 'boot' | 'blob' | 'job'

/**
 * What lives for one request only is thrown away after four megabytes of it. V8 lets it grow to some fifty before it looks, in
 * each process, and servers of small requests are no faster for that.
 */
const shortLived = ['--max-semi-space-size=4']
/** How node is to hold house, by the role of a process. A job meets a million files: its heap may grow by half, not fourfold. */
export const heapOf: Record<Role, readonly string[]> = {
  main: shortLived,
  boot: shortLived,
  blob: shortLived,
  job: [...shortLived, '--heap-growing-percent=50'],
}

export type CaptureSpec = {
  kind: 'capture'
  node: NodeName
  host: string
  port: number
  user: string
  hostKey?: string // 'SHA256:...'
  jump?: { host: string; port: number; user: string; hostKey?: string }
  image: string
  type?: ImageKind
  excludes?: string[] // words of exclude=
  place?: string // where the version is kept, when that is not the image store
  scrub?: string[] // what the osimage says
  hold?: { snapshot?: boolean; freeze?: string; thaw?: string } // what the machine does for the time of the copy
}
/** A look at a golden client; the report goes to `out`, a unix socket that somebody listens on. */
export type CheckSpec = Omit<CaptureSpec, 'kind' | 'place' | 'hold'> & { kind: 'check'; out: string }
/** Work on the image store. `out` is a file that the job makes, or a unix socket that somebody listens on. */
export type ImageSpec =
  | ImportSpec
  | { kind: 'squash'; image: string; version: number }
  | { kind: 'export'; image: string; version: number; out: string }
  | { kind: 'diff'; from: VersionSpec; to: VersionSpec; out: string }
  | { kind: 'cat'; image: string; version: number; path: string; out: string }
  | { kind: 'fsck'; versions?: VersionSpec[]; out: string } // absent: all of them
  | { kind: 'gc' }
/** `is`: what the name stands for already. `excludes` and `scrub` are the words of its osimage. */
export type ImportSpec = {
  kind: 'import'
  image: string
  source: string
  layout?: string
  place?: string
  choose?: ImportChoice
  is?: 'sysclone' | 'diskless'
  excludes?: readonly string[]
  scrub?: readonly string[]
}
export type VersionSpec = { image: string; version: number }
/** Which one, of a source that holds several. */
export type ImportChoice = { ref?: string; arch?: string; kernel?: string }
export type JobSpec = CaptureSpec | CheckSpec | ImageSpec

/** One row of the lease list, as the API shows it. */
export type LeaseRow = { mac: Mac; address: Ipv4; node?: NodeName; expires: number; state: LeaseState }

export type ToMain =
  | { type: 'events'; events: Event[] }
  | { type: 'need-snapshot' } // the boot process has none, or missed a delta
  | { type: 'leases'; ask: number; leases: LeaseRow[] }
  | { type: 'strangers'; ask: number; strangers: Stranger[] }
  /** What machines asked and got (services/record/recorder.ts); `of` tells one life of the boot process from another. */
  | { type: 'boot-steps'; of: string; number: number; steps: string }
  | { type: 'job-ended'; job: string; kind: JobSpec['kind']; fault?: Fault; result?: string }
export type ToBoot =
  | { type: 'snapshot'; snapshot: Snapshot }
  | { type: 'delta'; delta: Delta }
  | { type: 'leases'; ask: number }
  | { type: 'strangers'; ask: number }
  | { type: 'boot-steps-stored'; of: string; number: number }

/** Where the token for the registry is, when the configuration names no other file. */
export const registryToken = (stateDir: string): string => join(stateDir, 'registry.token')

/** Child to supervisor. */
export type Up =
  | { kind: 'ready' }
  | { kind: 'fatal'; fault: Fault }
  | { kind: 'events'; events: Event[] }
  | { kind: 'send'; to: 'main'; body: ToMain }
  | { kind: 'send'; to: 'boot'; body: ToBoot }
  | { kind: 'start-job'; job: string; spec: JobSpec }
/** Supervisor to child. */
export type Down =
  /** `jobs`, to main: those that run, and those whose end it is told as soon as it is ready. */
  | {
      kind: 'begin'
      config: Config
      coexist: boolean
      restarted: boolean
      handed: HandedDescriptor[] // for the boot process
      spec?: JobSpec
      job?: string
      jobs?: string[]
    }
  | { kind: 'message'; body: ToMain | ToBoot }
  | { kind: 'stop' }

export type Parent = {
  emit: Emit
  /** An event that has its time already. */
  say(event: Event): void
  send(message: Up): void
  onMessage(handle: (body: any) => void): void
}

/**
 * Runs the body of a child process: waits for its configuration, says ready when `start` resolves, stops on `stop` or
 * when the supervisor is gone. A fault at start is told to the supervisor, which decides.
 */
export function runChild(
  start: (
    begin: Extract<Down, { kind: 'begin' }>,
    parent: Parent,
  ) => Promise<{ close(): Promise<void> | void }>,
) {
  const waiting: unknown[] = []
  let handle: ((body: any) => void) | undefined
  let running: Promise<{ close(): Promise<void> | void }> | undefined
  const tell = (message: Up) => {
    if (process.connected) process.send?.(message)
  }
  const said = gatherEvents((events) => tell({ kind: 'events', events }))
  /** After the events that came before it. */
  function send(message: Up) {
    said.flush()
    tell(message)
  }
  const parent: Parent = {
    emit: makeEmit((event) => said.add(event as Event)),
    say: said.add,
    send,
    onMessage(next) {
      handle = next
      for (const body of waiting.splice(0)) next(body)
    },
  }
  process.on('message', (message: Down) => {
    if (message.kind === 'begin') running = start(message, parent)
    if (message.kind === 'begin') running?.then(() => send({ kind: 'ready' }), fatal)
    if (message.kind === 'message') deliver(message.body)
    if (message.kind === 'stop') void stop()
  })
  process.on('disconnect', () => void stop())
  // Ctrl-C reaches the whole process group; the supervisor tells us when to end.
  process.on('SIGINT', () => {})

  function deliver(body: unknown) {
    if (handle) handle(body)
    else waiting.push(body)
  }
  function fatal(error: unknown) {
    send({ kind: 'fatal', fault: startFault(error) })
    process.exitCode = 1
    setTimeout(() => process.exit(1), 100)
  }
  async function stop() {
    const timer = setTimeout(() => process.exit(1), 4000)
    await running?.then((child) => child.close()).catch(() => {})
    clearTimeout(timer)
    said.flush()
    process.exit(0)
  }
}

/** A rack that starts says tens of thousands of things within a second: they travel together. */
function gatherEvents(send: (events: Event[]) => void) {
  let waiting: Event[] = []
  let timer: NodeJS.Timeout | undefined
  function flush() {
    clearTimeout(timer)
    timer = undefined
    const events = waiting
    waiting = []
    if (events.length > 0) send(events)
  }
  function add(event: Event) {
    waiting.push(event)
    if (waiting.length >= gathered.most) flush()
    else timer ??= setTimeout(flush, gathered.ms)
  }
  return { add, flush }
}
const gathered = { most: 500, ms: 10 }

/** A port or an address that can't be had is the configuration's fault, not a bug. */
function startFault(error: unknown): Fault {
  const { syscall, code, address, port } = error as NodeJS.ErrnoException & {
    address?: string
    port?: number
  }
  const cures: Record<string, string> = {
    EADDRINUSE: 'a port that no other program uses; is another server running?',
    EADDRNOTAVAIL: "an address of one of this machine's interfaces",
    EACCES: 'to run as root, or a port above 1023',
  }
  const cure = syscall && code ? cures[code] : undefined
  if (!cure) return faultOf(error)
  return {
    error: `can not ${syscall}`,
    what: `${address}:${port} ${code === 'EADDRINUSE' ? 'is in use' : code}`,
    allowed: cure,
  }
}

// Jobs run in processes of their own that outlive a restart of main; here is what main knows of them.
import { randomBytes } from 'node:crypto'
import type { ImageName } from '../src/address.ts'
import { type Fault, UserError } from '../src/fault.ts'
import { versionName } from '../src/image/version.ts'
import { ended, type Job, makesVersion } from '../src/job.ts'
import type { Emit } from './emit.ts'
import type { JobSpec, VersionSpec } from './process.ts'

type Needs = {
  stored: { listRunning(): Promise<Job[]>; put(job: Job): Promise<void> }
  /** The ids of jobs that run, or whose end is told yet. */
  expected: readonly string[]
  /** What a job made whose end was not heard of. */
  madeBy: (job: Job) => string | undefined
  start: (job: string, spec: JobSpec) => void
  emit: Emit
  now: () => number
}

/** Knows again what ran before; what nobody runs any more has ended. */
export async function openJobs({ stored, expected, madeBy, start: run, emit, now }: Needs) {
  const running = new Map<string, Job>()
  for (const job of await stored.listRunning()) running.set(job.id, job)
  for (const job of [...running.values()])
    if (!expected.includes(job.id)) await end(job.id, endOfLost(madeBy(job)))

  /** Answers with its id; throws UserError when another job makes a version of the same image. */
  async function start(spec: JobSpec): Promise<string> {
    const { kind } = spec
    const image = imageOf(spec)
    const rival = makesVersion(spec) && makerOf(image)
    if (rival)
      throw new UserError(`the image is being ${doing[rival.kind] ?? 'made'}`, {
        what: rival.node ? `${image} from ${rival.node}` : `${image}`,
        allowed: `another name, or to wait; sysclone jobs shows job ${rival.id}`,
        object: image ?? '',
        status: 409,
      })
    const id = randomBytes(6).toString('hex')
    const uses = usesOf(spec)
    const job: Job = {
      id,
      kind,
      ...('node' in spec && { node: spec.node }),
      ...(image !== undefined && { image }),
      ...(uses.length > 0 && { uses }),
      state: 'running',
      startedAt: now(),
      ...keysOf(spec),
    }
    running.set(id, job) // before anything is waited for: two requests at once are rivals too
    try {
      await stored.put(job)
    } catch (error) {
      running.delete(id)
      throw error
    }
    run(id, spec)
    return id
  }

  /** Writes down how it ended, and tells everybody; nothing for one that is not known, or has ended before. */
  async function end(id: string, how: { result?: string; fault?: Fault }): Promise<void> {
    const job = running.get(id)
    if (!job) return
    running.delete(id)
    try {
      await stored.put(ended(job, how, now()))
    } finally {
      announce(job, how) // whoever waits for it is told even when the disk is full
    }
  }

  function announce(
    { id: job, kind, node }: Job,
    { result = '', fault }: { result?: string; fault?: Fault },
  ) {
    const common = { job, kind, ...(node && { node }) }
    if (!fault) return emit('job.done', { ...common, result })
    const why = [fault.error, fault.what, fault.allowed].filter(Boolean).join('; ')
    emit('job.fail', { ...common, why })
  }

  const makerOf = (image: ImageName | undefined) =>
    [...running.values()].find((each) => makesVersion(each) && each.image === image)

  /** A running job that reads this version, or makes the next one of its image, which it may build on. */
  const userOf = (version: { name: ImageName; version: number }): Job | undefined =>
    makerOf(version.name) ?? [...running.values()].find(({ uses }) => uses?.includes(versionName(version)))

  return { start, end, userOf, running: (id: string): Job | undefined => running.get(id) }
}

const doing: Partial<Record<Job['kind'], string>> = {
  capture: 'captured',
  import: 'imported',
  squash: 'squashed',
}

const imageOf = (spec: JobSpec): ImageName | undefined =>
  'image' in spec ? (spec.image as ImageName) : undefined

/** The versions that it reads, as `img:3`. */
function usesOf(spec: JobSpec): string[] {
  const named = ({ image: name, version }: VersionSpec) => versionName({ name, version })
  if (spec.kind === 'diff') return [named(spec.from), named(spec.to)]
  if (spec.kind === 'fsck') return (spec.versions ?? []).map(named)
  return 'version' in spec ? [named(spec)] : []
}

/** Host keys that it may trust. */
function keysOf(spec: JobSpec): Pick<Job, 'hostKey' | 'jumpHostKey'> {
  if (spec.kind !== 'capture' && spec.kind !== 'check') return {}
  const { hostKey, jump } = spec
  return { ...(hostKey && { hostKey }), ...(jump?.hostKey && { jumpHostKey: jump.hostKey }) }
}

const endOfLost = (result: string | undefined) =>
  result === undefined
    ? { fault: { error: 'the server ended before the job did', what: 'nothing of it was kept' } }
    : { result }

// Jobs run in processes of their own that outlive a restart of main; here is what main knows of them.
import { randomBytes } from 'node:crypto'
import type { ImageName } from '../src/address.ts'
import { type Fault, UserError } from '../src/fault.ts'
import { ended, type Job } from '../src/job.ts'
import type { Emit } from './emit.ts'
import type { JobSpec } from './process.ts'

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

  /** Answers with its id; throws UserError when the image is being captured already. */
  async function start(spec: JobSpec): Promise<string> {
    const { kind, node, hostKey, jump } = spec
    const image = spec.image as ImageName
    const rival = [...running.values()].find((each) => each.image === image)
    if (rival)
      throw new UserError('the image is being captured', {
        what: `${image} from ${rival.node}`,
        allowed: `another name, or to wait; sysclone jobs shows job ${rival.id}`,
        object: image,
        status: 409,
      })
    const id = randomBytes(6).toString('hex')
    const job: Job = {
      id,
      kind,
      node,
      image,
      state: 'running',
      startedAt: now(),
      ...(hostKey && { hostKey }),
      ...(jump?.hostKey && { jumpHostKey: jump.hostKey }),
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
    if (!fault) return emit('job.done', { job, kind, node, result })
    const why = [fault.error, fault.what, fault.allowed].filter(Boolean).join('; ')
    emit('job.fail', { job, kind, node, why })
  }

  return { start, end, running: (id: string): Job | undefined => running.get(id) }
}

const endOfLost = (result: string | undefined) =>
  result === undefined
    ? { fault: { error: 'the server ended before the job did', what: 'nothing of it was kept' } }
    : { result }

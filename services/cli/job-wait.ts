// Waiting for a job that the server does: its steps are shown as they come, and a server that is started again meanwhile
// is waited for.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { Job } from '../../src/job.ts'
import type { Api } from './api.ts'
import type { Step } from './progress.ts'

const patienceMs = 60_000 // with a server that does not answer any more

type Needs = {
  client: Api
  /** Asks the server for the job; answers with its id. */
  start: () => Promise<string>
  left: AbortSignal
  show: (step: Step) => void
  work: string // 'capture': for what is said when it fails
}
type Waiting = Omit<Needs, 'start'> & { job: string; listen: () => ReturnType<Api['events']> }

/**
 * Starts a job and waits for what it makes: `img:3`. Throws UserError with what made it fail, and one that says how to see
 * it when the person leaves.
 */
export async function waitForJob(needs: Needs): Promise<{ job: string; result: string }> {
  const { client, start, left } = needs
  const done = new AbortController()
  const listen = () => client.events({ things: 'capture,image,job' }, AbortSignal.any([left, done.signal]))
  let job: string | undefined
  try {
    // Listening comes first, so that nothing of the job is missed.
    const events = await listen()
    job = await start()
    return { job, result: await endOf({ ...needs, job, listen }, events) }
  } catch (error) {
    throw left.aborted && job ? leftAlone(job) : error
  } finally {
    done.abort()
  }
}

async function endOf(waiting: Waiting, events: AsyncIterable<Event>): Promise<string> {
  const { client, job, listen, left, show, work } = waiting
  let last: Step = { phase: 'start', percent: 0 }
  for (let stream = events; ; ) {
    const result = await follow(stream, waiting, (step) => {
      last = step
      show(step)
    })
    if (result !== undefined) return result
    if (left.aborted) throw new Error('stopped')
    show({ phase: 'waiting for the server', percent: last.percent })
    const [again, row] = await untilAnswered(waiting, async () => {
      const stream = await listen() // first, lest the job ends between the two
      return [stream, (await client.get(`/jobs/${job}`)).job as Job] as const
    })
    if (row.state === 'done') return row.result ?? ''
    if (row.fault) throw failed(work, row.fault.error, row.fault.what, row.fault.allowed)
    stream = again
  }
}

/** Reads events until the job ends; nothing when they end before it does. */
async function follow(
  events: AsyncIterable<Event>,
  { job, work }: Waiting,
  show: (step: Step) => void,
): Promise<string | undefined> {
  try {
    for await (const event of events) {
      if (event.job !== job) continue
      const { phase = '', percent = 0, text, note, why, result } = event as Event & Record<string, unknown>
      if (event.type === 'capture.progress' || event.type === 'image.progress')
        show({
          ...{ phase: String(phase), percent: Number(percent) },
          ...(text ? { text: String(text) } : {}),
          ...(note ? { note: String(note) } : {}),
        })
      if (event.type === 'job.fail') throw failed(work, String(why))
      if (event.type === 'job.done') return String(result ?? '')
    }
  } catch (error) {
    if (error instanceof UserError) throw error // else: the connection broke
  }
  return undefined
}

async function untilAnswered<T>({ job, left }: Waiting, ask: () => Promise<T>): Promise<T> {
  for (const end = Date.now() + patienceMs; ; ) {
    try {
      return await ask()
    } catch (error) {
      // Anything but silence is an answer.
      if (left.aborted || (error instanceof UserError && error.status !== 503)) throw error
      if (Date.now() > end) throw wentAway(job)
    }
    await sleep(500, undefined, { signal: left })
  }
}

const failed = (work: string, ...why: (string | undefined)[]) =>
  new UserError(`the ${work} failed`, { what: why.filter(Boolean).join('; ') })

const wentAway = (job: string) =>
  new UserError('the server went away', {
    what: `job ${job} may still be running`,
    allowed: 'sysclone jobs shows what became of it once the server is back',
  })

const leftAlone = (job: string) =>
  new UserError('not waited for', {
    what: `the server goes on with job ${job}`,
    allowed: 'sysclone jobs shows it',
  })

import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { Job } from '../../src/job.ts'
import type { Api } from './api.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { openProgress, type Step } from './progress.ts'

type Options = Shared & { o: string; acceptHostkey?: string; acceptJumpHostkey?: string }
type Captured = { name: string; version: number; bytes: number }

const patienceMs = 60_000 // with a server that does not answer any more

/** `imgcapture NODE -t sysclone -o IMG`: waits for the capture, which the server does. */
export function imgcapture(program: Command, needs: Needs) {
  serverCommand(program, 'imgcapture', 'capture a running machine as the next version of an osimage')
    .argument('<node>', 'the golden client, a defined node with an address')
    .addOption(new Option('-t <type>', 'way of capturing').choices(['sysclone']).default('sysclone'))
    .requiredOption('-o <image>', 'name of the osimage')
    .option('--accept-hostkey <fingerprint>', 'trust this ssh host key from now on', parseFingerprint)
    .option('--accept-jump-hostkey <fingerprint>', 'the same, of the host of sshjump=', parseFingerprint)
    .action((node: string, options: Options) => capture(needs, node, options))
}

function parseFingerprint(text: string): string {
  if (!/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(text))
    throw new InvalidArgumentError('Allowed: SHA256: and 43 characters, as ssh-keygen -lf prints it.')
  return text.replace(/=$/, '')
}

async function capture({ api, print, interrupted }: Needs, node: string, options: Options) {
  const { server, json, o: image, acceptHostkey, acceptJumpHostkey } = options
  const client = api(server)
  const left = interrupted()
  const done = new AbortController()
  const progress = openProgress(json ? { ...print, line: () => {}, raw: () => {} } : print)
  const listen = () => client.events({ things: 'capture,job' }, AbortSignal.any([left, done.signal]))
  let job: string | undefined
  try {
    // Listening comes first, so that nothing of the job is missed.
    const events = await listen()
    const request = {
      ...{ node, image },
      ...(acceptHostkey && { acceptHostkey }),
      ...(acceptJumpHostkey && { acceptJumpHostkey }),
    }
    job = (await client.post('/captures', request)).job as string
    const result = await endOf({ client, job, listen, left, show: progress.show }, events)
    const made = await versionOf(client, result)
    progress.close()
    if (json) print.json({ job, ...made })
    else print.line(`${node}: captured as ${result}`)
  } catch (error) {
    progress.close()
    throw left.aborted && job ? leftAlone(node, job) : withObject(error, node)
  } finally {
    done.abort()
  }
}

const withObject = (error: unknown, object: string) =>
  error instanceof UserError ? new UserError(error.fault.error, { object, ...error.fault }) : error

type Waiting = {
  client: Api
  job: string
  listen: () => ReturnType<Api['events']>
  left: AbortSignal
  show: (step: Step) => void
}

/** What the job made; throws what made it fail. A server that is started again meanwhile is waited for. */
async function endOf(waiting: Waiting, events: AsyncIterable<Event>): Promise<string> {
  const { client, job, listen, left, show } = waiting
  let last: Step = { phase: 'start', percent: 0 }
  for (let stream = events; ; ) {
    const result = await follow(stream, job, (step) => {
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
    if (row.fault) throw failed(row.fault.error, row.fault.what, row.fault.allowed)
    stream = again
  }
}

/** Reads events until the job ends; nothing when they end before it does. */
async function follow(
  events: AsyncIterable<Event>,
  job: string,
  show: (step: Step) => void,
): Promise<string | undefined> {
  try {
    for await (const event of events) {
      if (event.job !== job) continue
      const { phase = '', percent = 0, text, why, result } = event as Event & Record<string, unknown>
      if (event.type === 'capture.progress')
        show({ phase: String(phase), percent: Number(percent), ...(text ? { text: String(text) } : {}) })
      if (event.type === 'job.fail') throw failed(String(why))
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

/** `img:3` with its size, as the image store has it. */
async function versionOf(client: Api, result: string) {
  const { images } = await client.get('/images')
  const found = images.find((each: Captured) => `${each.name}:${each.version}` === result)
  const [image, version] = result.split(':')
  return { image, version: Number(version), ...(found && { bytes: found.bytes as number }) }
}

const failed = (...why: (string | undefined)[]) =>
  new UserError('the capture failed', { what: why.filter(Boolean).join('; ') })

const wentAway = (job: string) =>
  new UserError('the server went away', {
    what: `job ${job} may still be running`,
    allowed: 'sysclone jobs shows what became of it once the server is back',
  })

const leftAlone = (node: string, job: string) =>
  new UserError('not waited for', {
    what: `the server goes on with job ${job}`,
    allowed: 'sysclone jobs shows it',
    object: node,
  })

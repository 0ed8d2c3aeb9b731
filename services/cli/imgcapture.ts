import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { Api } from './api.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { openProgress } from './progress.ts'

type Options = Shared & { o: string; acceptHostkey?: string }
type Captured = { image: string; version: number; bytes: number }

/** `imgcapture NODE -t sysclone -o IMG`: waits for the capture, which the server does. */
export function imgcapture(program: Command, needs: Needs) {
  serverCommand(program, 'imgcapture', 'capture a running machine as the next version of an osimage')
    .argument('<node>', 'the golden client, a defined node with an address')
    .addOption(new Option('-t <type>', 'way of capturing').choices(['sysclone']).default('sysclone'))
    .requiredOption('-o <image>', 'name of the osimage')
    .option('--accept-hostkey <fingerprint>', 'trust this ssh host key from now on', parseFingerprint)
    .action((node: string, options: Options) => capture(needs, node, options))
}

function parseFingerprint(text: string): string {
  if (!/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(text))
    throw new InvalidArgumentError('Allowed: SHA256: and 43 characters, as ssh-keygen -lf prints it.')
  return text.replace(/=$/, '')
}

async function capture({ api, print, interrupted }: Needs, node: string, options: Options) {
  const { server, json, o: image, acceptHostkey } = options
  const client = api(server)
  const left = interrupted()
  const done = new AbortController()
  const progress = openProgress(json ? { ...print, line: () => {}, raw: () => {} } : print)
  let job: string | undefined
  try {
    // Listening comes first, so that nothing of the job is missed.
    const events = await client.events({ things: 'capture,job' }, AbortSignal.any([left, done.signal]))
    const request = { node, image, ...(acceptHostkey && { acceptHostkey }) }
    job = (await client.post('/captures', request)).job as string
    const captured = await follow(events, job, progress.show)
    progress.close()
    if (json) print.json({ job, ...captured })
    else print.line(`${node}: captured as ${captured ? `${captured.image}:${captured.version}` : image}`)
  } catch (error) {
    progress.close()
    throw left.aborted && job ? leftAlone(node, job) : withObject(error, node)
  } finally {
    done.abort()
  }
}

const withObject = (error: unknown, object: string) =>
  error instanceof UserError ? new UserError(error.fault.error, { object, ...error.fault }) : error

/** Reads events until the job ends; throws what made it fail. */
async function follow(
  events: Awaited<ReturnType<Api['events']>>,
  job: string,
  show: (step: { phase: string; percent: number; text?: string }) => void,
): Promise<Captured | undefined> {
  let captured: Captured | undefined
  for await (const event of events) {
    if (event.job !== job) continue
    const fields = event as Event & Record<string, string | number | undefined>
    const { phase = '', percent = 0, text, image, version, bytes, why } = fields
    if (event.type === 'capture.progress')
      show({ phase: String(phase), percent: Number(percent), ...(text && { text: String(text) }) })
    if (event.type === 'capture.done')
      captured = { image: String(image), version: Number(version), bytes: Number(bytes) }
    if (event.type === 'job.fail') throw new UserError('the capture failed', { what: String(why) })
    if (event.type === 'job.done') return captured
  }
  throw new UserError('the server went away', {
    what: `job ${job} may still be running`,
    allowed: 'lsimage shows the version once it is there',
  })
}

const leftAlone = (node: string, job: string) =>
  new UserError('not waited for', {
    what: `the server goes on with job ${job}`,
    allowed: 'lsimage shows the version once it is there',
    object: node,
  })

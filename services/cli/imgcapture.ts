import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parseImageName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { CaptureReport } from '../../src/image/capture-report.ts'
import type { Preflight } from '../../src/image/preflight.ts'
import { showPreflight } from '../../src/image/preflight-text.ts'
import { renderCaptureReport } from '../../src/image/report-text.ts'
import type { Api } from './api.ts'
import { jsonLines, runImageJob, withSocket } from './image-job.ts'
import { waitForJob } from './job-wait.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { openProgress } from './progress.ts'

type Options = Shared & {
  t: string
  o: string
  p?: string
  V?: boolean
  l?: string
  check?: true
  snapshot?: true
  freeze?: string
  thaw?: string
  acceptHostkey?: string
  acceptJumpHostkey?: string
}
type Captured = { name: string; version: number; bytes: number }

/** `imgcapture NODE -t sysclone -o IMG`: waits for the capture, which the server does. */
export function imgcapture(program: Command, needs: Needs) {
  serverCommand(program, 'imgcapture', 'capture a running machine as the next version of an osimage')
    .argument('<node>', 'the golden client, a defined node with an address')
    .addOption(
      new Option('-t <type>', 'sysclone: to be installed on disks; diskless: to be booted in RAM')
        .choices(['sysclone', 'diskless'])
        .default('sysclone'),
    )
    .requiredOption('-o <image>', 'name of the osimage', parseImage)
    .option('-p <profile>', 'profile of the osimage', parseProfile)
    .option('-V', 'show the report of the capture')
    .addOption(notHere('-i <nic>', 'the clone boots from the interface that its firmware uses'))
    .addOption(notHere('-n <drivers>', 'the ramdisk has the drivers of the image'))
    .addOption(notHere('-d <device>', 'it is for z/VM'))
    .addOption(notHere('-c <level>', 'it is for z/VM'))
    .option('-l <place>', 'keep the version in this folder of the server, not in its image store')
    .option('--accept-hostkey <fingerprint>', 'trust this ssh host key from now on', parseFingerprint)
    .option('--accept-jump-hostkey <fingerprint>', 'the same, of the host of sshjump=', parseFingerprint)
    .option(
      '--check',
      'capture nothing: say what of identities, secrets and disks there is, and what is done with it',
    )
    .option('--snapshot', 'copy from LVM snapshots, which are there for the time of the copy')
    .option(
      '--freeze <command>',
      'run this on the golden client before the copy (with --snapshot: before the snapshot)',
    )
    .option('--thaw <command>', 'run this there afterwards, whatever happens')
    .action((node: string, options: Options) =>
      options.check ? check(needs, node, options) : capture(needs, node, options),
    )
}

function parseFingerprint(text: string): string {
  if (!/^SHA256:[A-Za-z0-9+/]{43}=?$/.test(text))
    throw new InvalidArgumentError('Allowed: SHA256: and 43 characters, as ssh-keygen -lf prints it.')
  return text.replace(/=$/, '')
}

/** Options of xCAT's imgcapture that nothing here would heed. */
const notHere = (flags: string, why: string) =>
  new Option(flags).hideHelp().argParser(() => {
    throw new InvalidArgumentError(`Not here: ${why}.`)
  })

function parseImage(text: string): string {
  try {
    return parseImageName(text)
  } catch (error) {
    throw new InvalidArgumentError(error instanceof UserError ? error.message : String(error))
  }
}
function parseProfile(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) return text
  throw new InvalidArgumentError('Allowed: letters, digits, dot, underscore, dash.')
}

async function capture({ api, print, interrupted }: Needs, node: string, options: Options) {
  const { server, json, t: type, o: image, p: profile, V: verbose, l: place } = options
  const client = api(server)
  const progress = openProgress(json ? { ...print, line: () => {}, raw: () => {} } : print)
  const request = {
    ...{ node, image, type },
    ...(profile !== undefined && { profile }),
    ...(place !== undefined && { place: resolve(place) }),
    ...holdOf(options),
    ...keysOf(options),
  }
  const start = async () => (await client.post('/captures', request)).job as string
  try {
    const waiting = { client, start, left: interrupted(), show: progress.show, work: 'capture' }
    const { job, result } = await waitForJob(waiting)
    // 'img:3', or 'img:3 (nothing changed)': then no version was made.
    const [name = '', ...more] = result.split(' ')
    const isNew = more.length === 0
    const made = await versionOf(client, name)
    const { report, preflight } = isNew ? await reportOf(client, name) : {}
    progress.close()
    if (json) return print.json({ job, ...made, new: isNew, ...(report && { report }) })
    print.line(
      isNew ? `${node}: captured as ${name}` : `${node}: nothing changed since ${name}; no new version`,
    )
    if (!report) return
    const lines = renderCaptureReport(report)
    print.line(verbose ? [...lines, ...(preflight ? showPreflight(preflight) : [])] : lines.slice(1, 3))
  } catch (error) {
    progress.close()
    throw withObject(error, node)
  }
}

/** The report comes over a socket of our own. */
async function check(needs: Needs, node: string, options: Options) {
  const { print } = needs
  const { rows, take } = jsonLines<Preflight>()
  await withSocket(take, (out) => {
    const body = { node, image: options.o, type: options.t, check: out, ...keysOf(options) }
    return runImageJob(needs, options, { work: 'check', path: '/captures', body })
  }).catch((error) => {
    throw withObject(error, node)
  })
  const [preflight] = rows
  if (!preflight) throw new UserError('the check gave no report', { what: 'nothing came', object: node })
  if (options.json) print.json(preflight)
  else for (const line of showPreflight(preflight)) print.line(line)
  if (preflight.refusals.length > 0) print.fail()
}

const keysOf = ({ acceptHostkey, acceptJumpHostkey }: Options) => ({
  ...(acceptHostkey && { acceptHostkey }),
  ...(acceptJumpHostkey && { acceptJumpHostkey }),
})

function holdOf({ snapshot, freeze, thaw }: Options) {
  const hold = {
    ...(snapshot && { snapshot }),
    ...(freeze !== undefined && { freeze }),
    ...(thaw !== undefined && { thaw }),
  }
  return Object.keys(hold).length > 0 ? { hold } : {}
}

const withObject = (error: unknown, object: string) =>
  error instanceof UserError ? new UserError(error.fault.error, { object, ...error.fault }) : error

/** What the capture of a version did; a version that is gone again has none. */
async function reportOf(
  client: Api,
  name: string,
): Promise<{ report?: CaptureReport; preflight?: Preflight }> {
  try {
    return (await client.get(`/images/${name}`)).image
  } catch (error) {
    if (error instanceof UserError && error.status === 404) return {}
    throw error
  }
}

/** `img:3` with its size, as the image store has it. */
async function versionOf(client: Api, result: string) {
  const { images } = await client.get('/images')
  const found = images.find((each: Captured) => `${each.name}:${each.version}` === result)
  const [image, version] = result.split(':')
  return { image, version: Number(version), ...(found && { bytes: found.bytes as number }) }
}

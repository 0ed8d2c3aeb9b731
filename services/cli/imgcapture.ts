import { resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { UserError } from '../../src/fault.ts'
import type { Api } from './api.ts'
import { waitForJob } from './job-wait.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { openProgress } from './progress.ts'

type Options = Shared & { o: string; l?: string; acceptHostkey?: string; acceptJumpHostkey?: string }
type Captured = { name: string; version: number; bytes: number }

/** `imgcapture NODE -t sysclone -o IMG`: waits for the capture, which the server does. */
export function imgcapture(program: Command, needs: Needs) {
  serverCommand(program, 'imgcapture', 'capture a running machine as the next version of an osimage')
    .argument('<node>', 'the golden client, a defined node with an address')
    .addOption(new Option('-t <type>', 'way of capturing').choices(['sysclone']).default('sysclone'))
    .requiredOption('-o <image>', 'name of the osimage')
    .option('-l <place>', 'keep the version in this folder of the server, not in its image store')
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
  const { server, json, o: image, l: place, acceptHostkey, acceptJumpHostkey } = options
  const client = api(server)
  const progress = openProgress(json ? { ...print, line: () => {}, raw: () => {} } : print)
  const request = {
    ...{ node, image },
    ...(place !== undefined && { place: resolve(place) }),
    ...(acceptHostkey && { acceptHostkey }),
    ...(acceptJumpHostkey && { acceptJumpHostkey }),
  }
  const start = async () => (await client.post('/captures', request)).job as string
  try {
    const waiting = { client, start, left: interrupted(), show: progress.show, work: 'capture' }
    const { job, result } = await waitForJob(waiting)
    const made = await versionOf(client, result)
    progress.close()
    if (json) print.json({ job, ...made })
    else print.line(`${node}: captured as ${result}`)
  } catch (error) {
    progress.close()
    throw withObject(error, node)
  }
}

const withObject = (error: unknown, object: string) =>
  error instanceof UserError ? new UserError(error.fault.error, { object, ...error.fault }) : error

/** `img:3` with its size, as the image store has it. */
async function versionOf(client: Api, result: string) {
  const { images } = await client.get('/images')
  const found = images.find((each: Captured) => `${each.name}:${each.version}` === result)
  const [image, version] = result.split(':')
  return { image, version: Number(version), ...(found && { bytes: found.bytes as number }) }
}

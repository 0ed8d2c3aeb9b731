// imgcapture --check: the look at a golden client, and no capture. Nothing is copied.
import { UserError, WireError } from '../../src/fault.ts'
import { isSocketLine, parseListLine } from '../../src/image/compare-line.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import type { Preflight } from '../../src/image/preflight.ts'
import { makePreflight } from '../../src/image/preflight.ts'
import { type Probe, readProbe } from '../../src/image/probe.ts'
import { rulesOf } from '../../src/image/scrub.ts'
import { namedFiles, scrubFiles } from '../../src/image/scrub-files.ts'
import type { SshTarget } from '../remote/login.ts'
import { connectSsh, type Ssh } from '../remote/ssh.ts'
import { ask } from './ask.ts'
import { flaggedFiles } from './flags.ts'
import { inspectThere } from './inspect.ts'
import { collect } from './layer.ts'
import { listStream } from './listing.ts'
import { faultOfNode } from './node-fault.ts'
import type { CaptureScripts } from './scripts.ts'

export type CheckNeeds = {
  target: SshTarget & { node: string }
  scripts: Pick<CaptureScripts, 'probe' | 'list' | 'inspect' | 'flags'>
  scrub: readonly string[] // words of the osimage's scrub=
  excludes?: readonly string[] // words of its exclude=
  diskless?: boolean
  show: (phase: string, percent: number) => void
  signal: AbortSignal
  root?: string // default '/'
}

const MAX_PROBE = 16 << 20

export async function checkGolden(needs: CheckNeeds): Promise<Preflight> {
  const { target, scripts, scrub, excludes = [], diskless = false, show, signal, root = '/' } = needs
  signal.throwIfAborted()
  const rules = rulesOf(scrub)
  const ssh = await connectSsh(target).catch((error) => {
    throw explain(error, needs)
  })
  signal.addEventListener('abort', ssh.close)
  try {
    show('probe', 0)
    const probe = readProbe(await ask(ssh, scripts.probe, [root], MAX_PROBE))
    show('list', 10)
    const files = await listFiles(ssh, { list: scripts.list, root, probe, excludes, diskless })
    show('inspect', 60)
    const inspect = inspectThere(ssh, scripts.inspect, root)
    const named = namedFiles(probe.layout.crypttab)
    const { counts, unread } = await scrubFiles({ files, inspect, rules, named })
    show('flags', 80)
    const flagged = await flaggedFiles({ ssh, script: scripts.flags, root }, probe.mountpoints)
    show('done', 100)
    return makePreflight(probe, rules, { counts, unread, flagged })
  } catch (error) {
    throw explain(error, needs)
  } finally {
    signal.removeEventListener('abort', ssh.close)
    ssh.close()
  }
}

function explain(error: unknown, { signal, target }: CheckNeeds): unknown {
  const object = target.node
  if (signal.aborted) return new UserError('the check was stopped', { what: 'nothing was changed', object })
  if (error instanceof WireError)
    return new UserError('what the golden client sent is damaged', { what: error.message, object })
  return faultOfNode(error, target)
}

type Listed = { path: string; type: string; size: number | undefined }

/** What a capture would list. Nothing else of a file than its name, type and size is kept. */
async function listFiles(
  ssh: Ssh,
  needs: { list: string; root: string; probe: Probe; excludes: readonly string[]; diskless: boolean },
): Promise<Listed[]> {
  const { list, root, probe, excludes, diskless } = needs
  const isExcluded = makeExclude({
    ...{ patterns: excludes, paths: probe.swapFiles, mounted: probe.mountpoints, diskless },
  })
  const running = await ssh.runScript(list, [root, ...probe.mountpoints])
  const stderr = collect(running.stderr, 65_536)
  const files: Listed[] = []
  let rest = ''
  let ended = false
  for await (const chunk of listStream(running.stdout)) {
    const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      ended = line === 'end'
      if (ended || line.startsWith('begin ') || isSocketLine(line)) continue
      const file = parseListLine(line)
      if (isExcluded(file.path, file.type) === undefined)
        files.push({ path: file.path, type: file.type, size: file.size })
    }
  }
  const [exit, said] = [await running.exit, await stderr]
  if (exit !== 0 || !ended)
    throw new UserError('the files of the golden client cannot be listed', {
      what: said.trim().split('\n').at(-1) || `exit code ${exit}`,
    })
  return files
}

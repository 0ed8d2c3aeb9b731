// imgcapture --check: the look at a golden client, and no capture. Nothing is copied.
import { UserError, WireError } from '../../src/fault.ts'
import { isSocketLine, parseListLine } from '../../src/image/compare-line.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import type { Preflight } from '../../src/image/preflight.ts'
import { makePreflight } from '../../src/image/preflight.ts'
import { type Probe, readProbe } from '../../src/image/probe.ts'
import { rulesOf } from '../../src/image/scrub.ts'
import { type NamedFile, namedFiles, openScrub } from '../../src/image/scrub-files.ts'
import type { SshTarget } from '../remote/login.ts'
import { connectSsh } from '../remote/ssh.ts'
import { ask } from './ask.ts'
import { flaggedFiles } from './flags.ts'
import { inspectThere } from './inspect.ts'
import { collect } from './layer.ts'
import { eachLine, type RunningList, runList } from './listing.ts'
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
  const { target, scripts, excludes = [], diskless = false, show, signal, root = '/' } = needs
  signal.throwIfAborted()
  const rules = rulesOf(needs.scrub)
  const ssh = await connectSsh(target).catch((error) => {
    throw explain(error, needs)
  })
  signal.addEventListener('abort', ssh.close)
  try {
    show('probe', 0)
    const probe = readProbe(await ask(ssh, scripts.probe, [root], MAX_PROBE))
    show('list', 10)
    const inspect = inspectThere(ssh, scripts.inspect, root)
    const scrub = openScrub({ inspect, rules, named: namedFiles(probe.layout.crypttab) })
    const list = await runList({ ssh, script: scripts.list, root }, probe)
    for await (const file of captured(list, { probe, excludes, diskless })) scrub.see(file)
    show('inspect', 60)
    const { counts, unread } = await scrub.end()
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

/** What a capture would take, by name, type and size. */
async function* captured(
  list: RunningList,
  { probe, excludes, diskless }: { probe: Probe; excludes: readonly string[]; diskless: boolean },
): AsyncGenerator<NamedFile> {
  const isExcluded = makeExclude({
    ...{ patterns: excludes, paths: probe.swapFiles, mounted: probe.mountpoints, diskless },
  })
  const { stderr, exit } = list.running
  const said = collect(stderr, 65_536)
  let last = ''
  for await (const line of eachLine(list)) {
    last = line
    if (line === 'end' || line.startsWith('begin ') || isSocketLine(line)) continue
    const { path, type, size } = parseListLine(line)
    if (isExcluded(path, type) === undefined) yield { path, type, size }
  }
  if ((await exit) !== 0 || last !== 'end')
    throw new UserError('the files of the golden client cannot be listed', {
      what: (await said).trim().split('\n').at(-1) || `exit code ${await exit}`,
    })
}

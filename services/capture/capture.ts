// imgcapture: one running machine becomes the next version of an image. Nothing is installed or changed there; three
// scripts say what it is, list its files, and archive what has changed since the version before.
import { join } from 'node:path'
import type { ImageName } from '../../src/address.ts'
import { isDiskFull, UserError, WireError } from '../../src/fault.ts'
import { bytewise, unescapePath } from '../../src/image/compare-line.ts'
import { filesystemsOf, notDeployable as whyNotDeployable } from '../../src/image/disks.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import { makePreflight, refuseUnreproducible, renderPreflight } from '../../src/image/preflight.ts'
import type { Probe } from '../../src/image/probe.ts'
import { readProbe } from '../../src/image/probe.ts'
import { renderRules, rulesOf } from '../../src/image/scrub.ts'
import { namedFiles, scrubFiles } from '../../src/image/scrub-files.ts'
import type { ImageKind, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Emit } from '../emit.ts'
import type { Stage } from '../images/stage.ts'
import type { Images } from '../images/store.ts'
import type { SshTarget } from '../remote/login.ts'
import type { Bulk } from '../remote/openssh.ts'
import { openBulk } from '../remote/openssh.ts'
import type { Ssh } from '../remote/ssh.ts'
import { connectSsh } from '../remote/ssh.ts'
import { archiveAll } from './archive.ts'
import { ask, judged } from './ask.ts'
import type { Candidate } from './assemble.ts'
import { assemble } from './assemble.ts'
import type { World } from './compare.ts'
import { compareList, isUnchanged, readRows } from './compare.ts'
import { flaggedBefore, flaggedFiles, flaggedSince } from './flags.ts'
import { type Ground, layGround } from './ground.ts'
import { type Hold, holdStill } from './hold.ts'
import { inspectThere } from './inspect.ts'
import { beginOf, readList, runList, sortList } from './listing.ts'
import { netbootFiles } from './netboot.ts'
import { faultOfNode, preferSaid } from './node-fault.ts'
import type { Progress } from './progress.ts'
import { startProgress } from './progress.ts'
import { reportOf, summary } from './report.ts'
import { hasReceived } from './salvage.ts'
import type { CaptureScripts } from './scripts.ts'

export type CaptureNeeds = {
  target: Pick<SshTarget, 'host' | 'port' | 'user' | 'hostKey' | 'jump'> & { node: string }
  privateKey: string
  image: ImageName
  images: Images
  place?: string // where the version is kept; absent: the image store
  scripts: CaptureScripts
  emit: Emit
  signal: AbortSignal
  root?: string // what is captured; default '/'
  kind?: ImageKind // default 'sysclone'
  excludes?: readonly string[] // words of exclude=
  scrub?: readonly string[] // words of scrub=: 'machine-id:keep'
  hold?: Hold | undefined // what holds the machine still for the time of the copy
  now?: () => number // milliseconds since 1970; default: the clock of this machine
}

/** `isNew` is false when nothing has changed: the version is then the one before. */
export type Captured = { version: ImageVersion; isNew: boolean }

const CONNECT_MS = 20_000
const MAX_PROBE = 16 << 20

export async function captureImage(needs: CaptureNeeds): Promise<Captured> {
  const { target, privateKey, signal, images, image, now = Date.now } = needs
  signal.throwIfAborted()
  const startedAt = now()
  const login = { ...target, privateKey, timeoutMs: CONNECT_MS }
  const progress = startProgress({ emit: needs.emit, node: target.node, image, now })
  let stage: Stage | undefined
  let ssh: Ssh | undefined
  let bulk: Bulk | undefined
  const stop = () => {
    ssh?.close()
    void bulk?.close()
  }
  signal.addEventListener('abort', stop)
  try {
    stage = await images.openStage(needs.place, `capture of ${image} from ${target.node}`)
    const connecting = connectSsh(login)
    // To read again what an earlier attempt received may take minutes: not for a machine that does not let us in.
    if (stage.isResumed) await connecting
    // What is here is made ready while the golden client answers.
    const [connected, earlier] = await Promise.allSettled([
      connecting,
      layGround(stage, { images, image, progress }),
    ])
    ssh = settled(connected)
    const ground = settled(earlier)
    bulk = openBulk(ssh, login, progress.note)
    if (signal.aborted) stop() // while it connected
    const made = await captureInto(stage, ground, {
      ...needs,
      root: needs.root ?? '/',
      ...{ ssh, bulk, stop },
      progress,
      startedAt,
      now,
    })
    await stage.close()
    const { name, version, layers } = made.version
    const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0)
    needs.emit('capture.done', {
      node: target.node,
      image: name,
      version,
      bytes,
      ...(!made.isNew && { text: 'nothing changed' }),
    })
    return made
  } catch (error) {
    if (stage) await (isResumable(error) && hasReceived(stage.path) ? stage.park() : stage.close())
    throw explain(error, needs)
  } finally {
    signal.removeEventListener('abort', stop)
    ssh?.close()
    await bulk?.close()
  }
}

function settled<T>(how: PromiseSettledResult<T>): T {
  if (how.status === 'rejected') throw how.reason
  return how.value
}

/** What has come is of use to the next attempt, unless it is damaged, or fills the disk that others need. */
const isResumable = (error: unknown) => !(error instanceof WireError) && !isDiskFull(error)

function explain(error: unknown, { signal, target, images, place }: CaptureNeeds): unknown {
  if (signal.aborted)
    return new UserError('capture was stopped', { what: 'no version was made', object: target.node })
  if (error instanceof WireError)
    return new UserError('what the golden client sent is damaged', {
      what: error.message,
      object: target.node,
    })
  if (isDiskFull(error))
    return new UserError('the disk of the image store is full', {
      what: `${place ?? images.path}; no version was made`,
      allowed: 'to make room on it, or another place: -l',
      object: target.node,
      status: 507,
    })
  return faultOfNode(error, target)
}

type Work = CaptureNeeds & {
  root: string
  ssh: Ssh
  bulk: Bulk
  stop: () => void // ends all that runs on the golden client
  progress: Progress
  startedAt: number
  now: () => number
}

async function captureInto(stage: Stage, ground: Ground, work: Work): Promise<Captured> {
  const { images, image, progress, signal, scripts, ssh, bulk } = work
  const { base, salvaged, folder, baseRows } = ground
  progress.phase('probe', 0)
  const probe = readProbe(await ask(ssh, scripts.probe, [work.root], MAX_PROBE))
  refuseUnreproducible(probe)
  progress.phase('list', 1)
  const listed = join(folder, 'listed')
  // Whatever goes wrong from here on: the golden client lets go when the connection ends.
  const still = await holdStill({ ssh, script: scripts.hold, root: work.root, hold: work.hold, probe })
  const { root } = still
  await listFiles({ ...work, root }, probe, listed, folder)
  const scrub = await scrubbed({ ...work, root }, probe, listed)
  const rows = [...baseRows, ...salvaged.flatMap((layer) => layer.rows)]
  const world = worldOf(probe, work, scrub)
  const maySame = base && salvaged.length === 0 && isSameMachine(base, probe, { ...work, ...scrub })
  if (maySame && isUnchanged({ listed, rows: baseRows[0]!, world })) {
    await still.release()
    return { version: base, isNew: false }
  }
  const comparison = compareList({ listed, rows, world, folder })
  // Of what an earlier attempt had received it is not known.
  const known = salvaged.length === 0 ? flaggedBefore(images, base, work.target.node) : undefined
  const golden = { ssh, script: scripts.flags, root }
  const flagging = known
    ? flaggedSince(golden, known, comparison.fetch)
    : flaggedFiles(golden, probe.mountpoints)
  flagging.catch(() => {}) // it is thrown when its turn comes, after the copy

  progress.phase('archive', 3, 88)
  const { fetched } = comparison
  progress.expect({ tarBytes: fetched.bytes + 1536 * fetched.entries, entries: fetched.entries })
  const older = [
    ...(base?.layers ?? []).map((layer) => ({ layer, path: images.blobPath(layer.digest), rows: [] })),
    ...salvaged.map(({ layer, blob }) => ({ layer, path: blob.path, rows: [], blob })),
  ]
  const archived = await archiveAll({
    ...{ bulk, script: scripts.archive, root, compress: probe.compress, stage, comparison, listed, rows },
    stop: work.stop,
    firstNumber: older.length,
    beginNs: beginOf(listed)!,
    progress: progress.add,
  })
  const flagged = await flagging
  await still.release()
  progress.phase('manifest', 89)
  const newer = archived.layers.map(({ layer, blob, rows }) => ({ layer, path: blob.path, rows, blob }))
  const candidates: Candidate[] = [...older, ...newer]
  const blobPath = ({ digest }: { digest: ImageVersion['digest'] }) => images.blobPath(digest)
  const assembled = await assemble({ stage, comparison, candidates, blobPath })
  progress.phase('modules', 91, 98)
  const { layerPaths } = assembled
  const netboot = await netbootFiles({
    stage,
    images,
    probe,
    rows: () => readRows(assembled.rows),
    layerPaths,
    base,
  })
  signal.throwIfAborted()
  progress.phase('publish', 98)
  const report = reportOf({
    ...{
      node: work.target.node,
      kind: work.kind ?? 'sysclone',
      startedAt: work.startedAt,
      endedAt: work.now(),
    },
    ...{ movedBytes: progress.moved().wireBytes, base, salvaged, comparison, archived, assembled },
  })
  const { digest, bytes } = await stage.writeBlob([Buffer.from(JSON.stringify(report))])
  const version = await images.publish(stage, image, {
    createdAt: new Date(work.now()).toISOString(),
    source: work.target.node,
    ...pick(probe),
    ...netboot,
    ...(base && { base: versionName(base) }),
    ...(work.kind === 'diskless' && { kind: work.kind }),
    ...(work.excludes?.length && { excludes: [...work.excludes] }),
    layers: assembled.layers,
    manifest: assembled.manifest,
    report: { digest, bytes },
    scrub: scrub.scrub,
    preflight: await blobOf(stage, renderPreflight(scrub.preflightOf(flagged))),
  })
  progress.phase('done', 100)
  progress.note(summary(report))
  return { version, isNew: true }
}

async function blobOf(stage: Stage, text: string) {
  const { digest, bytes } = await stage.writeBlob([Buffer.from(text)])
  return { digest, bytes }
}

const excludesOf = ({ swapFiles, mountpoints }: Probe, { excludes = [], kind }: Work) =>
  makeExclude({
    ...{ patterns: excludes, paths: swapFiles, mounted: mountpoints },
    diskless: kind === 'diskless',
  })

function worldOf(probe: Probe, work: Work, { left }: Scrub): World {
  const { layout, mountpoints } = probe
  const weak = new Set(
    filesystemsOf(layout).flatMap(({ type, mountpoint }) => (type === 'vfat' && mountpoint) || []),
  )
  const isExcluded = excludesOf(probe, work)
  return {
    mounts: mountpoints.map((path) => ({ path: bytewise(path), weak: weak.has(path) })),
    excluded: (path, type) => {
      const name = unescapePath(path)
      return left(name, type) ?? isExcluded(name, type)
    },
  }
}

const pick = ({ arch, firmware, os, kernelRelease, layout, facts, sshHostKeyTypes }: Probe) => ({
  arch,
  firmware,
  os,
  kernelRelease,
  layout,
  facts,
  sshHostKeyTypes,
})

/** All that a version says of its machine beside the files, but for how full its disks are. */
function isSameMachine(
  base: ImageVersion,
  probe: Probe,
  { target, kind = 'sysclone', excludes = [], scrub }: Omit<Work, 'scrub'> & { scrub: string },
): boolean {
  const { arch, firmware, os, kernelRelease, layout, facts, sshHostKeyTypes } = base
  const before = { arch, firmware, os, kernelRelease, layout, facts, sshHostKeyTypes }
  const text = (facts: object) =>
    JSON.stringify(facts, (key, value) => (key === 'usedBytes' ? undefined : value))
  return (
    base.source === target.node &&
    base.scrub === scrub &&
    (base.kind ?? 'sysclone') === kind &&
    text(base.excludes ?? []) === text([...excludes]) &&
    text(before) === text(pick(probe))
  )
}

/** What stays on the golden client because of what it is, and the report of it. */
async function scrubbed(work: Work, probe: Probe, listed: string) {
  const { ssh, scripts, root, scrub, progress } = work
  const rules = rulesOf(scrub)
  const { counts, unread, left } = await scrubFiles({
    files: captured(listed, excludesOf(probe, work)),
    inspect: inspectThere(ssh, scripts.inspect, root),
    rules,
    named: namedFiles(probe.layout.crypttab),
  })
  const notDeployable = whyNotDeployable(probe.layout)
  if (notDeployable.length > 0) progress.note(`captured, not yet deployable: ${notDeployable.join('; ')}`)
  if (probe.warnings.length > 0) progress.note(`degraded there: ${probe.warnings.join('; ')}`)
  if (unread.count > 0)
    progress.note(
      `too large to look into for secrets: ${unread.count}, as ${unread.names.slice(0, 3).join(', ')}`,
    )
  const preflightOf = (flagged: string[] | undefined) =>
    makePreflight(probe, rules, { counts, unread, flagged })
  return { left, preflightOf, scrub: renderRules(rules) }
}
type Scrub = Awaited<ReturnType<typeof scrubbed>>

/** What is listed, without what stays out anyway. */
function* captured(listed: string, isExcluded: ReturnType<typeof makeExclude>) {
  for (const file of readList(listed)) if (isExcluded(file.path, file.type) === undefined) yield file
}

async function listFiles({ ssh, scripts, root }: Work, probe: Probe, file: string, folder: string) {
  const list = await runList({ ssh, script: scripts.list, root }, probe)
  const said = judged(list.running)
  said.catch(() => {}) // it is thrown when its turn comes
  await sortList(file, list, folder).catch(preferSaid(said))
  await said
}

// imgcapture: one running machine becomes the next version of an image. Nothing is installed or changed there; three
// scripts say what it is, list its files, and archive what has changed since the version before.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ImageName } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { CaptureReport } from '../../src/image/capture-report.ts'
import { named } from '../../src/image/capture-report.ts'
import { unescapePath } from '../../src/image/compare-line.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import type { Probe } from '../../src/image/probe.ts'
import { parseProbe } from '../../src/image/probe.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import type { ImageKind, ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import type { Emit } from '../emit.ts'
import type { Stage } from '../images/stage.ts'
import type { Images } from '../images/store.ts'
import type { SshTarget } from '../remote/login.ts'
import type { Running, Ssh } from '../remote/ssh.ts'
import { connectSsh } from '../remote/ssh.ts'
import type { Archived } from './archive.ts'
import { archiveAll } from './archive.ts'
import type { Assembled, Candidate } from './assemble.ts'
import { assemble } from './assemble.ts'
import type { Comparison, World } from './compare.ts'
import { compareList, readRows } from './compare.ts'
import { collect } from './layer.ts'
import { beginOf, sortList, sortRows } from './listing.ts'
import { netbootFiles } from './netboot.ts'
import type { Progress } from './progress.ts'
import { startProgress } from './progress.ts'
import { hasReceived, salvage } from './salvage.ts'

/** Texts of bootfiles/capture/*.sh. */
export type CaptureScripts = { probe: string; list: string; archive: string }

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
}

/** `isNew` is false when nothing has changed: the version is then the one before. */
export type Captured = { version: ImageVersion; isNew: boolean }

const CONNECT_MS = 20_000
const MAX_PROBE = 16 << 20

export async function captureImage(needs: CaptureNeeds): Promise<Captured> {
  const { target, privateKey, signal, images, image } = needs
  signal.throwIfAborted()
  const startedAt = new Date()
  const ssh = await connectSsh({ ...target, privateKey, timeoutMs: CONNECT_MS })
  signal.addEventListener('abort', ssh.close)
  if (signal.aborted) ssh.close() // while it connected
  const stage = await images.openStage(needs.place, `capture of ${image} from ${target.node}`)
  const progress = startProgress({ emit: needs.emit, node: target.node, image })
  try {
    const made = await captureInto(stage, { ...needs, root: needs.root ?? '/', ssh, progress, startedAt })
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
    await (isResumable(error) && hasReceived(stage.path) ? stage.park() : stage.close())
    throw explain(error, needs)
  } finally {
    signal.removeEventListener('abort', ssh.close)
    ssh.close()
  }
}

/** What has come is of use to the next attempt, unless it is damaged, or fills the disk that others need. */
const isResumable = (error: unknown) =>
  !(error instanceof WireError) && (error as NodeJS.ErrnoException).code !== 'ENOSPC'

function explain(error: unknown, { signal, target }: CaptureNeeds): unknown {
  if (signal.aborted)
    return new UserError('capture was stopped', { what: 'no version was made', object: target.node })
  if (error instanceof WireError)
    return new UserError('what the golden client sent is damaged', {
      what: error.message,
      object: target.node,
    })
  if ((error as NodeJS.ErrnoException).code === 'ENOSPC')
    return new UserError('the disk of the image store is full', {
      what: 'no version was made',
      object: target.node,
      status: 507,
    })
  if (error instanceof UserError && error.fault.object === undefined) {
    const { error: text, ...more } = error.fault
    return new UserError(text, { ...more, object: target.node, status: error.status })
  }
  return error
}

type Work = CaptureNeeds & { root: string; ssh: Ssh; progress: Progress; startedAt: Date }

async function captureInto(stage: Stage, work: Work): Promise<Captured> {
  const { images, image, progress, signal, scripts, root, ssh } = work
  progress.phase('probe', 0)
  const base = baseOf(work)
  const salvaged = await salvage(stage, base?.layers.length ?? 0)
  const folder = join(stage.path, 'lists')
  mkdirSync(folder)
  const baseRows = base ? [join(folder, 'base')] : []
  const [probe] = await Promise.all([
    ask(work, scripts.probe, [root], MAX_PROBE).then(parseProbe),
    base && sortRows(baseRows[0]!, images.blobPath(base.manifest.digest), folder),
  ])
  progress.phase('list', 1)
  const listed = join(folder, 'listed')
  await listFiles(work, probe, listed, folder)
  const rows = [...baseRows, ...salvaged.flatMap((layer) => layer.rows)]
  const comparison = compareList({ listed, rows, world: worldOf(probe, work), folder })
  if (base && salvaged.length === 0 && isUnchanged(comparison) && isSameMachine(base, probe, work))
    return { version: base, isNew: false }

  progress.phase('archive', 3, 88)
  const { fetched } = comparison
  progress.expect({ tarBytes: fetched.bytes + 1536 * fetched.entries, entries: fetched.entries })
  const older = [
    ...(base?.layers ?? []).map((layer) => ({ layer, path: images.blobPath(layer.digest), rows: [] })),
    ...salvaged.map(({ layer, blob }) => ({ layer, path: blob.path, rows: [], blob })),
  ]
  const archived = await archiveAll({
    ...{ ssh, script: scripts.archive, root, compress: probe.compress, stage, comparison, listed, rows },
    firstNumber: older.length,
    beginNs: beginOf(listed)!,
    progress: progress.add,
  })
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
  const report = reportOf({ work, base, salvaged, comparison, archived, assembled })
  const { digest, bytes } = await stage.writeBlob([Buffer.from(JSON.stringify(report))])
  const version = await images.publish(stage, image, {
    createdAt: new Date().toISOString(),
    source: work.target.node,
    ...pick(probe),
    ...netboot,
    ...(base && { base: versionName(base) }),
    ...(work.kind === 'diskless' && { kind: work.kind }),
    ...(work.excludes?.length && { excludes: [...work.excludes] }),
    layers: assembled.layers,
    manifest: assembled.manifest,
    report: { digest, bytes },
  })
  progress.phase('done', 100)
  progress.note(summary(report))
  return { version, isNew: true }
}

/** The newest version, whatever machine it is of; one that is damaged is not built upon. */
function baseOf({ images, image, progress }: Work): ImageVersion | undefined {
  try {
    return images.get(image)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    progress.note(`the version before is not used: ${error.message}`)
    return undefined
  }
}

function worldOf({ layout, mountpoints, swapFiles }: Probe, { excludes = [], kind }: Work): World {
  const weak = new Set(
    layout.disks.flatMap((disk) =>
      disk.partitions.flatMap(
        ({ filesystem }) => (filesystem?.type === 'vfat' && filesystem.mountpoint) || [],
      ),
    ),
  )
  const isExcluded = makeExclude({ patterns: excludes, paths: swapFiles, diskless: kind === 'diskless' })
  return {
    mounts: mountpoints.map((path) => ({ path, weak: weak.has(path) })),
    excluded: (path, type) => isExcluded(unescapePath(path), type),
  }
}

const isUnchanged = ({ fetched, dropped }: Comparison) => fetched.entries === 0 && dropped === 0

const pick = ({ arch, firmware, os, kernelRelease, layout, sshHostKeyTypes }: Probe) => ({
  arch,
  firmware,
  os,
  kernelRelease,
  layout,
  sshHostKeyTypes,
})

/** All that a version says of its machine beside the files, but for how full its disks are. */
function isSameMachine(
  base: ImageVersion,
  probe: Probe,
  { target, kind = 'sysclone', excludes = [] }: Work,
): boolean {
  const { arch, firmware, os, kernelRelease, layout, sshHostKeyTypes } = base
  const before = { arch, firmware, os, kernelRelease, layout, sshHostKeyTypes }
  const text = (facts: object) =>
    JSON.stringify(facts, (key, value) => (key === 'usedBytes' ? undefined : value))
  return (
    base.source === target.node &&
    (base.kind ?? 'sysclone') === kind &&
    text(base.excludes ?? []) === text([...excludes]) &&
    text(before) === text(pick(probe))
  )
}

/** What a script prints, when it ends well. */
async function ask(work: Work, script: string, lines: readonly string[], limit: number): Promise<string> {
  const running = await work.ssh.runScript(script, lines)
  const [stdout] = await Promise.all([collect(running.stdout, limit), judged(running)])
  if (stdout.length > limit)
    throw new UserError('the golden client says too much', { what: `more than ${limit} bytes` })
  return stdout
}

/** Its stderr is the reason when it fails. */
async function judged(running: Running) {
  const stderr = await collect(running.stderr, 65536)
  const exit = await running.exit
  const { fatal } = parseReport(stderr)
  if (exit === 0 && fatal.length === 0) return
  const missing = fatal.find((line) => line.startsWith('sysclone: missing '))
  if (missing !== undefined)
    throw new UserError('commands are missing on the golden client', {
      what: missing.replace('sysclone: missing ', ''),
    })
  throw new UserError('a script failed on the golden client', {
    what: fatal.slice(0, 3).join('; ') || `exit code ${exit}`,
  })
}

async function listFiles(work: Work, { mountpoints }: Probe, file: string, folder: string) {
  const running = await work.ssh.runScript(work.scripts.list, [work.root, ...mountpoints])
  const sorted = sortList(file, running.stdout, folder)
  sorted.catch(() => {}) // what the script says of it comes first
  await judged(running)
  await sorted
}

type Done = {
  work: Work
  base: ImageVersion | undefined
  salvaged: { layer: { bytes: number } }[]
  comparison: Comparison
  archived: Archived
  assembled: Assembled
}

function reportOf({ work, base, salvaged, comparison, archived, assembled }: Done): CaptureReport {
  const { fetched, kept, removed, left } = comparison
  const resumed = {
    layers: salvaged.length,
    bytes: salvaged.reduce((sum, { layer }) => sum + layer.bytes, 0),
  }
  const fresh = new Set(archived.layers.map(({ layer }) => layer.digest))
  return {
    node: work.target.node,
    kind: work.kind ?? 'sysclone',
    ...(base && { base: versionName(base) }),
    startedAt: work.startedAt.toISOString(),
    seconds: (Date.now() - work.startedAt.getTime()) / 1000,
    entries: assembled.entries,
    fetched: { entries: fetched.entries, files: fetched.files, bytes: Math.round(fetched.bytes) },
    unchanged: kept,
    removed,
    left: Object.fromEntries([...left].sort(([a], [b]) => (a < b ? -1 : 1))),
    changed: named(archived.changed.map(unescapePath)),
    retried: archived.retried,
    vanished: named(archived.vanished.map(unescapePath)),
    ...(salvaged.length > 0 && { resumed }),
    movedBytes: work.progress.moved().wireBytes,
    storedBytes: assembled.layers
      .filter(({ digest }) => fresh.has(digest))
      .reduce((sum, layer) => sum + layer.bytes, 0),
  }
}

function summary({ changed, vanished }: CaptureReport): string | undefined {
  const say = ({ names, count }: CaptureReport['changed'], what: string) =>
    count === 0 ? [] : [`${what}: ${names.slice(0, 5).join(', ')}${count > 5 ? ', ...' : ''}`]
  return (
    [...say(changed, 'still written to while read'), ...say(vanished, 'vanished while it ran')].join('; ') ||
    undefined
  )
}

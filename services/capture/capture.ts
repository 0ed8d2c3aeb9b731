// imgcapture: one running machine becomes the next version of an image. Nothing is installed or changed there; three
// scripts say what it is, list its files, and archive them.
import { join } from 'node:path'
import { promisify } from 'node:util'
import { constants, zstdCompress } from 'node:zlib'
import type { ImageName } from '../../src/address.ts'
import { UserError, WireError } from '../../src/fault.ts'
import type { ListedFile } from '../../src/image/compare-line.ts'
import { parseListLine, renderManifestLine } from '../../src/image/compare-line.ts'
import { makeExclude } from '../../src/image/excludes.ts'
import { planLayers } from '../../src/image/layers.ts'
import type { Probe } from '../../src/image/probe.ts'
import { parseProbe } from '../../src/image/probe.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Emit } from '../emit.ts'
import type { Stage } from '../images/stage.ts'
import type { Images } from '../images/store.ts'
import type { SshTarget } from '../remote/login.ts'
import type { Ssh } from '../remote/ssh.ts'
import { connectSsh } from '../remote/ssh.ts'
import type { CapturedLayer, Member } from './layer.ts'
import { captureLayer, collect } from './layer.ts'
import { buildModules, openCaptured, readKernel } from './modules.ts'
import type { Progress } from './progress.ts'
import { startProgress } from './progress.ts'

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
}

const CONNECT_MS = 20_000
const MAX_PROBE = 16 << 20
const MAX_LIST = 400 << 20 // some three million files; V8 holds no text much longer
const PARALLEL = 2 // archives at once: compression there and decompression here then overlap
const compress = promisify(zstdCompress)

export async function captureImage(needs: CaptureNeeds): Promise<ImageVersion> {
  const { target, privateKey, signal, images } = needs
  signal.throwIfAborted()
  const ssh = await connectSsh({ ...target, privateKey, timeoutMs: CONNECT_MS })
  signal.addEventListener('abort', ssh.close)
  if (signal.aborted) ssh.close() // while it connected
  const stage = await images.openStage(needs.place)
  const progress = startProgress({ emit: needs.emit, node: target.node, image: needs.image })
  try {
    const version = await captureInto(stage, { ...needs, root: needs.root ?? '/', ssh, progress })
    const bytes = version.layers.reduce((sum, layer) => sum + layer.bytes, 0)
    needs.emit('capture.done', { node: target.node, image: version.name, version: version.version, bytes })
    return version
  } catch (error) {
    throw explain(error, needs)
  } finally {
    signal.removeEventListener('abort', ssh.close)
    ssh.close()
    await stage.close()
  }
}

function explain(error: unknown, { signal, target }: CaptureNeeds): unknown {
  if (signal.aborted)
    return new UserError('capture was stopped', { what: 'no version was made', object: target.node })
  if (error instanceof WireError)
    return new UserError('what the golden client sent is damaged', {
      what: error.message,
      object: target.node,
    })
  if (error instanceof UserError && error.fault.object === undefined) {
    const { error: text, ...more } = error.fault
    return new UserError(text, { ...more, object: target.node, status: error.status })
  }
  return error
}

type Work = CaptureNeeds & { root: string; ssh: Ssh; progress: Progress }

async function captureInto(stage: Stage, work: Work): Promise<ImageVersion> {
  const { images, image, target, progress, signal } = work
  progress.phase('probe', 0)
  const probe = parseProbe(await ask(work, work.scripts.probe, [work.root], MAX_PROBE))
  progress.phase('list', 1)
  const files = await listFiles(work, probe)
  progress.phase('archive', 3, 88)
  const captured = await archiveAll(stage, files, probe, work)
  progress.phase('modules', 91, 98)
  const blobs = await extraBlobs(stage, captured, probe, images)
  signal.throwIfAborted()
  progress.phase('publish', 98)
  const version = await images.publish(stage, image, {
    createdAt: new Date().toISOString(),
    source: target.node,
    ...pick(probe),
    ...blobs,
    layers: captured.map(({ layer }) => layer),
  })
  progress.phase('done', 100)
  return version
}

const pick = ({ arch, firmware, os, kernelRelease, layout, sshHostKeyTypes }: Probe) => ({
  arch,
  firmware,
  os,
  kernelRelease,
  layout,
  sshHostKeyTypes,
})

/** What a script prints. Its stderr is the reason when it fails. */
async function ask({ ssh }: Work, script: string, lines: readonly string[], limit: number): Promise<string> {
  const running = await ssh.runScript(script, lines)
  const [stdout, stderr] = await Promise.all([collect(running.stdout, limit), collect(running.stderr, 65536)])
  const exit = await running.exit
  if (stdout.length > limit)
    throw new UserError('the golden client says too much', { what: `more than ${limit} bytes` })
  const { fatal } = parseReport(stderr)
  if (exit === 0 && fatal.length === 0) return stdout
  const missing = fatal.find((line) => line.startsWith('sysclone: missing '))
  if (missing !== undefined)
    throw new UserError('commands are missing on the golden client', {
      what: missing.replace('sysclone: missing ', ''),
    })
  throw new UserError('a script failed on the golden client', {
    what: fatal.slice(0, 3).join('; ') || `exit code ${exit}`,
  })
}

async function listFiles(work: Work, probe: Probe): Promise<ListedFile[]> {
  const text = await ask(work, work.scripts.list, [work.root, ...probe.mountpoints], MAX_LIST)
  const lines = text.split('\n')
  if (lines.pop() !== '' || lines.pop() !== 'end') throw new WireError('file list: its end is missing')
  const isExcluded = makeExclude(probe.swapFiles)
  return lines.map(parseListLine).filter((file) => !isExcluded(file))
}

async function archiveAll(
  stage: Stage,
  files: readonly ListedFile[],
  probe: Probe,
  { ssh, scripts, root, progress }: Work,
): Promise<CapturedLayer[]> {
  const plan = planLayers(files)
  progress.expect(files.reduce((sum, file) => sum + 1536 + (file.size ?? 0) / file.links, 0))
  const waiting = plan.map((layerFiles, index) => ({ layerFiles, index }))
  const captured: CapturedLayer[] = []
  async function worker() {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { layerFiles, index } = next
      const needs = {
        ssh,
        script: scripts.archive,
        root,
        compress: probe.compress,
        stage,
        index,
        files: layerFiles,
      }
      captured[index] = await captureLayer({ ...needs, progress: progress.add })
    }
  }
  const workers = Array.from({ length: PARALLEL }, () => worker().catch(stopAll))
  function stopAll(error: unknown): never {
    waiting.length = 0
    ssh.close() // ends the others; theirs is then not the first error
    throw error
  }
  const results = await firstFailure(workers)
  if (results !== undefined) throw results
  progress.note(summary(captured))
  return captured
}

/** Waits for all, then tells the failure that came first. */
async function firstFailure(work: Promise<void>[]): Promise<unknown> {
  const failures: unknown[] = []
  await Promise.all(work.map((one) => one.catch((error) => failures.push(error))))
  return failures[0]
}

function summary(captured: CapturedLayer[]): string | undefined {
  const changed = captured.flatMap(({ report }) => report.changed)
  const vanished = captured.flatMap(({ report }) => report.vanished)
  const say = (names: string[], what: string) =>
    names.length === 0
      ? []
      : [`${what} while it ran: ${names.slice(0, 5).join(', ')}${names.length > 5 ? ', ...' : ''}`]
  return [...say(changed, 'changed'), ...say(vanished, 'vanished')].join('; ') || undefined
}

/** Manifest, kernel and modules, staged. */
async function extraBlobs(stage: Stage, captured: CapturedLayer[], probe: Probe, images: Images) {
  const members = captured.flatMap((layer) => layer.members)
  const readers = await Promise.all(captured.map(({ path }) => images.openLayer(path)))
  try {
    const files = openCaptured(members, readers)
    const kernel = await readKernel(files, probe.kernelPath)
    const modules = await buildModules({
      files,
      release: probe.kernelRelease,
      loaded: probe.loadedModules,
      filesystems: probe.layout.disks.flatMap((d) => d.partitions.flatMap((p) => p.filesystem?.type ?? [])),
      workDir: join(stage.path, 'modules'),
    })
    return {
      kernel: refOf(await stage.writeBlob([kernel])),
      modules: refOf(await stage.writeBlob([modules])),
      manifest: refOf(await stage.writeBlob([await manifestOf(members)])),
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.close()))
  }
}

const refOf = ({ digest, bytes }: Awaited<ReturnType<Stage['writeBlob']>>) => ({ digest, bytes })

async function manifestOf(members: Member[]): Promise<Buffer> {
  const lines = members.map(({ facts, stored }) => `${renderManifestLine(facts, stored)}\n`).sort()
  const params = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_checksumFlag]: 1 }
  return compress(Buffer.from(lines.join(''), 'latin1'), { params })
}

// One job in a process of its own: ssh, hashing and compression never slow the others. It reports to main.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseImageName } from '../src/address.ts'
import type { Config } from '../src/config.ts'
import { type Fault, faultOf } from '../src/fault.ts'
import { renderPreflight } from '../src/image/preflight.ts'
import { cutRow } from '../src/image/rows.ts'
import { versionName } from '../src/image/version.ts'
import { captureImage } from './capture/capture.ts'
import { checkGolden } from './capture/check.ts'
import { openCaptured } from './capture/modules.ts'
import { netbootFiles } from './capture/netboot.ts'
import { captureScripts } from './capture/scripts.ts'
import { catFile } from './images/cat.ts'
import { diffVersions } from './images/diff.ts'
import { exportImage } from './images/export.ts'
import { checkImages } from './images/fsck.ts'
import { importImage } from './images/import/import.ts'
import type { ImportNeeds } from './images/import/needs.ts'
import { withOutlet } from './images/outlet.ts'
import { squashVersion } from './images/squash.ts'
import { type Images, openImages } from './images/store.ts'
import { startWorkProgress } from './images/work-progress.ts'
import {
  type CaptureSpec,
  type CheckSpec,
  type JobSpec,
  type Parent,
  runChild,
  type VersionSpec,
} from './process.ts'

runChild(async ({ config, spec, job }, parent) => {
  if (!spec || !job) throw new Error('a job process needs a job')
  const stop = new AbortController()
  const emit: Parent['emit'] = (type, fields) => parent.emit(type, { ...fields, job })
  const ended = (more: { fault?: Fault; result?: string }) =>
    parent.send({ kind: 'send', to: 'main', body: { type: 'job-ended', job, kind: spec.kind, ...more } })
  const work = run(spec, { config, emit, signal: stop.signal })
    .then(
      (result) => ended({ result }),
      (error) => ended({ fault: faultOf(error) }),
    )
    // The last message must be out before the process is.
    .finally(() => setTimeout(() => process.exit(0), 100))
  return {
    close: async () => {
      stop.abort()
      await work
    },
  }
})

type Tools = { config: Config; emit: Parent['emit']; signal: AbortSignal }

/** Does it; answers with what it made or found, in a few words. */
async function run(spec: JobSpec, tools: Tools): Promise<string> {
  const { config, emit, signal } = tools
  if (spec.kind === 'capture') return capture(spec, tools)
  if (spec.kind === 'check') return check(spec, tools)
  const images = await openImages(join(config.stateDir, 'images'))
  const image = 'image' in spec ? spec.image : undefined
  const progress = startWorkProgress({ emit, kind: spec.kind, ...(image !== undefined && { image }) })
  const find = ({ image, version }: { image: string; version: number }) =>
    images.find({ name: parseImageName(image), version })
  switch (spec.kind) {
    case 'gc':
      return gcText(await images.gc())
    case 'fsck':
      return withOutlet(spec.out, (outlet) =>
        checkImages({ images, ...chosen(images, spec.versions), progress, signal, outlet }),
      )
    case 'diff':
      return withOutlet(spec.out, async (outlet) => {
        const count = await diffVersions(images, [find(spec.from), find(spec.to)], outlet)
        return `${count} differences`
      })
    case 'cat':
      return withOutlet(spec.out, async (outlet) => {
        const bytes = await catFile(images, { version: find(spec), path: spec.path }, outlet)
        return `${bytes} bytes`
      })
    case 'squash': {
      const version = await squashVersion({ images, version: find(spec), progress, signal, now: new Date() })
      return versionName(version)
    }
    case 'export':
      return withOutlet(spec.out, async (outlet) => {
        const bytes = await exportImage({ images, version: find(spec), outlet, progress, signal })
        return `${(bytes / 1e6).toFixed(1)} MB`
      })
    case 'import': {
      const { source, layout, place, choose = {}, is, excludes, scrub } = spec
      const version = await importImage({
        ...{ images, source, choose, progress, signal, build },
        image: parseImageName(spec.image),
        ...(layout !== undefined && { layout }),
        ...(place !== undefined && { place }),
        ...(is !== undefined && { is }),
        ...(excludes && { excludes }),
        ...(scrub && { scrub }),
        now: new Date(),
        makeUuid: randomUUID,
      })
      return versionName(version)
    }
  }
}

/** What nodes netboot, made of an image's own files as a capture does. */
const build: ImportNeeds['build'] = {
  open: openCaptured,
  netboot: ({ lines, system, ...needs }) =>
    netbootFiles({
      ...needs,
      rows: () => rowsOf(lines),
      probe: { ...system, loadedModules: [] },
      base: undefined,
    }),
}

function* rowsOf(lines: Iterable<string>) {
  for (const line of lines) yield cutRow(line)
}

/** All versions, or those that are named; the records of some may be damaged. */
function chosen(images: Images, named: readonly VersionSpec[] | undefined) {
  const isMeant = (name: string) =>
    named === undefined || named.some(({ image, version }) => versionName({ name: image, version }) === name)
  return {
    versions: images.list().filter((version) => isMeant(versionName(version))),
    damaged: images.broken().filter(({ fault }) => named === undefined || isMeant(fault.object ?? '')),
  }
}

const gcText = ({ blobs, bytes, leftovers }: Awaited<ReturnType<Images['gc']>>) =>
  `${blobs} blobs, ${(bytes / 1e6).toFixed(1)} MB, ${leftovers} leftovers removed`

async function capture(spec: CaptureSpec, { config, emit, signal }: Tools): Promise<string> {
  const { version, isNew } = await captureImage({
    target: targetOf(spec),
    privateKey: await privateKeyOf(config),
    image: parseImageName(spec.image),
    ...(spec.place !== undefined && { place: spec.place }),
    ...(spec.type !== undefined && { kind: spec.type }),
    ...(spec.excludes !== undefined && { excludes: spec.excludes }),
    images: await openImages(join(config.stateDir, 'images')),
    scripts: await captureScripts(),
    ...(spec.scrub && { scrub: spec.scrub }),
    hold: spec.hold,
    emit,
    signal,
  })
  return isNew ? versionName(version) : `${versionName(version)} (nothing changed)`
}

/** The report goes to who asked for it: names of files are no part of the job's record. */
async function check(spec: CheckSpec, { config, emit, signal }: Tools): Promise<string> {
  const { node, image, scrub = [], excludes = [] } = spec
  const preflight = await checkGolden({
    target: { ...targetOf(spec), privateKey: await privateKeyOf(config), timeoutMs: 20_000 },
    scripts: await captureScripts(),
    scrub,
    excludes,
    diskless: spec.type === 'diskless',
    show: (phase, percent) => emit('capture.progress', { node, image, phase, percent, bytes: 0 }),
    signal,
  })
  return withOutlet(spec.out, async (outlet) => {
    await outlet.write(`${renderPreflight(preflight)}\n`)
    const { findings, refusals, notDeployable } = preflight
    return `${findings.length} findings, ${refusals.length} refusals, ${notDeployable.length} not deployable`
  })
}

const targetOf = ({ node, host, port, user, hostKey, jump }: CaptureSpec | CheckSpec) => ({
  ...{ node, host, port, user, hostKey },
  ...(jump && { jump: { ...jump, hostKey: jump.hostKey } }),
})

const privateKeyOf = ({ ssh, stateDir }: Config) =>
  readFile(ssh.identity ?? join(stateDir, 'ssh', 'id_ed25519'), 'utf8')

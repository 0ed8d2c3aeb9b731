// What can befall a capture: kill -9 at any moment, a full disk, files that are written to, another one at the same time.
// Versions that are there stay whole, and the next capture is the whole tree.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CaptureNeeds } from '../../services/capture/capture.ts'
import { captureImage } from '../../services/capture/capture.ts'
import { openCaptured } from '../../services/capture/modules.ts'
import { netbootFiles } from '../../services/capture/netboot.ts'
import { importImage } from '../../services/images/import/import.ts'
import type { Images } from '../../services/images/store.ts'
import { openImages } from '../../services/images/store.ts'
import { startWorkProgress } from '../../services/images/work-progress.ts'
import { parseImageName } from '../../src/address.ts'
import { faultOf } from '../../src/fault.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import { cutRow } from '../../src/image/rows.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { tarOf } from '../images/layered.ts'
import { goldenNeeds, makeTree, startSshd } from './golden.ts'
import { told, unpack } from './unpack.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-killed-'))
const tree = join(dir, 'tree')
const small = join(dir, 'small')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Images

const FILES = 12
/** New content that no compression makes smaller: something to be killed in. */
const rewrite = (count: number) => {
  for (let i = 0; i < count; i++)
    execFileSync('dd', ['if=/dev/urandom', `of=${tree}/h/big${i}`, 'bs=1M', 'count=1', 'status=none'])
}

beforeAll(async () => {
  for (const path of ['ssh', 'tree', 'small']) mkdirSync(join(dir, path))
  makeTree(tree)
  for (const file of ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish', 'var/sock'])
    rmSync(join(tree, file)) // stay out
  mkdirSync(join(tree, 'h'))
  rewrite(FILES)
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
})
afterAll(async () => {
  await sshd?.close()
  spawnSync('umount', ['-l', small], { stdio: 'ignore' })
  rmSync(dir, { recursive: true, force: true })
})

const needs = (image: string, more: Partial<CaptureNeeds> = {}): CaptureNeeds => ({
  ...goldenNeeds({ sshd, tree, images }, image),
  ...more,
})
const reportOf = (version: ImageVersion) =>
  parseCaptureReport(readFileSync(images.blobPath(version.report!.digest), 'utf8'))

function isTheTree(store: Images, version: ImageVersion) {
  const out = unpack(store, version, join(dir, 'out'))
  try {
    expect(told(out)).toEqual(told(tree))
  } finally {
    rmSync(out, { recursive: true })
  }
}

/** What lies in the staging folders, as `FOLDER/FILE`, and they themselves. */
const staged = ({ path }: Images) =>
  existsSync(join(path, 'staging'))
    ? readdirSync(join(path, 'staging'), { recursive: true, encoding: 'utf8' })
    : []

/** Every version that is there is whole: what `fsck` looks at. */
async function areWhole(store: Images) {
  expect(store.broken()).toEqual([])
  for (const version of store.list()) expect(await store.verify(version)).toEqual([])
}

/** Numbers from 0 to 1 that a seed gives (mulberry32). */
function random(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A capture in a process of its own, killed once `when` has resolved. Answers with the phases that it came to. */
async function killed(when: (phases: AsyncIterable<string>) => Promise<unknown>) {
  const here = join(import.meta.dirname, '../..')
  const code = `
    import { captureImage } from '${here}/services/capture/capture.ts'
    import { openImages } from '${here}/services/images/store.ts'
    const n = JSON.parse(process.env.NEEDS)
    const signal = new AbortController().signal
    const emit = (_, { phase }) => phase && console.log(phase)
    await captureImage({ ...n, images: await openImages(n.store), signal, emit })
    console.log('end')
    setInterval(() => {}, 1000)`
  const { signal: _, images: __, emit: ___, ...plain } = needs('killed')
  const env = { ...process.env, NEEDS: JSON.stringify({ ...plain, store: images.path }) }
  const argv = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'], env })
  const gone = once(child, 'exit')
  await when(createInterface({ input: child.stdout })).finally(() => child.kill('SIGKILL'))
  expect(await gone).toEqual([null, 'SIGKILL'])
}

const phases = ['probe', 'list', 'archive', 'archive', 'archive', 'manifest', 'modules', 'publish', 'done']

test('kill -9 at ten random points: all versions stay whole, and the next capture is the whole tree', {
  timeout: 120_000,
}, async () => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e6)
  const next = random(seed)
  const points: string[] = []
  const first = (await captureImage(needs('killed'))).version
  try {
    for (let i = 0; i < 10; i++) {
      if (i % 2 === 0) rewrite(FILES) // the others find what the one before them had received
      const phase = phases[Math.floor(next() * phases.length)]!
      const waitMs = Math.floor(next() * (phase === 'archive' ? 700 : 60))
      points.push(`${phase}+${waitMs}`)
      await killed(async (said) => {
        for await (const line of said) if (line === phase || line === 'end') break
        await sleep(waitMs)
      })
      const again = await openImages(images.path)
      await areWhole(again)
      expect(again.get(first.name, 1)?.digest).toBe(first.digest)
      expect(again.list().map(({ version }) => version)).toEqual(again.list().map((_, at) => at + 1))
    }
    rewrite(1)
    const { version } = await captureImage(needs('killed'))
    isTheTree(images, version)
    await areWhole(images)
    expect(staged(images)).toEqual([])
  } catch (error) {
    console.error(`SEED=${seed}: ${points.join(' ')}`)
    throw error
  }
})

test('killed when something has come: that is not moved again', async () => {
  rewrite(FILES)
  await sleep(1200) // what has changed within the last second is read again in any case
  const received = () =>
    Math.max(0, ...staged(images).map((file) => sizeOf(join(images.path, 'staging', file))))
  const sizeOf = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0 // gone since it was listed
  await killed(async () => {
    while (received() < (4 << 20) + 65536) await sleep(10) // two frames of 2 MiB, and of a third
  })
  const names = () => new Set(staged(images).map((file) => basename(file)))
  const left = names()
  const { target } = needs('killed')
  const stranger = captureImage({ ...needs('killed'), target: { ...target, hostKey: 'SHA256:AAAA' } })
  await expect(stranger).rejects.toThrow(/not the known one/)
  for (const name of left) if (!/^\d+-/.test(name)) expect(names()).toContain(name) // it was not even read again
  const { version } = await captureImage(needs('killed'))
  const { resumed, movedBytes } = reportOf(version)
  expect(resumed!.bytes).toBeGreaterThan(3 << 20)
  expect(movedBytes).toBeLessThan(((FILES - 3) << 20) + 65536) // what stands around the content
  isTheTree(images, version)
  await areWhole(images)
  expect(staged(images)).toEqual([])
})

test('three captures at once, two of them of one name: each is the tree', async () => {
  const made = await Promise.all(['one', 'one', 'other'].map((name) => captureImage(needs(name))))
  expect(made.map(({ version }) => `${version.name}:${version.version}`).sort()).toEqual([
    'one:1',
    'one:2',
    'other:1',
  ])
  for (const { version } of made) isTheTree(images, version)
  await areWhole(images)
  expect(staged(images)).toEqual([])
})

const busy = () => join(tree, 'h/busy')
/** So large that a machine with much else to do cannot read it between two writes. */
const makeBusy = () =>
  execFileSync('dd', ['if=/dev/urandom', `of=${busy()}`, 'bs=1M', 'count=16', 'status=none'])
/** archive.sh, whose runs up to the given one have somebody who writes to a file all the time. */
const disturbed = (archive: string, runs: number) => `
  : >> ${dir}/runs; echo x >> ${dir}/runs
  if [ "$(wc -l < ${dir}/runs)" -le ${runs} ]; then
      (while [ -e ${dir}/runs ]; do echo more >> ${busy()}; sleep 0.002; done) > /dev/null 2>&1 < /dev/null &
      trap "kill $!" EXIT
  fi
  ${archive}`

test('a file that is written to while it is read is read again, and is then what it is at last', async () => {
  makeBusy()
  const { scripts } = needs('busy')
  const { version } = await captureImage(
    needs('busy', { scripts: { ...scripts, archive: disturbed(scripts.archive, 1) } }),
  )
  rmSync(join(dir, 'runs'))
  expect(reportOf(version)).toMatchObject({ retried: 1, changed: { count: 0, names: [] } })
  isTheTree(images, version)
})

test('one that never holds still is named in the report; all else is the tree', async () => {
  const { scripts } = needs('busy')
  makeBusy()
  const { version } = await captureImage(
    needs('busy', { scripts: { ...scripts, archive: disturbed(scripts.archive, 99) } }),
  )
  rmSync(join(dir, 'runs'))
  expect(reportOf(version)).toMatchObject({ retried: 2, changed: { count: 1, names: ['h/busy'] } })
  const out = unpack(images, version, join(dir, 'out'))
  const others = (root: string) => told(root).filter((line) => !line.includes('h/busy'))
  expect(others(out)).toEqual(others(tree))
  rmSync(out, { recursive: true })
  rmSync(busy())
  await areWhole(images)
})

// ---- a full disk ----

function freeKilobytes(): number {
  const { bavail, bsize } = statfsSync(small)
  return (bavail * bsize) / 1024
}
/** A file system of its own, with so much of it free. */
function leave(kilobytes: number) {
  const ballast = join(small, 'ballast')
  rmSync(ballast, { force: true })
  writeFileSync(ballast, Buffer.alloc((freeKilobytes() - kilobytes) * 1024))
}

test('the disk of the store fills up at any moment of a capture: said, nothing is left over, all versions stay whole', {
  timeout: 60_000,
}, async () => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', small])
  const store = await openImages(join(small, 'images'))
  const first = (await captureImage(needs('full', { images: store }))).version
  rewrite(3)
  for (const room of [0, 4, 16, 64, 200, 600, 1500, 2800, 20_000]) {
    leave(room)
    const version = await captureImage(needs('full', { images: store })).then(
      (captured) => captured.version,
      (error) => faultOf(error),
    )
    if ('digest' in version) {
      expect(room).toBe(20_000)
      break
    }
    expect(version, `${room} KiB`).toEqual({
      error: 'the disk of the image store is full',
      what: `${store.path}; no version was made`,
      allowed: 'to make room on it, or another place: -l',
      object: 'golden',
    })
    expect(staged(store)).toEqual([])
    expect(freeKilobytes()).toBe(room) // nothing deleted is held open either
    expect(store.list().map(({ digest }) => digest)).toEqual([first.digest])
  }
  await areWhole(store)
  rmSync(join(small, 'ballast'), { force: true })
  const { version } = await captureImage(needs('full', { images: await openImages(store.path) }))
  isTheTree(store, version)
  await areWhole(store)
})

test('the same of an import', { timeout: 60_000 }, async () => {
  execFileSync('cp', ['/bin/true', join(tree, 'usr/bin/sh')])
  writeFileSync(join(dir, 'root.tar'), tarOf(tree))
  rmSync(join(tree, 'usr/bin/sh'))
  const store = await openImages(join(small, 'images'))
  const before = store.list().map(({ digest }) => digest)
  const layout =
    'disks: [{ partitions: [{ type: bios-boot, size: 1 MiB }, { type: linux, size: 4 GiB, filesystem: ext4, mountpoint: / }] }]\n'
  const take = () =>
    importImage({
      ...{ images: store, image: parseImageName('taken'), source: join(dir, 'root.tar'), layout, choose: {} },
      build: {
        open: openCaptured,
        netboot: ({ lines, system, ...more }) =>
          netbootFiles({
            ...more,
            rows: () => Array.from(lines, cutRow),
            probe: { ...system, loadedModules: [] },
            base: undefined,
          }),
      },
      progress: startWorkProgress({ emit: () => {}, kind: 'import' }),
      signal: new AbortController().signal,
      now: new Date(),
      makeUuid: () => '0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a',
    })
  for (const room of [0, 16, 200, 1500, 9000]) {
    leave(room)
    expect(await take().then(String, faultOf), `${room} KiB`).toEqual({
      error: 'no room for the image',
      what: join(dir, 'root.tar'),
      allowed: 'a place with room: -l',
    })
    expect(staged(store)).toEqual([])
    expect(freeKilobytes()).toBe(room)
    expect(store.list().map(({ digest }) => digest)).toEqual(before)
  }
  await areWhole(store)
  rmSync(join(small, 'ballast'))
  rmSync(join(small, 'images'), { recursive: true })
  const other = await openImages(join(small, 'images'))
  Object.assign(store, other)
  expect((await take()).version).toBe(1)
  await areWhole(other)
})

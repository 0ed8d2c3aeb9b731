// A second capture moves what has changed and nothing else, and what comes out of all layers is the tree as it is now.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Captured, CaptureNeeds } from '../../services/capture/capture.ts'
import { captureImage } from '../../services/capture/capture.ts'
import { openCaptured } from '../../services/capture/modules.ts'
import { importImage } from '../../services/images/import/import.ts'
import { squashVersion } from '../../services/images/squash.ts'
import { openImages } from '../../services/images/store.ts'
import { startWorkProgress } from '../../services/images/work-progress.ts'
import { parseImageName } from '../../src/address.ts'
import type { CaptureReport } from '../../src/image/capture-report.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import { goldenNeeds, goldenScripts, makeTree, probeAnswer, startSshd } from './golden.ts'
import { applyLayers, told, unpack } from './unpack.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-delta-'))
const tree = join(dir, 'tree')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>

beforeAll(async () => {
  mkdirSync(join(dir, 'ssh'), { recursive: true })
  mkdirSync(tree)
  makeTree(tree)
  for (const file of ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish'])
    rmSync(join(tree, file)) // stay out
  sh(
    'mkdir -p d/sub d/gone-folder/deep; for i in 1 2 3 4 5 6 7 8 9; do echo $i > d/f$i; done; echo x > d/gone-folder/deep/x',
  )
  sh(
    'ln d/f1 d/sub/f1-link; ln d/f1 d/f1-third; ln d/f2 d/f2-link; echo y > d/was-file; mkdir d/was-folder; echo z > d/was-folder/z',
  )
  sh(
    'echo n > "$(printf \'d/new\\nline\')"; echo t > "d/trailing "; echo s > "d/st*r"; echo b > "d/back\\\\slash"; setfattr -n user.a -v 1 d/f8',
  )
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})

const sh = (commands: string) => execFileSync('sh', ['-euc', commands], { cwd: tree })
const settled = () => sleep(1200) // a ctime that is younger than a second says nothing

const capture = (more: Partial<CaptureNeeds> = {}, answer = {}): Promise<Captured> =>
  captureImage({
    ...goldenNeeds({ sshd, tree, images }, 'img'),
    scripts: goldenScripts(probeAnswer(tree, answer)),
    ...more,
  })
const reportOf = ({ version }: Captured): CaptureReport =>
  parseCaptureReport(readFileSync(images.blobPath(version.report!.digest), 'utf8'))

const notSocket = (line: string) => !line.startsWith('var/sock|')

/** What is unpacked, in both ways, is what the tree is; and every member is unpacked once. */
async function isTheTree({ version }: Captured, name: string) {
  expect(told(unpack(images, version, join(dir, name, 'installed')))).toEqual(told(tree).filter(notSocket))
  const applied = applyLayers(images, version, join(dir, name, 'applied'))
  expect(told(applied, { directoryTimes: false })).toEqual(
    told(tree, { directoryTimes: false }).filter(notSocket),
  )
  rmSync(join(dir, name), { recursive: true })
}

test('changes of every kind', async () => {
  await settled()
  const first = await capture()
  expect([first.isNew, first.version.version]).toEqual([true, 1])
  await isTheTree(first, 'first')

  const same = await capture()
  expect([same.isNew, same.version.digest]).toEqual([false, first.version.digest])

  sh(
    'echo changed > d/f3; chmod 600 d/f4; chown 12:34 d/f5; setfattr -n user.b -v 2 d/f6; touch -d "2001-02-03 04:05:06.5" d/f7',
  )
  sh(
    'setfattr -x user.a d/f8; rm d/f9 d/sub/f1-link; ln d/f2 d/sub/f2-more; rm -r d/gone-folder; mv usr/share/empty usr/share/moved',
  )
  sh('rm d/was-file; mkdir d/was-file; echo in > d/was-file/in; rm -r d/was-folder; echo now > d/was-folder')
  sh(
    'rm "$(printf \'d/new\\nline\')" "d/trailing "; echo s2 > "d/st*r"; chmod 711 d/sub; mkdir d/fresh; chmod 4711 usr/bin/-rf',
  )
  // Content under the old times: the ctime alone tells.
  sh(
    'touch -r etc/fstab /tmp/ref.$$; printf "UUID=0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a / ext4 errors=remount-rx 0 1\\n" > etc/fstab; touch -r /tmp/ref.$$ etc/fstab; rm /tmp/ref.$$',
  )
  await settled()
  const second = await capture()
  expect([second.isNew, second.version.version, second.version.base]).toEqual([true, 2, 'img:1'])
  const added = second.version.layers.slice(first.version.layers.length)
  expect(second.version.layers.slice(0, -1).map((l) => l.digest)).toEqual(
    first.version.layers.map((l) => l.digest),
  )
  expect(added).toHaveLength(1) // one layer that holds only what has changed
  expect(added[0]!.bytes).toBeLessThan(20_000)
  await isTheTree(second, 'second')
  expect(reportOf(second)).toMatchObject({ base: 'img:1', retried: 0, changed: { count: 0 } })

  sh(
    'rm -r d/was-file; echo file-again > d/was-file; rm d/was-folder; mkdir d/was-folder; ln d/f2 d/was-folder/f2; rm d/f3; echo back > d/f9',
  )
  await settled()
  const third = await capture()
  await isTheTree(third, 'third')
  expect((await images.verify(third.version)).length).toBe(0)
})

test('what exclude= says leaves the next version, links of it stay whole, and comes back', async () => {
  const without = await capture({ excludes: ['/d/f1', '/usr/share/*'] })
  const paths = told(unpack(images, without.version, join(dir, 'without')))
  expect(paths.some((line) => /^(d\/f1|usr\/share\/noise)\|/.test(line))).toBe(false)
  expect(paths.some((line) => line.startsWith('d/f1-third|f|'))).toBe(true)
  expect(reportOf(without).left).toMatchObject({ 'exclude=/d/f1': 1 })
  const back = await capture()
  expect(back.isNew).toBe(true)
  await isTheTree(back, 'back')
})

test('a version of several captures, squashed or carried over by skopeo, is the same tree', async () => {
  const last = images.get(parseImageName('img'))!
  expect(last.layers.length).toBeGreaterThan(2)
  const progress = startWorkProgress({ emit: () => {}, kind: 'squash' })
  const signal = new AbortController().signal
  const version = await squashVersion({ images, version: last, progress, signal, now: new Date() })
  await isTheTree({ version, isNew: true }, 'squashed')
  const copied = join(dir, 'copied')
  const [from, to] = [`oci:${images.path}:img:${last.version}`, `oci:${copied}:x`]
  execFileSync('skopeo', ['copy', '-q', from, to])
  const back = await importImage({
    ...{
      images,
      image: parseImageName('back'),
      source: copied,
      choose: {},
      progress,
      signal,
      now: new Date(),
    },
    makeUuid: () => '',
    build: {
      open: openCaptured,
      netboot: async () => pickNetboot(last),
    },
  })
  expect(back.layers.map(({ digest }) => digest)).toEqual(last.layers.map(({ digest }) => digest))
  await isTheTree({ version: back, isNew: true }, 'back')
})

const pickNetboot = ({ kernel, modules }: ReturnType<Awaited<ReturnType<typeof openImages>>['find']>) => ({
  kernel,
  modules,
})

// Immutable and append-only files: each version says of which it holds, and only the first capture looks at all of them.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Captured, captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import { parsePreflight } from '../../src/image/preflight.ts'
import { goldenNeeds, makeTree, startSshd } from './golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-flags-'))
const tree = join(dir, 'tree')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>
const sh = (commands: string) => execFileSync('sh', ['-euc', commands], { cwd: tree })
const CLEAR = 'find f -type d -exec chattr -i -a {} +; find f -type f -exec chattr -i -a {} +'

beforeAll(async () => {
  mkdirSync(tree)
  mkdirSync(join(dir, 'ssh'))
  makeTree(tree)
  sh('mkdir -p f/folder; for i in kept cleared "of all" gone umläut; do echo x > "f/$i"; done; mkfifo f/fifo')
  sh('chattr +i f/kept f/cleared f/umläut f/folder; chattr +a "f/of all" f/gone')
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
})
afterAll(async () => {
  await sshd?.close()
  sh(CLEAR)
  rmSync(dir, { recursive: true, force: true })
})

/** `whole`: it may look at everything. */
async function capture(image: string, node: string, whole: boolean): Promise<Captured> {
  await sleep(1200) // a ctime that is younger than a second says nothing
  const needs = goldenNeeds({ sshd, tree, images }, image)
  const flags = needs.scripts.flags.replace('echo "at $mount"', 'echo "sysclone: all" >&2; exit 9')
  expect(flags).not.toBe(needs.scripts.flags)
  const scripts = whole ? needs.scripts : { ...needs.scripts, flags }
  return captureImage({ ...needs, scripts, target: { ...needs.target, node } })
}
const flaggedIn = ({ version }: Captured) =>
  parsePreflight(readFileSync(images.blobPath(version.preflight!.digest), 'utf8')).flagged

const all = [
  '/f/cleared (i)',
  '/f/folder (i)',
  '/f/gone (a)',
  '/f/kept (i)',
  '/f/of all (a)',
  '/f/umläut (i)',
]

test('every version names those it has: what was known, less what was cleared or is gone, and what was set', async () => {
  expect(flaggedIn(await capture('img', 'golden', true))).toEqual(all)

  sh('echo changed > etc/fstab')
  const second = await capture('img', 'golden', false)
  expect([second.version.version, flaggedIn(second)]).toEqual([2, all])

  sh(
    'chattr -i f/cleared; chattr -a f/gone; rm f/gone; chattr +a etc/os-release; chattr +i f; chattr -i f/umläut',
  )
  sh('chattr +a f/umläut')
  const third = await capture('img', 'golden', false)
  expect(flaggedIn(third)).toEqual([
    ...['/etc/os-release (a)', '/f (i)', '/f/folder (i)', '/f/kept (i)', '/f/of all (a)', '/f/umläut (a)'],
  ])
  sh('chattr -i f; chattr -a etc/os-release')
  expect(flaggedIn(await capture('img', 'golden', false))).toHaveLength(4)

  // A flag alone makes a version, and no flag at all is known as well as some.
  sh(CLEAR)
  const none = await capture('img', 'golden', false)
  expect([none.isNew, flaggedIn(none)]).toEqual([true, []])
  sh('chattr +i f/kept')
  const one = await capture('img', 'golden', false)
  expect([one.isNew, flaggedIn(one)]).toEqual([true, ['/f/kept (i)']])
})

test('another machine, and a version that does not say it, are looked at whole', async () => {
  sh(`${CLEAR}; chattr +i f/kept`)
  await expect(capture('img', 'other', false)).rejects.toThrow('other: a script failed on the golden client')
  expect(flaggedIn(await capture('img', 'other', true))).toEqual(['/f/kept (i)'])
  const { version } = await capture('first', 'golden', true)
  const damaged = images.blobPath(version.preflight!.digest)
  const text = readFileSync(damaged, 'utf8')
  expect(text).toContain('"flagged"')
  execFileSync('sh', ['-euc', 'sed -i s/flagged/unknown/ "$1"', 'sh', damaged])
  sh('chattr +a "f/of all"')
  await expect(capture('first', 'golden', false)).rejects.toThrow('a script failed')
  expect(flaggedIn(await capture('first', 'golden', true))).toEqual(['/f/kept (i)', '/f/of all (a)'])
})

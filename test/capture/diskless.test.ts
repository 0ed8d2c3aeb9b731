// A capture for an image that is booted in RAM: what only a disk needs stays on the golden client.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import { parseImageName } from '../../src/address.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import { renderCaptureReport } from '../../src/image/report-text.ts'
import type { ImageKind } from '../../src/image/version.ts'
import { goldenNeeds, makeTree, release, shim, signedGrub, startSshd } from './golden.ts'
import { told, unpack } from './unpack.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-diskless-'))
const tree = join(dir, 'tree')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>

// What stays out of an image in RAM, beside what always does. Folders of these stay in it, but those that have a slash here.
const left: Record<string, string[]> = {
  'of no use to an image that is booted in RAM': [
    `boot/initrd.img-${release}`, // is in the tree already
    ...['boot/initramfs-0-rescue.img', 'boot/grub/grub.cfg', 'boot/grub2/grubenv'],
    ...['boot/loader/entries/', 'boot/loader/entries/a.conf'],
    ...['boot/efi/EFI/', 'boot/efi/EFI/debian/', 'boot/efi/EFI/debian/grubx64.efi'],
    ...['efi/loader/', 'efi/loader/loader.conf'],
  ],
  'can be made again': ['var/cache/man/', 'var/cache/man/index.db', 'var/cache/fontconfig'],
  'history of one machine': ['var/log/syslog', 'var/log/apt/', 'var/log/apt/history.log'],
}
const leftPaths = Object.values(left).flat()
const leftFiles = leftPaths.filter((path) => !path.endsWith('/')).slice(1)
const taken = ['boot/System.map', 'boot/grubby.txt', 'srv/var/log/x', 'var/logs/x', 'var/lib/cache/x']
const always = ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish', 'var/sock']

beforeAll(async () => {
  mkdirSync(join(dir, 'ssh'))
  mkdirSync(tree)
  makeTree(tree)
  for (const path of [...leftFiles, ...taken]) {
    mkdirSync(dirname(join(tree, path)), { recursive: true })
    writeFileSync(join(tree, path), path)
  }
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
  await sleep(1200) // a ctime that is younger than a second says nothing
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})

const capture = (image: string, kind: ImageKind) =>
  captureImage({ ...goldenNeeds({ sshd, tree, images }, image), kind })
type Captured = Awaited<ReturnType<typeof capture>>
const reportOf = ({ version }: Captured) =>
  parseCaptureReport(readFileSync(images.blobPath(version.report!.digest), 'utf8'))
const pathOf = (line: string) => line.replace(/^\.\//, '').split('|')[0]!

test('what it takes, what it says of itself, and that a second one finds nothing new', async () => {
  const first = await capture('ram', 'diskless')
  const { version } = first
  expect(first.isNew).toBe(true)
  expect(version).toMatchObject({ kind: 'diskless', kernelRelease: release })
  expect((await openImages(images.path)).get(parseImageName('ram'))!.kind).toBe('diskless') // kept, not only told
  const inspect = execFileSync('skopeo', ['inspect', `oci:${images.path}:ram:1`]).toString()
  expect(JSON.parse(inspect).Labels['sysclone.kind']).toBe('diskless')

  const gone = new Set([...always, ...leftPaths.map((path) => path.replace(/\/$/, ''))])
  const names = (root: string) =>
    execFileSync('find', [root, '-printf', '%P\\n']).toString('latin1').split('\n').sort()
  const out = unpack(images, version, join(dir, 'out'))
  expect(names(out)).toEqual(names(tree).filter((path) => !gone.has(path)))
  const same = (root: string) =>
    told(root, { directoryTimes: false }).filter((line) => /^(boot|srv|var\/li)/.test(line))
  expect(same(out)).toEqual(same(tree).filter((line) => !gone.has(pathOf(line))))
  for (const path of taken) expect(readFileSync(join(out, path), 'utf8')).toBe(path)

  const text = (blob = version.kernel) => readFileSync(images.blobPath(blob.digest), 'utf8')
  expect([text(version.shim), text(version.grub)]).toEqual([shim, signedGrub]) // it is netbooted all the same
  expect(text()).toBe('kernel'.repeat(70_000 / 6 + 1).slice(0, 70_000))
  expect(version.initrd).toBeUndefined()
  expect(version.modules.bytes).toBeGreaterThan(100)

  const report = reportOf(first)
  expect(report).toMatchObject({ node: 'golden', kind: 'diskless' })
  for (const [why, paths] of Object.entries(left))
    expect([why, report.left[why]]).toEqual([why, paths.length])
  expect(renderCaptureReport(report)[0]).toContain('captured from golden (diskless)')

  const second = await capture('ram', 'diskless')
  expect([second.isNew, second.version.digest]).toEqual([false, version.digest])
  expect(images.list().map(({ name, version }) => `${name}:${version}`)).toEqual(['ram:1'])
})

test('the same machine captured for disks is another content, and says no kind', async () => {
  const { version } = await capture('disk', 'sysclone')
  expect(version.kind).toBeUndefined()
  expect(reportOf({ version, isNew: true }).kind).toBe('sysclone')
  expect(Object.keys(left).some((why) => why in reportOf({ version, isNew: true }).left)).toBe(false)
  const out = unpack(images, version, join(dir, 'disk'))
  for (const path of leftFiles) expect(readFileSync(join(out, path), 'utf8')).toBe(path)
  expect(version.initrd).toBeDefined()
})

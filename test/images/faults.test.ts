// What kills a process or fills a disk while the store is written: older versions stay whole.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openImages } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import { publishLayers, tarOf } from './layered.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-faults-'))
const mount = join(dir, 'small')
afterAll(() => {
  spawnSync('umount', ['-l', mount])
  rmSync(dir, { recursive: true, force: true })
})
const services = join(import.meta.dirname, '../../services/images')
const tree = join(dir, 'tree')
mkdirSync(join(tree, 'etc'), { recursive: true })
writeFileSync(
  join(tree, 'etc/passwd'),
  Buffer.from(Array.from({ length: 500_000 }, (_, i) => (i * i * 7919) % 251)),
)

/** A process that publishes, removes and collects without end. */
const work = `
  import { openImages } from '${services}/store.ts'
  const images = await openImages(process.argv[1])
  console.log('open')
  for (let i = 0; ; i++) {
    const stage = await images.openStage()
    const ref = async (text) => { const { digest, bytes } = await stage.writeBlob([Buffer.from(text)]); return { digest, bytes } }
    const layer = await ref('layer ' + process.pid + i)
    const version = await images.publish(stage, 'busy', {
      createdAt: new Date().toISOString(), source: 'x', arch: 'x86_64', firmware: 'bios', os: { id: 'd', version: '1', name: 'D' },
      kernelRelease: '6.1', kernel: await ref('kernel'), modules: await ref('modules'), manifest: await ref('manifest'),
      layers: [{ ...layer, diffId: layer.digest, tarBytes: 10, entryCount: 1, directories: true }],
      layout: { disks: [], fstab: '' }, sshHostKeyTypes: [],
    })
    await stage.close()
    if (i % 2) await images.remove([version])
    else await images.gc()
  }
`

test('killed at any moment, several at once: every version that is there is whole, and gc clears the rest', async () => {
  const imagesDir = join(dir, 'images')
  const images = await openImages(imagesDir)
  const kept = await publishLayers(images, [tarOf(tree)], { name: 'kept' as ImageName })
  for (const wait of [40, 90, 160, 250]) {
    const children = [1, 2].map(() =>
      spawn(process.execPath, ['--input-type=module', '-e', work, imagesDir], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    )
    await Promise.all(children.map((child) => new Promise((done) => child.stdout.once('data', done))))
    await new Promise((done) => setTimeout(done, wait))
    const gone = children.map((child) => new Promise((done) => child.once('exit', done)))
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(gone)
    const fresh = await openImages(imagesDir)
    expect(fresh.broken()).toEqual([])
    for (const version of fresh.list()) expect(await fresh.verify(version)).toEqual([])
  }
  const fresh = await openImages(imagesDir)
  await fresh.gc()
  expect(await fresh.verify(kept)).toEqual([])
  expect(readdirSync(join(imagesDir, 'staging'))).toEqual([])
  const needed = new Set(
    fresh.list().flatMap((version) => fresh.refs(version).map(({ digest }) => digest.slice(7))),
  )
  expect(readdirSync(join(imagesDir, 'blobs/sha256')).sort()).toEqual([...needed].sort())
})

test('a full disk: the new version is not made, the old one stays whole, and room made is room again', async () => {
  mkdirSync(mount)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', mount])
  const images = await openImages(join(mount, 'images'))
  const first = await publishLayers(images, [tarOf(tree)])
  const noise = execFileSync('head', ['-c', '4000000', '/dev/urandom'], { maxBuffer: 1 << 23 })
  writeFileSync(join(tree, 'etc/big'), noise)
  await expect(publishLayers(images, [tarOf(tree)])).rejects.toThrow(/ENOSPC/)
  expect(images.list().map(({ version }) => version)).toEqual([1])
  expect(await images.verify(first)).toEqual([])
  writeFileSync(join(tree, 'etc/big'), noise.subarray(0, 300_000))
  expect((await publishLayers(images, [tarOf(tree)])).version).toBe(2)
})

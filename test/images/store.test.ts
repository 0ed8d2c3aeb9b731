import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { withLock } from '../../services/images/lock.ts'
import type { Images } from '../../services/images/store.ts'
import { openImages, parseImageReference } from '../../services/images/store.ts'
import { parseImageName } from '../../src/address.ts'
import { WireError } from '../../src/fault.ts'
import type { ImageContent } from '../../src/image/oci.ts'
import { digestOf, parseImage, parseIndex, renderImage } from '../../src/image/oci.ts'

let dir: string
let images: Images
const img = parseImageName('img')
beforeEach(async () => {
  dir = join(mkdtempSync(join(tmpdir(), 'sysclone-images-')), 'images')
  images = await openImages(dir)
})
afterEach(() => rmSync(join(dir, '..'), { recursive: true, force: true }))

const indexPath = () => join(dir, 'index.json')
const index = () => JSON.parse(readFileSync(indexPath(), 'utf8'))

/** Publishes a small image, as a capture does. */
async function publish(store: Images, name = img, text = 'layer') {
  const stage = await store.openStage()
  try {
    const ref = async (content: string) => {
      const { digest, bytes } = await stage.writeBlob([Buffer.from(content)])
      return { digest, bytes }
    }
    const blob = await ref(text)
    const content: ImageContent = {
      createdAt: '2024-05-06T07:08:09.000Z',
      source: 'golden',
      arch: 'x86_64',
      firmware: 'uefi',
      os: { id: 'debian', version: '12', name: 'Debian "12"' },
      kernelRelease: '6.1.0-1-amd64',
      kernel: await ref(`kernel of ${text}`),
      modules: await ref(`modules of ${text}`),
      layers: [{ ...blob, diffId: blob.digest, tarBytes: 10240, entryCount: 3, directories: true }],
      manifest: await ref(`manifest of ${text}`),
      layout: {
        fstab: '/dev/vda1 / ext4 defaults 0 1\n\u00fc',
        disks: [{ path: '/dev/vda', bytes: 1e9, sectorBytes: 512, label: 'gpt', partitions: [] }],
      },
      sshHostKeyTypes: ['ed25519'],
    }
    return { version: await store.publish(stage, name, content), content }
  } finally {
    await stage.close()
  }
}

test('nobody else on this server reads an image: it holds the passwords of the golden client', async () => {
  expect(statSync(dir).mode & 0o777).toBe(0o700)
  chmodSync(dir, 0o755) // as an older version left it
  await openImages(dir)
  expect(statSync(dir).mode & 0o777).toBe(0o700)
})

describe('publishing', () => {
  test('makes versions 1, 2, ... of each name; what was said comes back', async () => {
    const { version, content } = await publish(images)
    expect(version).toEqual({ ...content, name: 'img', version: 1, digest: version.digest, tarBytes: 10240 })
    expect((await publish(images, img, 'two')).version.version).toBe(2)
    expect((await publish(images, parseImageName('other'))).version.version).toBe(1)
    expect(images.list().map((v) => `${v.name}:${v.version}`)).toEqual(['img:1', 'img:2', 'other:1'])
    expect(images.get(img)!.version).toBe(2)
    expect(images.get(img, 1)).toEqual(version)
    expect(images.get(img, 3)).toBeUndefined()
    expect(images.get(parseImageName('none'))).toBeUndefined()
    expect(await images.verify(version)).toEqual([])
    expect(readdirSync(join(dir, 'staging'))).toEqual([])
  })

  test('from two stores at once gives each its own number', async () => {
    const other = await openImages(dir)
    const made = await Promise.all(
      [images, other, images, other].map((store, i) => publish(store, img, `text ${i}`)),
    )
    expect(made.map(({ version }) => version.version).sort()).toEqual([1, 2, 3, 4])
    expect(other.list()).toEqual(images.list())
    expect(new Set(images.list().map((v) => v.layers[0]!.digest)).size).toBe(4)
  })

  test('is seen by a store that was open before', async () => {
    const other = await openImages(dir)
    expect(other.list()).toEqual([])
    await publish(images)
    expect(other.list()).toHaveLength(1)
  })

  test('keeps what other tools have put into the layout', async () => {
    const foreign = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: `sha256:${'0'.repeat(64)}`,
      size: 2,
      annotations: { 'org.opencontainers.image.ref.name': 'latest' },
      platform: { architecture: 'amd64', os: 'linux' },
    }
    writeFileSync(indexPath(), JSON.stringify({ schemaVersion: 2, mediaType: 'x', manifests: [foreign] }))
    await publish(images)
    expect(index()).toMatchObject({ mediaType: 'x', manifests: [foreign, {}] })
    expect(images.list()).toHaveLength(1)
  })
})

describe('damage', () => {
  test('to the records of one version leaves the others; it is named', async () => {
    const { version } = await publish(images)
    await publish(images, img, 'two')
    const path = images.blobPath(version.digest)
    writeFileSync(path, readFileSync(path, 'utf8').replace('golden', 'g0lden').replace('created', 'cr3ated'))
    const fresh = await openImages(dir)
    expect(fresh.list().map((v) => v.version)).toEqual([2])
    expect(fresh.broken().map((fault) => fault.message)).toEqual([
      expect.stringMatching(/^img:1: image is damaged \(blob sha256/),
    ])
    expect(() => fresh.get(img, 1)).toThrow(/img:1/)
    rmSync(path)
    expect((await openImages(dir)).list().map((v) => v.version)).toEqual([2])
  })

  test('to a blob is found by its digest; a missing one too', async () => {
    const { version } = await publish(images)
    writeFileSync(images.blobPath(version.kernel.digest), 'something else')
    rmSync(images.blobPath(version.layers[0]!.digest))
    const faults = (await images.verify(version)).map((fault) => fault.message)
    expect(faults).toEqual([
      expect.stringContaining(version.layers[0]!.digest),
      expect.stringContaining(version.kernel.digest),
    ])
  })

  test('to index.json is said with its path', async () => {
    await publish(images)
    renameSync(indexPath(), `${indexPath()}.kept`)
    writeFileSync(indexPath(), '{"schemaVersion": 2')
    expect(() => images.list()).toThrow(/index\.json: image store is damaged/)
    renameSync(`${indexPath()}.kept`, indexPath())
    expect(images.list()).toHaveLength(1)
  })
})

test('opening removes what dead processes left, and only that', async () => {
  const stage = await images.openStage()
  mkdirSync(join(dir, 'staging/999999999-abc'), { recursive: true })
  writeFileSync(join(dir, 'staging/999999999-abc/blob'), 'half')
  writeFileSync(`${indexPath()}.next`, '{"half')
  await openImages(dir)
  expect(readdirSync(join(dir, 'staging'))).toEqual([stage.path.split('/').at(-1)])
  expect((await publish(images)).version.version).toBe(1)
  await stage.close()
})

test('the lock lets one in at a time, also when work fails', async () => {
  let inside = 0
  let most = 0
  const work = async () => {
    most = Math.max(most, ++inside)
    await new Promise((done) => setTimeout(done, 20))
    inside--
  }
  const file = join(dir, '.lock')
  await expect(withLock(file, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  await Promise.all([1, 2, 3].map(() => withLock(file, work)))
  expect(most).toBe(1)
})

test.each([
  ['img', { name: 'img', version: undefined }],
  ['img:3', { name: 'img', version: 3 }],
])('reference %s', (text, expected) => expect(parseImageReference(text)).toEqual(expected))
test.each(['', ':1', 'img:', 'img:0', 'img:01', 'img:1:2', '../img', 'img:9999999999', 'img:x'])(
  'no reference: %j',
  (text) => {
    expect(() => parseImageReference(text)).toThrow()
  },
)

test('records cut short anywhere throw WireError, nothing else', async () => {
  const { config, manifest } = renderImage((await publish(images)).content)
  for (let length = 0; length < manifest.length; length++)
    expect(() => parseImage(img, 1, manifest.subarray(0, length), config)).toThrow(WireError)
  for (let length = 0; length < config.length; length++)
    expect(() => parseImage(img, 1, manifest, config.subarray(0, length))).toThrow(WireError)
  for (const text of ['', '{}', '[]', '{"schemaVersion":1,"manifests":[]}'])
    expect(() => parseIndex(text)).toThrow(WireError)
})

/** Names of the blobs in a layout. */
const blobsIn = (path: string) => readdirSync(join(path, 'blobs/sha256')).sort()
const names = (store: Images) => store.list().map((v) => `${v.name}:${v.version}`)

describe('removing', () => {
  test('takes the blobs of a version that no other needs; its number is never given again', async () => {
    const { version: one } = await publish(images)
    const before = blobsIn(dir)
    const { version: two } = await publish(images, img, 'two')
    const shared = await images.copy(two, parseImageName('twin'))
    expect(await images.remove([two])).toEqual({ blobs: 0, bytes: 0 }) // twin:1 has them
    expect(names(images)).toEqual(['img:1', 'twin:1'])
    expect(await images.verify(shared)).toEqual([])
    expect(await images.remove([shared])).toMatchObject({ blobs: 6 })
    expect(blobsIn(dir)).toEqual(before)
    expect(await images.verify(one)).toEqual([])
    expect((await publish(images, img, 'three')).version.version).toBe(3)
    expect(names(await openImages(dir))).toEqual(['img:1', 'img:3'])
  })

  test('works for a damaged version; while one is there nothing of it is guessed', async () => {
    const { version: one } = await publish(images)
    const { version: two } = await publish(images, img, 'two')
    rmSync(images.blobPath(two.digest))
    const fresh = await openImages(dir)
    await expect(fresh.gc()).rejects.toThrow(/img:2: image is damaged.*rmimage/)
    expect(await fresh.remove([one])).toEqual({ blobs: 0, bytes: 0 })
    await fresh.remove([two])
    expect(await fresh.gc()).toMatchObject({ blobs: 11, leftovers: 0 })
    expect(blobsIn(dir)).toEqual([])
  })
})

describe('copying', () => {
  test('gives a version a further name', async () => {
    const { version } = await publish(images)
    const twin = await images.copy(version, parseImageName('twin'))
    expect(twin).toEqual({ ...version, name: 'twin', version: 1 })
    await expect(images.copy(version, parseImageName('twin'))).rejects.toThrow(/--next.*twin:2/)
    expect((await images.copy(version, img, { next: true })).version).toBe(2) // back to what it was
    await expect(images.copy({ name: img, version: 7 }, parseImageName('x'))).rejects.toThrow(
      /no such version/,
    )
    await expect(images.copy({ name: parseImageName('none'), version: 1 }, img)).rejects.toThrow(
      /no such image/,
    )
  })
})

describe('gc', () => {
  test('removes what nothing needs, and leaves what a capture is about to publish', async () => {
    const { version } = await publish(images)
    const before = blobsIn(dir)
    const orphan = 'f'.repeat(64)
    writeFileSync(join(dir, 'blobs/sha256', orphan), 'left by a publish that was killed')
    mkdirSync(join(dir, 'staging/999999999-abc'), { recursive: true })
    const stage = await images.openStage()
    const staged = await stage.writeBlob([Buffer.from('new')])
    expect(await images.gc()).toEqual({ blobs: 1, bytes: 33, leftovers: 1 })
    expect(blobsIn(dir)).toEqual(before)
    const { name: _, version: __, digest: ___, tarBytes: ____, ...content } = version
    const next = await images.publish(stage, img, { ...content, kernel: staged })
    expect(await images.verify(next)).toEqual([])
    await stage.close()
  })

  test('keeps what other tools have put into the layout, indexes of images too', async () => {
    const put = (content: string | Buffer) => {
      const digest = digestOf(Buffer.from(content))
      writeFileSync(join(dir, 'blobs/sha256', digest.slice(7)), content)
      return { mediaType: 'application/x', digest, size: Buffer.byteLength(content) }
    }
    const manifest = put(JSON.stringify({ schemaVersion: 2, config: put('{}'), layers: [put('layer')] }))
    const list = put(JSON.stringify({ schemaVersion: 2, manifests: [manifest] }))
    writeFileSync(indexPath(), JSON.stringify({ schemaVersion: 2, manifests: [list] }))
    expect(await images.gc()).toMatchObject({ blobs: 0 })
    expect(blobsIn(dir)).toHaveLength(4)
  })

  test('what a new version shares with one that was removed meanwhile is missed before it is published', async () => {
    const { version } = await publish(images)
    const stage = await images.openStage()
    await images.remove([version])
    const { name: _, version: __, digest: ___, tarBytes: ____, ...content } = version
    await expect(images.publish(stage, img, content)).rejects.toThrow(
      /a blob of the new version is not there/,
    )
    expect(names(images)).toEqual([])
    await stage.close()
  })
})

describe('a place of its own', () => {
  const place = () => join(dir, '..', 'big')
  async function publishAt(path: string, name = img, text = 'big') {
    const { content } = await publish(images, parseImageName('other'), text)
    const stage = await images.openStage(path)
    const version = await images.publish(stage, name, content) // its blobs are copied from the other place
    await stage.close()
    return version
  }

  test('is a layout of its own that all reads know; numbers go on over all places', async () => {
    await publish(images)
    const version = await publishAt(place())
    expect(version).toMatchObject({ name: 'img', version: 2, place: place() })
    const other = await openImages(dir)
    expect(names(other)).toEqual(['img:1', 'img:2', 'other:1'])
    expect(await other.verify(version)).toEqual([])
    expect(statSync(place()).mode & 0o777).toBe(0o700)
    expect(blobsIn(place())).toHaveLength(6)
    await other.remove([{ name: parseImageName('other'), version: 1 }])
    expect(other.blobPath(version.kernel.digest)).toContain(place())
    const twin = await other.copy(version, parseImageName('twin'))
    expect(twin.place).toBe(place())
    writeFileSync(join(place(), 'blobs/sha256', 'f'.repeat(64)), 'orphan')
    expect(await other.gc()).toMatchObject({ blobs: 1 })
    await other.remove([version, twin])
    expect(blobsIn(place())).toEqual([])
  })

  test('that is not mounted is named; the others go on, and its numbers stay taken', async () => {
    await publish(images)
    await publishAt(place())
    renameSync(place(), `${place()}.away`)
    mkdirSync(place()) // the empty mount point
    const fresh = await openImages(dir)
    expect(names(fresh)).toEqual(['img:1', 'other:1'])
    expect(fresh.broken().map((fault) => fault.message)).toEqual([expect.stringContaining(place())])
    await expect(fresh.openStage(place())).rejects.toThrow(/its file system mounted/)
    expect(readdirSync(place())).toEqual([])
    expect((await publish(fresh, img, 'three')).version.version).toBe(3)
    expect(await fresh.gc()).toMatchObject({ blobs: 0 })
    rmSync(place(), { recursive: true })
    renameSync(`${place()}.away`, place())
    expect(names(fresh)).toEqual(['img:1', 'img:2', 'img:3', 'other:1'])
  })

  test('may be the image store itself', async () => {
    const stage = await images.openStage(`${dir}/.`)
    expect(stage.place).toBe(dir)
    await stage.close()
  })

  test.each([
    ['relative', /absolute path/],
    ['/nowhere/at/all', /whose parent exists/],
    ['/etc', /holds other files/],
    ['/etc/passwd', /is no folder/],
    ['DIR/inside', /lie in one another/],
    ['DIR/..', /lie in one another/],
  ])('%s is refused', async (path, why) => {
    await expect(images.openStage(path.replace('DIR', dir))).rejects.toThrow(why)
  })
})

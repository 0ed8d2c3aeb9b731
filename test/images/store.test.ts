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
import { parseImage, parseIndex, renderImage } from '../../src/image/oci.ts'

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

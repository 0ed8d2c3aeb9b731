// Versions made of real archives: GNU tar makes each layer of a folder, and what lies in them is indexed as at a capture.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { openLayerWriter } from '../../services/images/layer-writer.ts'
import { renderManifest } from '../../services/images/manifest.ts'
import type { Images } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import type { LayerMember } from '../../src/image/archive-index.ts'
import { indexArchive } from '../../src/image/archive-index.ts'
import { growTree } from '../../src/image/tree.ts'
import type { ImageVersion, Layer } from '../../src/image/version.ts'
import { withFiles } from '../capture/golden.ts'
import { rootAlone } from '../capture/unpack.ts'

export const tarFlags =
  '--format=posix --pax-option=delete=atime --xattrs --xattrs-include=* --acls --sparse --numeric-owner'.split(
    ' ',
  )
export const tarOf = (folder: string, ...more: string[]): Buffer =>
  execFileSync('tar', ['-C', folder, '-cf', '-', ...tarFlags, '--sort=name', ...more, '.'], {
    maxBuffer: 1 << 28,
    env: { ...process.env, LC_ALL: 'C' },
  })

/** Publishes a version whose layers are these archives, lowest first. */
export async function publishLayers(
  images: Images,
  archives: readonly Buffer[],
  { name = 'img' as ImageName, more = {} as Partial<ImageVersion> } = {},
): Promise<ImageVersion> {
  const stage = await images.openStage()
  const layers: Layer[] = []
  const tree = growTree()
  let inode = 100
  for (const archive of archives) {
    const writer = await openLayerWriter(stage)
    const { blob, diffId, tarBytes } = await (async () => {
      await writer.write(archive)
      return await writer.end()
    })().catch(async (error) => {
      await writer.close()
      await stage.close()
      throw error
    })
    const index = indexArchive()
    index.push(archive)
    index.end()
    const numbered = (member: LayerMember): LayerMember => ({ ...member, inode: String(inode++) })
    tree.add(index.members.map(numbered))
    layers.push({
      digest: blob.digest,
      bytes: blob.bytes,
      diffId,
      tarBytes,
      entryCount: index.members.length,
      directories: true,
    })
  }
  const ref = async (content: Buffer) => {
    const { digest, bytes } = await stage.writeBlob([content])
    return { digest, bytes }
  }
  const version = await images.publish(stage, name, {
    createdAt: '2024-05-06T07:08:09.000Z',
    source: 'golden',
    arch: 'x86_64',
    firmware: 'uefi',
    os: { id: 'debian', version: '12', name: 'Debian' },
    kernelRelease: '6.1.0-1-amd64',
    kernel: await ref(Buffer.from('kernel')),
    modules: await ref(Buffer.from('modules')),
    manifest: await ref(await buffer(renderManifest(tree.entries()))),
    layers,
    layout: {
      fstab: '',
      disks: [{ path: '/dev/vda', bytes: 1e9, sectorBytes: 512, label: 'gpt', partitions: [] }],
    },
    sshHostKeyTypes: ['ed25519'],
    ...more,
  })
  await stage.close()
  return version
}

/** Unpacks a version whose layers do not overlap as the installer does: one after the other, with GNU tar. */
export function unpack(images: Images, version: ImageVersion, into: string) {
  mkdirSync(into, { recursive: true })
  const inside = withFiles(mkdtempSync(join(into, '../as-ramdisk-')), rootAlone)
  for (const { digest } of version.layers) {
    const plain = execFileSync('zstd', ['-d', '-c', images.blobPath(digest)], { maxBuffer: 1 << 28 })
    const words = '-x -p -f - --same-owner --numeric-owner --xattrs --xattrs-include=* --acls'.split(' ')
    const [command, ...argv] = [...inside, 'tar', ...words, '-C', into]
    const { status, stderr } = spawnSync(command!, argv, { input: plain })
    if (status !== 0) throw new Error(String(stderr))
  }
}

/** What is there, by find and getfattr alone: kind, mode, owner, size, time, name, target, link count; then attributes. */
export function listing(folder: string): string {
  const facts = '%y %m %U %G %s %T@ %P -> %l %n\\n'
  const directories = '%y %m %U %G - %T@ %P -> %l -\\n'
  const out = execFileSync('find', ['.', '-type', 'd', '-printf', directories, '-o', '-printf', facts], {
    cwd: folder,
    encoding: 'latin1',
  })
  const attributes = execFileSync('getfattr', ['-R', '-h', '-d', '-m', '-', '.'], {
    cwd: folder,
    encoding: 'latin1',
  })
  return `${out.split('\n').sort().join('\n')}\n${attributes.split('\n\n').sort().join('\n\n')}`
}

/** The digest of every regular file. */
export const contents = (folder: string): string =>
  execFileSync('sh', ['-c', 'find . -type f -print0 | sort -z | xargs -0 sha256sum -b'], {
    cwd: folder,
    encoding: 'latin1',
  })

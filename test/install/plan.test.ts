// Plans: the files of test/fixtures/plans are what planInstall writes, and what the phases are run with.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Digest } from '../../src/address.ts'
import type { Disk } from '../../src/image/disk-layout.ts'
import { planFstab } from '../../src/install/fstab.ts'
import { planInstall } from '../../src/install/plan.ts'
import {
  disk,
  factsWith,
  GIB,
  goldenDisk,
  goldenDiskWithSwap,
  rootFilesystem,
  sampleImage,
  sampleNode,
} from './sample-image.ts'

const plans = join(import.meta.dirname, '../fixtures/plans')
const blob = (digit: string) => ({ digest: `sha256:${digit.repeat(64)}` as Digest, bytes: 700 })
const common = {
  node: sampleNode,
  version: sampleImage,
  session: '0123456789abcdef',
  serverUrl: 'http://10.77.0.1/',
  blobUrls: ['http://10.77.0.1:8081', 'http://10.77.0.2:8081/'],
}
const machines = {
  'bios-one-disk': { ...common, facts: factsWith([disk('/dev/vda', 8 * GIB)]) },
  'efi-nvme-shrunk': {
    ...common,
    facts: factsWith([disk('/dev/nvme0n1', 2 * GIB, { sectorBytes: 4096 })], 'uefi'),
    overrides: ['all', 'n1'].map((name, i) => ({ name, ...blob(`${i + 8}`) })),
  },
  'bios-named-disk-swap': {
    ...common,
    node: { ...sampleNode, installdisk: '/dev/disk/by-id/wwn-0x5000' },
    version: {
      ...sampleImage,
      layout: {
        disks: [goldenDiskWithSwap],
        fstab: `UUID=${rootFilesystem.uuid} / ext4 defaults 0 1\n/dev/vda4 none swap sw 0 0\n`,
      },
    },
    facts: factsWith([
      disk('/dev/sda', 8 * GIB),
      disk('/dev/sdb', 5 * GIB, { links: ['/dev/disk/by-id/wwn-0x5000'] }),
    ]),
  },
}

/** The file as it stands, or made anew when UPDATE_GOLDEN is set (then read the diff). */
function golden(name: string, text: string): string {
  const path = join(plans, name)
  if (process.env.UPDATE_GOLDEN) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  return readFileSync(path, 'utf8')
}

for (const [name, needs] of Object.entries(machines))
  test(`${name}: plan and layout are those of the fixture`, () => {
    const { plan, layouts } = planInstall(needs)
    expect(plan).toBe(golden(`${name}.plan`, plan))
    const [[kernelName, layout] = []] = Object.entries(layouts)
    expect(layout).toBe(golden(`${name}.${kernelName}.sfdisk`, layout!))
  })

test('the layer of directories comes last, whatever the order in the image', () => {
  const lines = planInstall(machines['bios-one-disk'])
    .plan.split('\n')
    .filter((l) => l.startsWith('layer '))
  expect(lines.map((l) => l.split(' ').at(-1))).toEqual(['parallel', 'parallel', 'last'])
})

test('without known features ext4 gets none that GRUB 2.06 cannot read', () => {
  const { features: _, ...filesystem } = rootFilesystem
  const partitions = goldenDisk.partitions.map((p) => (p.number === 3 ? { ...p, filesystem } : p))
  const layout = { ...sampleImage.layout, disks: [{ ...goldenDisk, partitions }] }
  const { plan } = planInstall({ ...machines['bios-one-disk'], version: { ...sampleImage, layout } })
  expect(plan).toContain('\nfeatures 3 ^metadata_csum_seed,^orphan_file\n')
})

describe('refused', () => {
  const withRoot = (filesystem: object) => {
    const partitions = goldenDisk.partitions.map((p) =>
      p.number === 3 ? { ...p, filesystem: { ...rootFilesystem, ...filesystem } } : p,
    )
    return {
      ...sampleImage,
      layout: { ...sampleImage.layout, disks: [{ ...goldenDisk, partitions } as Disk] },
    }
  }
  const vda = machines['bios-one-disk']
  test.each([
    [
      'another architecture',
      { ...vda, facts: { ...vda.facts, arch: 'aarch64' } },
      /img:3 is x86_64, this machine is aarch64/,
    ],
    [
      'a second line in a label',
      { ...vda, version: withRoot({ label: 'a\nfstab /dev/sda / ext4' }) },
      /label 3 cannot be planned/,
    ],
    [
      'a second line in fstab',
      { ...vda, version: { ...sampleImage, layout: { ...sampleImage.layout, fstab: 'a\rb\0c\n' } } },
      /fstab cannot be planned/,
    ],
    ['a blank in a URL', { ...vda, serverUrl: 'http://a b' }, /server cannot be planned/],
    [
      'a host key type with a blank',
      { ...vda, version: { ...sampleImage, sshHostKeyTypes: ['rsa -b 1'] } },
      /hostkey cannot be planned/,
    ],
  ])('%s', (_, needs, expected) => {
    expect(() => planInstall(needs)).toThrow(expected)
  })
  test('a mount point that climbs out of the target', () => {
    const partitions = goldenDisk.partitions.map((p) =>
      p.number === 2 ? { ...p, filesystem: { ...p.filesystem!, mountpoint: '/../etc' } } : p,
    )
    const version = {
      ...sampleImage,
      layout: { ...sampleImage.layout, disks: [{ ...goldenDisk, partitions }] },
    }
    expect(() => planInstall({ ...vda, version })).toThrow(/not a mount point/)
  })
})

describe('fstab', () => {
  const uuid = rootFilesystem.uuid
  test.each([
    ['comments and empty lines stay', '# a comment', '# a comment'],
    ['a UUID of the image stays', `UUID=${uuid} / ext4 defaults 0 1`, `UUID=${uuid} / ext4 defaults 0 1`],
    ['upper case UUIDs too', `UUID=${uuid.toUpperCase()}\t/ ext4`, `UUID=${uuid.toUpperCase()}\t/ ext4`],
    ['labels of the image stay', 'LABEL=root / ext4 defaults 0 1', 'LABEL=root / ext4 defaults 0 1'],
    [
      'PARTUUIDs of the image stay',
      'PARTUUID=fc9d4267-1204-614e-99fc-9e9b244a19b7 /boot/efi vfat',
      'PARTUUID=fc9d4267-1204-614e-99fc-9e9b244a19b7 /boot/efi vfat',
    ],
    ['a kernel name becomes the UUID', '/dev/vda3  /  ext4  defaults', `UUID=${uuid}  /  ext4  defaults`],
    [
      'a name of a link, found by its mount point',
      '/dev/disk/by-id/virtio-1-part3 / ext4',
      `UUID=${uuid} / ext4`,
    ],
    [
      'network and memory file systems stay',
      'nas:/home /home nfs defaults 0 0',
      'nas:/home /home nfs defaults 0 0',
    ],
    [
      'a disk that is not cloned',
      '/dev/vdb1 /data ext4 defaults 0 2',
      '# not cloned: /dev/vdb1 /data ext4 defaults 0 2',
    ],
    [
      'one that is not cloned and may be absent',
      'UUID=1234 /data ext4 defaults,nofail 0 2',
      'UUID=1234 /data ext4 defaults,nofail 0 2',
    ],
  ])('%s', (_, line, expected) => {
    expect(planFstab({ disks: [goldenDisk], fstab: `${line}\n` })).toEqual([expected])
  })
})

// A captured machine as the store gives it: one GPT disk that boots both ways, Debian on ext4.
import type { Digest, ImageName } from '../../src/address.ts'
import { parseMac, parseNodeName } from '../../src/address.ts'
import type { Disk, Partition } from '../../src/image/disk-layout.ts'
import type { ImageVersion, Layer } from '../../src/image/version.ts'
import type { DiskFacts, NodeFacts } from '../../src/install/protocol.ts'
import type { Node } from '../../src/node/node.ts'

export const MIB = 2 ** 20
export const GIB = 2 ** 30
const digestOf = (digit: string) => `sha256:${digit.repeat(64)}` as Digest

export const BIOS_BOOT = '21686148-6449-6E6F-744E-656564454649'
export const ESP = 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B'
const LINUX = '0FC63DAF-8483-4772-8E79-3D69D8477DE4'
const SWAP = '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F'

const biosBoot: Partition = { number: 1, start: 2048, size: 2048, type: BIOS_BOOT, name: 'bios' }
const esp: Partition = {
  number: 2,
  start: 4096,
  size: 131072,
  type: ESP,
  uuid: 'FC9D4267-1204-614E-99FC-9E9B244A19B7',
  filesystem: {
    type: 'vfat',
    uuid: 'A1B2-C3D4',
    label: 'EFI SYSTEM',
    mountpoint: '/boot/efi',
    usedBytes: 6 * MIB,
  },
}
export const rootFilesystem = {
  type: 'ext4',
  uuid: '11111111-2222-4333-8444-555555555555',
  label: 'root',
  mountpoint: '/',
  usedBytes: 700 * MIB,
  features: 'has_journal ext_attr dir_index filetype needs_recovery extent 64bit sparse_super metadata_csum',
}
const root: Partition = {
  number: 3,
  start: 135168,
  size: 6154240,
  type: LINUX,
  name: 'root',
  filesystem: rootFilesystem,
}
const swap: Partition = {
  number: 4,
  start: 6289408,
  size: 524288,
  type: SWAP,
  filesystem: { type: 'swap', uuid: '99999999-8888-4777-8666-555555555555' },
}

const gpt = (bytes: number, partitions: Partition[]): Disk => ({
  path: '/dev/vda',
  bytes,
  sectorBytes: 512,
  label: 'gpt',
  id: '727D990E-DCE5-F948-B138-5956B2AFCD68',
  partitions,
})
export const goldenDisk = gpt(3 * GIB, [biosBoot, esp, root])
export const goldenDiskWithSwap = gpt(4 * GIB, [biosBoot, esp, root, swap])

const fstab = `# /etc/fstab: of the golden client
UUID=${rootFilesystem.uuid} / ext4 errors=remount-ro 0 1
/dev/vda2\t/boot/efi\tvfat\tumask=0077\t0\t1
`

const layer = (digit: string, bytes: number, tarBytes: number, directories: boolean): Layer => ({
  digest: digestOf(digit),
  diffId: digestOf(digit),
  bytes,
  tarBytes,
  entryCount: 10,
  directories,
})
const blob = (digit: string) => ({ digest: digestOf(digit), bytes: 1000 })

export const sampleImage: ImageVersion = {
  name: 'img' as ImageName,
  version: 3,
  digest: digestOf('0'),
  createdAt: '2025-01-02T03:04:05Z',
  source: 'golden',
  arch: 'x86_64',
  firmware: 'bios',
  os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12 (bookworm)' },
  kernelRelease: '6.1.0-37-amd64',
  kernel: blob('1'),
  modules: blob('2'),
  layers: [
    layer('d', 50_000, 2_000_000, true),
    layer('a', 98_000_000, 290_000_000, false),
    layer('b', 82_000_000, 240_000_000, false),
  ],
  manifest: blob('3'),
  layout: { disks: [goldenDisk], fstab },
  sshHostKeyTypes: ['ed25519', 'ecdsa'],
  tarBytes: 532_000_000,
}

export const sampleNode: Node = {
  name: parseNodeName('n1'),
  groups: [],
  mac: [parseMac('52:54:00:77:00:11')],
}

export const disk = (path: string, bytes: number, more: Partial<DiskFacts> = {}): DiskFacts => ({
  path,
  bytes,
  sectorBytes: 512,
  removable: false,
  readOnly: false,
  links: [],
  ...more,
})
export const factsWith = (disks: DiskFacts[], firmware: NodeFacts['firmware'] = 'bios'): NodeFacts => ({
  firmware,
  secureBoot: false,
  arch: 'x86_64',
  memoryKb: 1_000_000,
  disks,
  nics: [{ name: 'eth0', mac: '52:54:00:77:00:11', up: true }],
})

// What bootfiles/capture/probe.sh says of a golden client, read and judged before anything is captured.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { UserError, WireError } from '../fault.ts'
import type { Arch, Disk, DiskLayout, Filesystem, Partition } from './version.ts'

const text = Type.String({ maxLength: 4_000_000 })
const word = Type.String({ maxLength: 4096 })
const maybe = Type.Optional(Type.Union([word, Type.Null()]))
const count = Type.Union([Type.Integer({ minimum: 0 }), Type.String({ pattern: '^\\d{1,19}$' })]) // old util-linux quotes

const Block = Type.Object({
  path: word,
  type: word,
  size: count,
  'log-sec': count,
  fstype: maybe,
  uuid: maybe,
  label: maybe,
})
type Block = Static<typeof Block> & { children?: Block[] }
const Mount = Type.Object({
  target: word,
  source: Type.Union([word, Type.Null()]),
  fstype: word,
  fsroot: word,
  used: Type.Optional(Type.Union([count, Type.Null()])),
})
const Table = Type.Object({
  label: word,
  id: Type.Optional(word),
  device: word,
  partitions: Type.Optional(
    Type.Array(
      Type.Object({
        node: word,
        start: Type.Integer({ minimum: 0 }),
        size: Type.Integer({ minimum: 0 }),
        type: word,
        uuid: Type.Optional(word),
        name: Type.Optional(word),
        attrs: Type.Optional(word),
        bootable: Type.Optional(Type.Boolean()),
      }),
      { maxItems: 1024 },
    ),
  ),
})
const Said = Type.Object({
  arch: word,
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  release: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}$' }), // a folder's name, and an argument
  user: Type.Integer({ minimum: 0 }),
  osRelease: text,
  fstab: text,
  swaps: text,
  modules: text,
  tar: text,
  zstd: Type.Boolean(),
  split: Type.Boolean(),
  lsblk: Type.Object({ blockdevices: Type.Array(Type.Unknown(), { maxItems: 10_000 }) }),
  findmnt: Type.Object({ filesystems: Type.Array(Mount, { maxItems: 100_000 }) }),
  sfdisk: Type.Array(Type.Object({ partitiontable: Table }), { maxItems: 10_000 }),
  features: Type.Record(Type.String(), word),
  hostKeys: Type.Array(word, { maxItems: 20 }),
  kernel: word,
})
type Said = Static<typeof Said>

/** What the capture needs to know of the golden client. */
export type Probe = {
  arch: Arch
  firmware: 'bios' | 'uefi'
  os: { id: string; version: string; name: string }
  kernelRelease: string
  kernelPath: string // relative to the root
  layout: DiskLayout
  mountpoints: string[] // of the file systems to capture; '/' is the first
  usedBytes: number // on these
  swapFiles: string[] // relative to the root
  sshHostKeyTypes: string[]
  loadedModules: string[]
  compress: boolean // the golden client has zstd and split
}

/** Throws WireError when this is no answer of probe.sh, UserError when such a machine cannot be captured. */
export function parseProbe(json: string): Probe {
  const said = parseJson(json)
  if (said.user !== 0)
    throw new UserError('only root can read every file', {
      what: `logged in as uid ${said.user}`,
      allowed: 'root',
    })
  refuseOldTar(decode(said.tar))
  const layout = layoutOf(said)
  const mounts = capturedMounts(said, layout)
  return {
    arch: archOf(said.arch),
    firmware: said.firmware,
    os: osOf(decode(said.osRelease)),
    kernelRelease: said.release,
    kernelPath: kernelOf(said),
    layout,
    mountpoints: mounts.map((mount) => mount.target),
    usedBytes: mounts.reduce((sum, mount) => sum + Number(mount.used ?? 0), 0),
    swapFiles: swapFilesOf(decode(said.swaps)),
    sshHostKeyTypes: hostKeyTypes(said.hostKeys),
    loadedModules: decode(said.modules)
      .split('\n')
      .flatMap((line) => line.split(' ')[0] || []),
    compress: said.zstd && said.split,
  }
}

function parseJson(json: string): Said {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (error) {
    throw new WireError(`probe: not JSON: ${(error as Error).message.slice(0, 200)}`)
  }
  if (Value.Check(Said, value)) return value
  const [first] = Value.Errors(Said, value)
  throw new WireError(`probe: ${first?.instancePath ?? ''} ${first?.message ?? 'out of shape'}`)
}

const decode = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8')

function archOf(machine: string): Arch {
  if (machine === 'x86_64' || machine === 'aarch64' || machine === 'ppc64le') return machine
  throw new UserError('architecture cannot be cloned', { what: machine, allowed: 'x86_64, aarch64, ppc64le' })
}

/** --verbatim-files-from came with 1.29; without it a name beginning with a dash would be an option. */
function refuseOldTar(banner: string) {
  const [, major, minor] = /^tar \(GNU tar\) (\d+)\.(\d+)/.exec(banner) ?? []
  if (major === undefined || Number(major) < 1 || (major === '1' && Number(minor) < 29))
    throw new UserError('tar of the golden client is too old or not GNU tar', {
      what: banner.split('\n')[0]!.slice(0, 80),
      allowed: 'GNU tar 1.29 or later',
    })
}

function kernelOf({ kernel, release }: Said): string {
  if (kernel !== '') return kernel
  throw new UserError('the file of the running kernel was not found', {
    what: `release ${release}`,
    allowed: `/boot/vmlinuz-${release} or /lib/modules/${release}/vmlinuz; reboot into the installed kernel`,
  })
}

/** os-release(5): shell-like assignments. */
function osOf(release: string): Probe['os'] {
  const value = (key: string) => {
    const raw = new RegExp(`^${key}=(.*)$`, 'm').exec(release)?.[1]?.trim() ?? ''
    return raw.replace(/^(["'])(.*)\1$/s, '$2').replace(/\\(["'$`\\])/g, '$1')
  }
  const id = value('ID') || 'linux'
  return { id, version: value('VERSION_ID'), name: value('PRETTY_NAME') || id }
}

// 'ssh-ed25519', 'ecdsa-sha2-nistp256', 'ssh-rsa' as ssh-keygen's -t wants them.
function hostKeyTypes(keys: string[]): string[] {
  const names: Record<string, string> = { 'ssh-ed25519': 'ed25519', 'ssh-rsa': 'rsa' }
  return keys.flatMap((key) => names[key] ?? (key.startsWith('ecdsa-') ? 'ecdsa' : [])).sort()
}

function swapFilesOf(swaps: string): string[] {
  return swaps
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([path, type]) => type === 'file' && path!.startsWith('/'))
    .map(([path]) => Buffer.from(unescapeOctal(path!).slice(1), 'utf8').toString('latin1'))
}

/** fstab(5) and /proc write a blank in a path as `\040`. */
const unescapeOctal = (path: string): string =>
  path.replace(/\\([0-3][0-7]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))

/** The disks that hold mounted file systems, swap, or what the boot needs beside these. */
function layoutOf(said: Said): DiskLayout {
  const fstab = decode(said.fstab)
  const blocks = flatten(said.lsblk.blockdevices)
  const used = new Set([
    ...said.findmnt.filesystems.map((m) => m.source ?? ''),
    ...activeSwap(decode(said.swaps)),
  ])
  const disks = said.sfdisk
    .map(({ partitiontable }) => diskOf(partitiontable, { said, blocks, fstab }))
    .filter((disk) => disk.partitions.some((p) => used.has(nodeOf(disk, p)) || p.filesystem?.mountpoint))
  return { disks, fstab }
}

const activeSwap = (swaps: string): string[] => swaps.split('\n').map((line) => line.split(/\s+/)[0]!)

function flatten(list: unknown[]): Block[] {
  return list.flatMap((item) => {
    const children = (item as Block)?.children
    const below = Array.isArray(children) ? flatten(children) : []
    return Value.Check(Block, item) ? [item, ...below] : below
  })
}

type Around = { said: Said; blocks: Block[]; fstab: string }

function diskOf(table: Static<typeof Table>, around: Around): Disk {
  const block = around.blocks.find((b) => b.path === table.device)
  if (block === undefined) throw new WireError(`probe: ${table.device} is not among lsblk's devices`)
  if (table.label !== 'gpt' && table.label !== 'dos')
    throw new UserError('partition table cannot be cloned', {
      what: `${table.device}: ${table.label}`,
      allowed: 'gpt, dos',
    })
  return {
    path: table.device,
    bytes: Number(block.size),
    sectorBytes: Number(block['log-sec']),
    label: table.label,
    ...(table.id === undefined ? {} : { id: table.id }),
    partitions: (table.partitions ?? [])
      .map(({ node, ...facts }): Partition => {
        const filesystem = filesystemOf(node, facts, around)
        return { number: partitionNumber(table.device, node), ...facts, ...(filesystem && { filesystem }) }
      })
      .sort((a, b) => a.number - b.number),
  }
}

/** /dev/sda1; /dev/nvme0n1p1 where the disk's name ends in a digit. */
function partitionNumber(disk: string, node: string): number {
  const match = /^p?(\d{1,4})$/.exec(node.startsWith(disk) ? node.slice(disk.length) : '')
  if (match === null) throw new WireError(`probe: ${node} is not a partition of ${disk}`)
  return Number(match[1])
}

const nodeOf = (disk: Disk, { number }: Partition): string =>
  `${disk.path}${/\d$/.test(disk.path) ? 'p' : ''}${number}`

function filesystemOf(
  node: string,
  part: { uuid?: string; name?: string },
  { said, blocks, fstab }: Around,
): Filesystem | undefined {
  const block = blocks.find((b) => b.path === node)
  if (!block?.fstype) return undefined
  const mount = mountOf(said, node)
  const mountpoint = mount?.target ?? fstabMountpoint(fstab, node, block, part)
  const features = said.features[node]
  return {
    type: block.fstype,
    ...(block.uuid ? { uuid: block.uuid } : {}),
    ...(block.label ? { label: block.label } : {}),
    ...(mountpoint === undefined ? {} : { mountpoint }),
    ...(mount?.used == null ? {} : { usedBytes: Number(mount.used) }),
    ...(features ? { features } : {}),
  }
}

/** Where a device is mounted: its shortest place, so that a bind mount does not hide it. */
const mountOf = (said: Said, node: string): Static<typeof Mount> | undefined =>
  said.findmnt.filesystems
    .filter((m) => m.source === node && m.fsroot === '/')
    .sort((a, b) => a.target.length - b.target.length)[0]

function fstabMountpoint(
  fstab: string,
  node: string,
  block: Block,
  part: { uuid?: string; name?: string },
): string | undefined {
  const same = (a: string, b: string | null | undefined) => !!b && a.toLowerCase() === b.toLowerCase()
  for (const line of fstab.split('\n')) {
    const [spec = '', target = ''] = line.trim().split(/\s+/)
    if (!target.startsWith('/')) continue
    const [, key, raw = ''] = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/.exec(spec) ?? []
    const value = raw.replace(/^"(.*)"$/, '$1')
    const found =
      spec === node ||
      (key === 'UUID' && same(value, block.uuid)) ||
      (key === 'LABEL' && value === block.label) ||
      (key === 'PARTUUID' && same(value, part.uuid)) ||
      (key === 'PARTLABEL' && value === part.name)
    if (found) return unescapeOctal(target)
  }
  return undefined
}

const localTypes = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'vfat']

/** The mounted file systems of the layout; refuses a machine of which a part would silently be left behind. */
function capturedMounts(said: Said, { disks }: DiskLayout): Static<typeof Mount>[] {
  const nodes = new Set(disks.flatMap((disk) => disk.partitions.map((p) => nodeOf(disk, p))))
  const local = said.findmnt.filesystems.filter(
    (m) =>
      localTypes.includes(m.fstype) && m.source?.startsWith('/dev/') && !m.source.startsWith('/dev/loop'),
  )
  const captured = [...nodes]
    .flatMap((node) => mountOf(said, node) ?? [])
    .filter((m) => localTypes.includes(m.fstype))
  const known = new Set(captured.map((m) => m.source))
  // A bind mount shows a source like /dev/vda2[/srv]: its content is listed where it really is.
  const lost = local.filter((m) => !known.has(m.source!.replace(/\[.*$/, '')))
  const root = captured.find((m) => m.target === '/')
  if (root === undefined || lost.length > 0) {
    const wrong = lost.length > 0 ? lost : local.filter((m) => m.target === '/')
    throw new UserError('a file system of the golden client cannot be captured', {
      what: wrong.map((m) => `${m.target} on ${m.source}`).join(', ') || 'no root file system on a disk',
      allowed: `${localTypes.join(', ')} on plain partitions`,
    })
  }
  for (const { target } of captured) refuseOddMountpoint(target)
  return captured.sort((a, b) => (a.target < b.target ? -1 : 1))
}

/** These go through find's -printf, where `%` and `\` have a meaning. */
function refuseOddMountpoint(target: string) {
  if (!/^\/[^%\\\n]*$/.test(target))
    throw new UserError('mount point has a character that cannot be captured', {
      what: JSON.stringify(target),
      allowed: 'any but %, \\ and newline',
    })
}

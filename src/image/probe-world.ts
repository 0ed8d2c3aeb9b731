// What a golden client's tools said of its disks, looked up: devices by name, what is mounted from them and where fstab
// mounts them. All parts of the reading share it, and say through it what they find.
import { volumePath } from './disks.ts'
import { type Lvm, readLvm, type VolumeFound } from './probe-lvm.ts'
import type { Block, Mount, Said } from './probe-said.ts'
import { blocksOf, decode, unescapeOctal } from './probe-said.ts'

export type World = {
  said: Said
  blocks: Block[]
  byName: Map<string, Block>
  lvm: Lvm
  volumes: Map<string, { group: string; found: VolumeFound }>
  fstab: string
  activeSwaps: Map<string, string> // name in /proc/swaps -> type
  mountsOf: Map<string, Mount[]> // by device
  say: (refusal: string) => void
  stay: (what: string, why: string) => void
  warn: (what: string) => void
}

export function worldOf(said: Said, told: Pick<World, 'say' | 'stay' | 'warn'>): World {
  const blocks = blocksOf(said)
  const lvm = readLvm(said)
  const byName = new Map(
    blocks.flatMap((block) => [[block.path, block] as const, [block.kname, block] as const]),
  )
  const mountsOf = new Map<string, Mount[]>()
  for (const mount of said.findmnt.filesystems) {
    const device = byName.get(deviceOf(mount))?.path
    if (device !== undefined) mountsOf.set(device, [...(mountsOf.get(device) ?? []), mount])
  }
  const volumes = lvm.groups.flatMap(({ name, volumes }) =>
    volumes.map((found) => [volumePath(name, found.volume.name), { group: name, found }] as const),
  )
  const activeSwaps = new Map(
    decode(said.swaps)
      .split('\n')
      .slice(1)
      .map((line) => line.split(/\s+/))
      .flatMap(([name, type]) => (name && type ? [[name, type] as const] : [])),
  )
  const fstab = decode(said.fstab)
  return { said, blocks, byName, lvm, volumes: new Map(volumes), fstab, activeSwaps, mountsOf, ...told }
}

/** `/dev/vda3[/@home]` is a subvolume, or a folder that is mounted a second time. */
export const deviceOf = ({ source }: Mount): string => (source ?? '').replace(/\[.*$/, '')

export const byLength = (mounts: Mount[]) => mounts.toSorted((a, b) => a.target.length - b.target.length)

export const usedOf = ({ used }: Mount) => Number(used ?? 0)

export const isActiveSwap = ({ activeSwaps }: World, { path, kname }: Block) =>
  activeSwaps.has(path) || activeSwaps.has(kname)

/** Another device of a btrfs that is mounted from one of them. */
export function isPeer({ blocks, byName, mountsOf }: World, path: string): boolean {
  const { fstype, uuid } = byName.get(path)!
  const isOne = fstype === 'btrfs' && !mountsOf.has(path)
  return (
    isOne &&
    blocks.some((block) => block.uuid === uuid && block.fstype === fstype && mountsOf.has(block.path))
  )
}

/** Where fstab mounts it: a path, or 'none' of swap. */
export function fstabMountpoint({ fstab, said, volumes }: World, block: Block): string | undefined {
  const part = said.sfdisk
    .flatMap(({ partitiontable }) => partitiontable.partitions ?? [])
    .find(({ node }) => node === block.path)
  const volume = volumes.get(block.path)
  const same = (a: string, b: string | null | undefined) => !!b && a.toLowerCase() === b.toLowerCase()
  for (const line of fstab.split('\n')) {
    const [spec = '', target = ''] = line.trim().split(/\s+/)
    if (!target.startsWith('/') && target !== 'none' && target !== 'swap') continue
    const [, key, raw = ''] = /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/.exec(spec) ?? []
    const value = raw.replace(/^"(.*)"$/, '$1')
    const found =
      spec === block.path ||
      (volume !== undefined && spec === `/dev/${volume.group}/${volume.found.volume.name}`) ||
      (key === 'UUID' && same(value, block.uuid)) ||
      (key === 'LABEL' && value === block.label) ||
      (key === 'PARTUUID' && same(value, part?.uuid)) ||
      (key === 'PARTLABEL' && value === part?.name)
    if (found) return unescapeOctal(target)
  }
  return undefined
}

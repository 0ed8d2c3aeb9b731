// What is on the disks of a layout: its devices and file systems by their names, and what cannot be installed yet.
import type { Disk, DiskLayout, Filesystem, Held, LogicalVolume } from './disk-layout.ts'

/** A device that can hold something. `of` is what a person calls it: 'partition 3 of /dev/vda'. */
export type Device = { path: string; of: string; bytes: number; holds: Held }

/** `/dev/sda` 3 -> `/dev/sda3`; `/dev/nvme0n1` 3 -> `/dev/nvme0n1p3`. */
export const partitionPath = (disk: string, number: number): string =>
  `${disk}${/\d$/.test(disk) ? 'p' : ''}${number}`

/** '/dev/mapper/vg0-root--1': the device mapper doubles the dashes of both names. */
export const volumePath = (group: string, volume: string): string =>
  `/dev/mapper/${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`

/** All devices of a layout: disks, partitions, arrays, volumes, and what encrypted ones of these hold when they are open. */
export function devicesOf({ disks, arrays = [], groups = [] }: DiskLayout): Device[] {
  const tables = [...disks, ...arrays].flatMap((table): Device[] => [
    { path: table.path, of: table.path, bytes: table.bytes, holds: table },
    ...table.partitions.map((p) => ({
      path: partitionPath(table.path, p.number),
      of: `partition ${p.number} of ${table.path}`,
      bytes: p.size * table.sectorBytes,
      holds: p,
    })),
  ])
  const volumes = groups.flatMap(({ name: group, volumes }) =>
    wholes(volumes).map((volume) => ({
      path: volumePath(group, volume.name),
      of: `${group}/${volume.name}`,
      bytes: volume.bytes,
      holds: volume,
    })),
  )
  return [...tables, ...volumes].flatMap((device) => {
    const { crypt } = device.holds
    const open = crypt?.path
    if (crypt === undefined || open === undefined) return [device]
    return [device, { path: open, of: `${open} on ${device.of}`, bytes: device.bytes, holds: crypt }]
  })
}

/** The file systems of a layout, swap as well. */
export const filesystemsOf = (layout: DiskLayout): Filesystem[] =>
  devicesOf(layout).flatMap(({ holds }) => holds.filesystem ?? [])

/**
 * What a clone cannot be given yet, one line each; none: the layout can be installed. `planLayout` says the rest, which
 * depends on the machine.
 */
export function notDeployable(layout: DiskLayout): string[] {
  const { disks, arrays = [], groups = [] } = layout
  const filesystems = filesystemsOf(layout)
  const kinds = [
    ...new Set(
      filesystems.map(({ type }) => type).filter((type) => !['ext4', 'vfat', 'swap'].includes(type)),
    ),
  ]
  const root = devicesOf(layout).find(({ holds }) => holds.filesystem?.mountpoint === '/')
  const say = (is: boolean, what: string) => (is ? [what] : [])
  return [
    ...say(disks.length > 1, `several disks (${disks.map(({ path }) => path).join(', ')})`),
    ...disks.flatMap(({ path, label }) => say(label !== 'gpt', `${path} with ${tableWord(label)}`)),
    ...arrays.map(({ path, level }) => `${path} (md ${level})`),
    ...groups.map(({ name, volumes }) => `LVM group ${name} (${segmentTypes(volumes)})`),
    ...devicesOf(layout).flatMap(({ of, holds }) => say(holds.crypt !== undefined, `encryption of ${of}`)),
    ...kinds.map((type) => `${type} file systems`),
    ...say(root === undefined, 'no root file system'),
  ]
}

const tableWord = (label: Disk['label']) =>
  label === 'none' ? 'no partition table' : `a ${label} partition table`
const wholes = (volumes: LogicalVolume[]) => volumes.filter(({ part }) => part !== true)
const segmentTypes = (volumes: LogicalVolume[]) =>
  [...new Set(wholes(volumes).flatMap(({ segments }) => segments.map(({ type }) => type)))]
    .sort()
    .join(', ') || 'empty'

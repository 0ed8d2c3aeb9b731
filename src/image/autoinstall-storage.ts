// The disks, arrays and volume groups of SystemImager's files as one layout: what lies on what, and how large it must be.
import type { Element } from '../xml.ts'
import type { Needs as DiskNeeds, Fault, Mount, Use } from './autoinstall-disk.ts'
import { diskOf, partitionName } from './autoinstall-disk.ts'
import { type Group, groupBytes, groupOf, physicalOf, readGroups } from './autoinstall-lvm.ts'
import { arrayOf, memberBytes, membersOf, type Raid, readRaids } from './autoinstall-raid.ts'
import type { DiskLayout } from './disk-layout.ts'

type Needs = Pick<DiskNeeds, 'contentBytes' | 'makeUuid' | 'fault'> & { mdadmConf: string } // of the image; '' without one

type Storage = { raids: Raid[]; groups: Group[]; grouped: Map<string, string> } // grouped: partitions by their group

/** Disks first, as arrays and groups are as large as what they lie on. */
export function storageLayout(
  root: Element,
  mounts: readonly Mount[],
  needs: Needs,
): Omit<DiskLayout, 'fstab'> {
  const { fault, makeUuid, contentBytes, mdadmConf } = needs
  const storage = storageOf(root, fault)
  const { raids, groups, grouped } = storage
  const useOf = usesOf(storage, needs)
  const disks = root.children
    .filter((child) => child.name === 'disk')
    .map((disk) => diskOf(disk, { contentBytes, makeUuid, mounts, fault, useOf }))
  if (disks.length === 0) throw fault('no disk', root, `<${root.name}>`)
  const sizes = new Map(
    disks.flatMap(({ path, sectorBytes, partitions }) =>
      partitions.map((p) => [partitionName(path, p.number), p.size * sectorBytes] as const),
    ),
  )
  for (const { element, members } of raids)
    for (const member of members)
      if (!sizes.has(member)) throw fault('no partition is said to be there', element, member)
  const bytesOf = (member: string) => sizes.get(member)!
  const holds = (raid: Raid) => holdsOf(raid, mounts, needs)
  const arrays = raids.map((raid) => arrayOf(raid, { fault, makeUuid, mdadmConf, bytesOf, holds }))
  const physical = [
    ...[...grouped].map(([path, group]) => ({ path, group, bytes: bytesOf(path) })),
    ...arrays.flatMap(({ path, bytes, physical }) =>
      physical?.group === undefined ? [] : [{ path, bytes, group: physical.group }],
    ),
  ]
  const made = groups.map((group) => groupOf(group, { fault, makeUuid, mounts, physical }))
  return {
    disks,
    ...(arrays.length > 0 && { arrays }),
    ...(made.length > 0 && { groups: made }),
    ...(arrays.length > 0 && mdadmConf !== '' && { mdadmConf }),
  }
}

function storageOf(root: Element, fault: Fault): Storage {
  const [raids, groups] = [readRaids(root, fault), readGroups(root, fault)]
  const grouped = new Map<string, string>()
  const check = (element: Element, group: string | undefined) => {
    if (group !== undefined && !groups.some(({ name }) => name === group))
      throw fault('the group is not said', element, `lvm_group="${group}"`)
  }
  for (const { element, group } of raids) check(element, group)
  for (const disk of root.children.filter(({ name }) => name === 'disk'))
    for (const [i, element] of disk.children.entries()) {
      const group = element.attributes.get('lvm_group')
      check(element, group)
      const number = Number(element.attributes.get('num') ?? i + 1)
      if (group !== undefined) grouped.set(partitionName(disk.attributes.get('dev') ?? '', number), group)
    }
  for (const { element, members } of raids)
    for (const member of members)
      if (grouped.has(member)) throw fault('is a member of an array and of a group', element, member)
  return { raids, groups, grouped }
}

/** What a partition is to them, and how large it must be for that. */
function usesOf(
  { raids, groups, grouped }: Storage,
  { contentBytes, makeUuid }: Needs,
): (device: string) => Use | undefined {
  const room = contentBytes * 1.3 + 2 ** 30
  const needed = (name: string) => groupBytes(groups.find((group) => group.name === name)!, room)
  const members = membersOf(raids)
  return (device) => {
    const group = grouped.get(device)
    if (group !== undefined) return { role: 'lvm', least: needed(group), holds: physicalOf(group, makeUuid) }
    const member = members.get(device)
    if (member === undefined) return undefined
    const raid = raids.find(({ path }) => path === member.array)!
    const bytes = raid.group === undefined ? room : needed(raid.group)
    return { role: 'raid', least: memberBytes(raid, bytes), holds: { member } }
  }
}

function holdsOf({ path, group, element }: Raid, mounts: readonly Mount[], needs: Needs) {
  const filesystem = mounts.find(({ device }) => device === path)?.filesystem
  if (filesystem && group !== undefined)
    throw needs.fault('holds a file system, and is a part of something else', element, path)
  if (group !== undefined) return physicalOf(group, needs.makeUuid)
  return filesystem ? { filesystem } : {}
}

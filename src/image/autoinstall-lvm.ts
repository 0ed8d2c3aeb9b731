// The volume groups of SystemImager's autoinstallscript.conf and disks-layout.xml.
//   <lvm version="2">
//     <lvm_group name="vg0" max_log_vols="0" max_phys_vols="0" phys_extent_size="4096K">
//       <lv name="root" size="2097152K"/>       K to T, else megabytes; "*" takes what is left
//     </lvm_group>
//   </lvm>
// Partitions and arrays say by lvm_group= that they are physical volumes. Where the extents of a volume lie is not said: they
// are given out one after the other, as lvcreate does on an empty group.
import type { Element } from '../xml.ts'
import { type Fault, MIB, type Mount } from './autoinstall-disk.ts'
import type { LogicalVolume, VolumeGroup } from './disk-layout.ts'
import { volumePath } from './disks.ts'

/** A group as the file declares it; sizes are whole extents. */
export type Group = {
  element: Element
  name: string
  extentBytes: number
  volumes: { element: Element; name: string; bytes: number | '*' }[]
}
/** `path` is a partition or an array. */
export type PhysicalVolume = { path: string; bytes: number; group: string }

const START_BYTES = MIB // of the first extent, as pvcreate makes it
const GROUP_NAME = /^(?!\.\.?$)[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,120}$/

/** Throws UserError for what cannot be taken over. */
export function readGroups(root: Element, fault: Fault): Group[] {
  const groups = root.children
    .filter(({ name }) => name === 'lvm')
    .flatMap((lvm) => {
      const version = lvm.attributes.get('version') ?? '2'
      if (version !== '2') throw fault('no tool of today makes LVM of this kind', lvm, `version="${version}"`)
      return lvm.children.map((element) => readGroup(element, fault))
    })
  refuseTwice(groups, 'a group stands twice', fault)
  return groups
}

function readGroup(element: Element, fault: Fault): Group {
  const name = nameOf(element, fault)
  for (const key of ['max_log_vols', 'max_phys_vols']) {
    const most = element.attributes.get(key) ?? '0'
    if (most !== '0') throw fault('a limit of volumes cannot be taken over', element, `${key}="${most}"`)
  }
  const size = element.attributes.get('phys_extent_size') ?? '4096K'
  const extentBytes = bytesOf(size)
  const isPower = extentBytes !== undefined && Number.isInteger(Math.log2(extentBytes))
  if (!isPower || extentBytes < 8192 || extentBytes > 2 ** 34)
    throw fault('not a size of extents', element, `phys_extent_size="${size}"`)
  const volumes = element.children.map((lv) => readVolume(lv, extentBytes, fault))
  refuseTwice(volumes, 'a volume stands twice', fault)
  const open = volumes.filter(({ bytes }) => bytes === '*')
  if (open.length > 1) throw fault('two volumes take the rest', open[1]!.element, 'size="*"')
  return { element, name, extentBytes, volumes }
}

function readVolume(element: Element, extentBytes: number, fault: Fault): Group['volumes'][number] {
  const options = element.attributes.get('lv_options')?.trim() ?? ''
  if (options !== '')
    throw fault('options of lvcreate cannot be taken over', element, `lv_options="${options}"`)
  const size = element.attributes.get('size') ?? ''
  const bytes = size === '*' ? size : bytesOf(size)
  if (bytes === undefined) throw fault('not a size', element, `size="${size}"`)
  const whole = bytes === '*' ? bytes : Math.ceil(bytes / extentBytes) * extentBytes
  return { element, name: nameOf(element, fault), bytes: whole }
}

function nameOf(element: Element, fault: Fault): string {
  const name = element.attributes.get('name') ?? ''
  if (GROUP_NAME.test(name)) return name
  throw fault('not a name of LVM', element, `name="${name}"`)
}

function refuseTwice(all: readonly { element: Element; name: string }[], error: string, fault: Fault) {
  for (const [i, { name, element }] of all.entries())
    if (all.findIndex((each) => each.name === name) < i) throw fault(error, element, name)
}

/** '4096K', '2g', '100': megabytes of 1024 kilobytes each. */
function bytesOf(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d{1,12}(?:\.\d{1,3})?)([KMGT]?)(?:i?B)?$/i.exec(text) ?? []
  if (number === undefined || Number(number) === 0) return undefined
  return Math.ceil(Number(number) * 1024 ** ('KMGT'.indexOf(unit.toUpperCase() || 'M') + 1))
}

/** Bytes that its physical volumes need, all together; `rest` is for the volume that takes what is left. */
export const groupBytes = ({ volumes, extentBytes }: Group, rest: number): number =>
  volumes.reduce((sum, { bytes }) => sum + (bytes === '*' ? rest : bytes), START_BYTES + 2 * extentBytes)

type Needs = {
  fault: Fault
  makeUuid: () => string
  mounts: readonly Mount[]
  physical: readonly PhysicalVolume[]
}

/** The names that a volume has. */
export const volumeNames = (group: string, volume: string): string[] => [
  `/dev/${group}/${volume}`,
  volumePath(group, volume),
]

export function groupOf(group: Group, { fault, makeUuid, mounts, physical }: Needs): VolumeGroup {
  const { element, name, extentBytes } = group
  const places = physical
    .filter((each) => each.group === name)
    .map(({ path, bytes }) => ({
      ...{ path, next: 0 },
      extents: Math.max(0, Math.floor((bytes - START_BYTES) / extentBytes)),
    }))
  if (places.length === 0) throw fault('a group without a physical volume', element, name)
  const free = () => places.reduce((sum, { extents, next }) => sum + extents - next, 0)
  const made = new Map<string, LogicalVolume>()
  // What takes the rest comes last, wherever it stands.
  for (const volume of group.volumes.toSorted((a, b) => Number(a.bytes === '*') - Number(b.bytes === '*'))) {
    const extents = volume.bytes === '*' ? free() : volume.bytes / extentBytes
    if (extents > free() || extents === 0)
      throw fault(
        'no room is left in the group',
        volume.element,
        `${name}/${volume.name}: ${(extents * extentBytes) / MIB} MiB of ${(free() * extentBytes) / MIB} MiB`,
      )
    const mount = mounts.find(({ device }) => volumeNames(name, volume.name).includes(device))
    made.set(volume.name, {
      name: volume.name,
      uuid: lvmUuid(makeUuid()),
      bytes: extents * extentBytes,
      segments: takeExtents(extents),
      ...(mount?.filesystem && { filesystem: mount.filesystem }),
    })
  }
  return {
    ...{ name, uuid: lvmUuid(makeUuid()), extentBytes, freeBytes: free() * extentBytes },
    volumes: group.volumes.map((volume) => made.get(volume.name)!),
  }

  function takeExtents(wanted: number): LogicalVolume['segments'] {
    let left = wanted
    return places.flatMap((place) => {
      const count = Math.min(left, place.extents - place.next)
      if (count === 0) return []
      const on = [`${place.path}(${place.next})`]
      place.next += count
      left -= count
      return [{ type: 'linear', bytes: count * extentBytes, stripes: 1, on }]
    })
  }
}

/** What a device is to its group. */
export const physicalOf = (group: string, makeUuid: () => string) => ({
  physical: { uuid: lvmUuid(makeUuid()), group, startBytes: START_BYTES },
})

/** LVM's own form: 32 characters in groups of 6, 4, 4, 4, 4, 4 and 6. */
const lvmUuid = (uuid: string): string =>
  uuid.replaceAll('-', '').replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})(.{6})$/, '$1-$2-$3-$4-$5-$6-$7')

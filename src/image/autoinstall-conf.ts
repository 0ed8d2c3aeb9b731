// SystemImager's etc/systemimager/autoinstallscript.conf: the disks and the fstab of the machine that an image came from. What
// people write for version 4.9, disks-layout.xml, has the same elements.
//   <config>
//     <disk dev="/dev/sda" label_type="gpt" unit_of_measurement="MB">
//       <part num="1" size="512" p_type="primary" p_name="-" flags="boot" [id="82"] [raid_dev="/dev/md0"] [lvm_group="vg0"]/>
//     </disk>                                                              size "*" takes the rest, "%" a share
//     <raid .../> <lvm>...</lvm>                                           see autoinstall-raid.ts, autoinstall-lvm.ts
//     <fsinfo line="10" comment="# text"/>
//     <fsinfo line="20" real_dev="/dev/sda2" mount_dev="UUID=..." mp="/" fs="ext4" options="defaults" dump="1" pass="1"
//             [mkfs_opts="-F 32"] [format="no"]/>
//   </config>
import { UserError } from '../fault.ts'
import { type Element, parseXml } from '../xml.ts'
import type { Needs as DiskNeeds, Fault, Mount } from './autoinstall-disk.ts'
import { isEsp, partitionName } from './autoinstall-disk.ts'
import { volumeNames } from './autoinstall-lvm.ts'
import { storageLayout } from './autoinstall-storage.ts'
import type { DiskLayout, Filesystem } from './disk-layout.ts'
import { devicesOf } from './disks.ts'
import type { LayoutFile } from './layout-file.ts'
import { filesystemUuid } from './layout-file.ts'

type Needs = Pick<DiskNeeds, 'contentBytes' | 'makeUuid'> & {
  name: string // of the file, for faults
  mdadmConf?: string // of the image
}
type Line = Mount & { element: Element }

const arrayWords = [
  ...[
    'name',
    'raid_level',
    'raid_devices',
    'spare_devices',
    'persistence',
    'rounding',
    'layout',
    'chunk_size',
  ],
  ...['lvm_group', 'devices'],
]
/** What each element says, and in what it stands; anything more is refused, as it would be lost. */
const known: Record<string, { within: string; words: string[] }> = {
  disk: { within: '', words: ['dev', 'label_type', 'unit_of_measurement'] },
  part: {
    within: 'disk',
    words: ['num', 'size', 'p_type', 'p_name', 'flags', 'id', 'lvm_group', 'raid_dev'],
  },
  raid: { within: '', words: arrayWords },
  raid_disk: { within: 'raid', words: arrayWords },
  lvm: { within: '', words: ['version'] },
  lvm_group: { within: 'lvm', words: ['name', 'max_log_vols', 'max_phys_vols', 'phys_extent_size'] },
  lv: { within: 'lvm_group', words: ['name', 'size', 'lv_options'] },
  fsinfo: {
    within: '',
    words: [
      ...['line', 'comment', 'real_dev', 'mount_dev', 'mp', 'fs', 'options', 'dump', 'pass'],
      ...['mkfs_opts', 'format'],
    ],
  },
}
/** How their ramdisk names devices, and which loader they found: ours asks the machine, and the image itself. */
const needless = ['boel', 'bootloader']

/** Throws UserError naming the line of what cannot be taken over; a layout file says it then. */
export function parseAutoinstallConf(text: string, needs: Needs): LayoutFile {
  const { name, makeUuid } = needs
  const root = parseXml(text, name)
  const fault: Fault = (error, { line }, what) =>
    new UserError(error, {
      what: what.slice(0, 200),
      allowed: 'a layout file: --layout FILE',
      object: `${name}:${line}`,
    })
  if (countElements(root) > MOST_ELEMENTS)
    throw fault('more than any machine has', root, `${MOST_ELEMENTS} elements`)
  for (const child of root.children) checkElement(child, '', fault)
  checkLines(root, fault)
  const mounts = mountsOf(root, makeUuid, fault)
  const storage = storageLayout(root, mounts, { mdadmConf: '', ...needs, fault })
  const layout = { ...storage, fstab: fstabOf(root, mounts) }
  checkDevices(layout, mounts, fault)
  if (!devicesOf(layout).some(({ holds }) => holds.filesystem?.mountpoint === '/'))
    throw fault('no partition is mounted on /', root, mounts.map(({ device }) => device).join(', '))
  return {
    layout,
    firmware: layout.disks.some((disk) => disk.partitions.some(isEsp)) ? 'uefi' : 'bios',
  }
}

const MOST_ELEMENTS = 10_000 // a layout holds no more of anything
const countElements = ({ children }: Element): number =>
  children.reduce((sum, child) => sum + countElements(child), children.length)

function checkElement(element: Element, within: string, fault: Fault) {
  const { name, children, attributes } = element
  if (needless.includes(name)) return
  const row = Object.hasOwn(known, name) ? known[name] : undefined
  if (row?.within !== within) throw fault('cannot be taken over', element, `<${name}>`)
  const odd = [...attributes.keys()].find((key) => !row.words.includes(key))
  if (odd !== undefined)
    throw fault('cannot be taken over', element, `<${name} ${odd}="${attributes.get(odd)}">`)
  for (const child of children) checkElement(child, name, fault)
}

/** Numbers say the order of fstab; SystemImager takes none twice either. */
function checkLines(root: Element, fault: Fault) {
  const seen = new Set<number>()
  for (const element of root.children.filter(({ name }) => name === 'fsinfo')) {
    const line = element.attributes.get('line') ?? ''
    if (!/^\d{1,9}$/.test(line)) throw fault('not a number of a line', element, `line="${line}"`)
    if (seen.has(Number(line))) throw fault('a line stands twice', element, `line="${line}"`)
    seen.add(Number(line))
  }
}

/** What fstab mounts from a device of its own, under one name of file systems. */
function mountsOf(root: Element, makeUuid: () => string, fault: Fault): Line[] {
  return fsinfoOf(root).flatMap((element) => {
    const get = (key: string) => element.attributes.get(key) ?? ''
    const device = get('real_dev')
    const format = get('format') || 'yes'
    if (!['yes', 'no'].includes(format)) throw fault('neither yes nor no', element, `format="${format}"`)
    if (!device.startsWith('/dev/')) {
      if (format === 'yes' && /^(\/dev\/|[A-Z]+=)/.test(get('mount_dev')))
        throw fault('the device of a file system is not said', element, get('mount_dev'))
      return []
    }
    return [
      {
        ...{ device, element, mountpoint: get('mp'), type: get('fs') },
        partuuid: /^PARTUUID="?([0-9A-Fa-f-]{36})"?$/.exec(get('mount_dev'))?.[1],
        filesystem: format === 'no' ? undefined : filesystemOf(element, makeUuid, fault),
      },
    ]
  })
}

function filesystemOf(element: Element, makeUuid: () => string, fault: Fault): Filesystem {
  const get = (key: string) => element.attributes.get(key) ?? ''
  const [named, type, mountpoint, options] = ['mount_dev', 'fs', 'mp', 'mkfs_opts'].map(get) as Texts
  if (!/^[a-z0-9_]{1,20}$/.test(type) || type === 'auto')
    throw fault('not a file system that can be made', element, `fs="${type}"`)
  const uuid = /^UUID="?([0-9A-Fa-f-]{4,36})"?$/.exec(named)?.[1]
  const label = /^LABEL="?([^"]{1,36})"?$/.exec(named)?.[1]
  if (/^(UUID|LABEL)=/.test(named) && (uuid ?? label) === undefined)
    throw fault('not the name of a file system', element, named)
  const fat = type === 'vfat' ? /^-F ?(12|16|32)$/.exec(options.trim())?.[1] : undefined
  if (options.trim() !== '' && fat === undefined)
    throw fault('options of mkfs cannot be taken over', element, `mkfs_opts="${options}"`)
  return {
    type,
    uuid: uuid ?? filesystemUuid(type, makeUuid),
    ...(label !== undefined && { label }),
    ...(mountpoint.startsWith('/') && { mountpoint }),
    ...(fat !== undefined && { version: `FAT${fat}` }),
  }
}
type Texts = [string, string, string, string]

/** Each file system to be made has a device, and no clone waits for one that is not made. */
function checkDevices(
  { disks, arrays = [], groups = [] }: DiskLayout,
  mounts: readonly Line[],
  fault: Fault,
) {
  const devices = new Set([
    ...disks.flatMap(({ path, partitions }) => partitions.map(({ number }) => partitionName(path, number))),
    ...arrays.map(({ path }) => path),
    ...groups.flatMap(({ name, volumes }) => volumes.flatMap((volume) => volumeNames(name, volume.name))),
  ])
  for (const { device, filesystem, element } of mounts) {
    const isThere = devices.has(device)
    if (filesystem && !isThere) throw fault('no partition is said to be there', element, device)
    const options = (element.attributes.get('options') ?? '').split(',')
    if (!filesystem && isThere && !options.includes('noauto') && !options.includes('nofail'))
      throw fault(
        'a clone would wait for a file system that is not made',
        element,
        `${device} with format="no"`,
      )
  }
}

const fsinfoOf = (root: Element): Element[] =>
  root.children
    .filter(({ name }) => name === 'fsinfo')
    .sort((a, b) => Number(a.attributes.get('line')) - Number(b.attributes.get('line')))

/** Its lines, with the UUIDs that the clone's file systems get in the place of device names. */
function fstabOf(root: Element, mounts: readonly Line[]): string {
  const lines = fsinfoOf(root).map((element) => {
    const comment = element.attributes.get('comment')
    if (comment !== undefined) return comment
    const get = (key: string) => element.attributes.get(key) ?? ''
    const real = get('real_dev')
    // The first line of a device says what it is made with.
    const uuid = mounts.find(({ device }) => device === real)?.filesystem?.uuid
    const device = uuid ? `UUID=${uuid}` : get('mount_dev') || real
    const rest = [get('options') || 'defaults', get('dump') || '0', get('pass') || '0']
    return [device, get('mp'), get('fs'), ...rest].join(' ')
  })
  return [...lines.map((line) => line.replace(/[\r\n]/g, ' ')), ''].join('\n')
}

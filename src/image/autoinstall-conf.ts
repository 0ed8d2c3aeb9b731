// SystemImager's etc/systemimager/autoinstallscript.conf: the disks and the fstab of the machine that an image came from.
//   <config>
//     <disk dev="/dev/sda" label_type="gpt" unit_of_measurement="MB">
//       <part num="1" size="512" p_type="primary" p_name="-" flags="boot" [id="82"]/>   size "*" takes the rest, "%" a share
//     </disk>
//     <fsinfo line="10" comment="# text"/>
//     <fsinfo line="20" real_dev="/dev/sda2" mount_dev="UUID=..." mp="/" fs="ext4" options="defaults" dump="1" pass="1"/>
//   </config>
import { UserError } from '../fault.ts'
import { type Element, parseXml } from '../xml.ts'
import type { Disk, Partition } from './disk-layout.ts'
import type { LayoutFile } from './layout-file.ts'
import { filesystemUuid } from './layout-file.ts'

type Needs = {
  name: string // of the file, for faults
  contentBytes: number // of the image: a size that the file leaves open is made to hold it
  makeUuid: () => string
}
type Mount = { device: string; named: string; mountpoint: string; type: string; element: Element }

const MIB = 1 << 20
const GIB = 2 ** 30
const SECTOR = 512
const types = {
  gpt: {
    efi: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
    bios_grub: '21686148-6449-6E6F-744E-656564454649',
    prep: '9E1A2D38-C612-4316-AA26-8B49521E5A8B',
    swap: '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F',
    linux: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  },
  dos: { efi: 'ef', bios_grub: '83', prep: '41', swap: '82', linux: '83' },
} as const

/** Throws UserError naming the line of what cannot be taken over; a layout file says it then. */
export function parseAutoinstallConf(text: string, { name, contentBytes, makeUuid }: Needs): LayoutFile {
  const root = parseXml(text, name)
  const refuse = (error: string, { line }: { line: number }, what: string): never => {
    throw new UserError(error, { what, allowed: 'a layout file: --layout FILE', object: `${name}:${line}` })
  }
  for (const child of root.children)
    if (child.name === 'raid' || child.name === 'lvm')
      refuse('disks of this kind are not taken over', child, `<${child.name}>`)
  const mounts = mountsOf(root)
  const disks = root.children.filter((child) => child.name === 'disk').map(diskOf)
  if (disks.length === 0) refuse('no disk', root, `<${root.name}>`)
  if (!disks.some((disk) => disk.partitions.some(({ filesystem }) => filesystem?.mountpoint === '/')))
    refuse(
      'no partition is mounted on /',
      root,
      mounts
        .map(({ device }) => device)
        .join(', ')
        .slice(0, 200),
    )
  const esp: string[] = [types.gpt.efi, types.dos.efi]
  return {
    layout: { disks, fstab: fstabOf(root, mounts, disks) },
    firmware: disks.some((disk) => disk.partitions.some(({ type }) => esp.includes(type))) ? 'uefi' : 'bios',
  }

  function diskOf(element: Element): Disk {
    const path = element.attributes.get('dev') ?? ''
    if (!/^\/dev\/[a-z0-9/]{1,40}$/.test(path)) refuse('not a disk', element, path)
    const label = { gpt: 'gpt', msdos: 'dos' } as const
    const kind = label[element.attributes.get('label_type') as keyof typeof label]
    if (kind === undefined)
      return refuse(
        'partition table cannot be cloned',
        element,
        element.attributes.get('label_type') ?? 'label_type',
      )
    const parts = element.children.filter((child) => child.name === 'part')
    const bytes = diskBytes(parts, element.attributes.get('unit_of_measurement') ?? 'MB')
    let next = MIB
    const partitions = parts.map((part, i): Partition => {
      const length = sizeOf(part, bytes, parts, element)
      const start = next
      // Logical partitions lie inside the extended one.
      if (part.attributes.get('p_type') !== 'extended') next += length
      return partitionOf(part, {
        path,
        kind,
        number: Number(part.attributes.get('num') ?? i + 1),
        start,
        length,
      })
    })
    return {
      path,
      bytes: Math.max(bytes, next + MIB),
      sectorBytes: SECTOR,
      label: kind,
      ...(kind === 'gpt' && { id: makeUuid().toUpperCase() }),
      partitions,
    }
  }

  /** The file does not say it: what is said of partitions, with room for the content where that is open. */
  function diskBytes(parts: readonly Element[], unit: string): number {
    const room = Math.ceil((contentBytes * 1.3 + GIB) / MIB) * MIB
    if (unit === '%') return Math.max(8 * GIB, 2 * room)
    const known = parts.map((part) => Number(part.attributes.get('size'))).filter((mib) => mib > 0)
    return (
      2 * MIB +
      known.reduce((sum, mib) => sum + Math.ceil(mib), 0) * MIB +
      (known.length < parts.length ? room : 0)
    )
  }

  function sizeOf(part: Element, bytes: number, parts: readonly Element[], disk: Element): number {
    const text = part.attributes.get('size') ?? ''
    const isShare = disk.attributes.get('unit_of_measurement') === '%'
    const bytesIn = (number: number) =>
      Math.ceil((isShare ? ((bytes - 2 * MIB) * number) / 100 : number * MIB) / MIB) * MIB
    if (/^\d{1,9}(\.\d+)?$/.test(text) && Number(text) > 0) return bytesIn(Number(text))
    if (text !== '*') return refuse('not a size', part, text || 'size')
    const others = parts
      .filter((each) => each !== part && each.attributes.get('p_type') !== 'extended')
      .map((each) => bytesIn(Number(each.attributes.get('size')) || 0))
    const rest = bytes - 2 * MIB - others.reduce((sum, each) => sum + each, 0)
    return rest >= MIB ? Math.floor(rest / MIB) * MIB : refuse('no room is left', part, text)
  }

  function partitionOf(
    part: Element,
    at: { path: string; kind: 'gpt' | 'dos'; number: number; start: number; length: number },
  ): Partition {
    const { path, kind, number, start, length } = at
    if (!(Number.isInteger(number) && number > 0 && number <= 128))
      refuse('not a partition number', part, `${number}`)
    const mount = mounts.find(({ device }) => device === `${path}${/\d$/.test(path) ? 'p' : ''}${number}`)
    const flags = new Set((part.attributes.get('flags') ?? '').split(/[,\s]+/))
    const partName = part.attributes.get('p_name') ?? '-'
    const id = part.attributes.get('id')
    return {
      number,
      start: start / SECTOR,
      size: length / SECTOR,
      type: kind === 'dos' && id ? id.toLowerCase() : types[kind][roleOf(flags, kind, mount)],
      ...(kind === 'gpt' && { uuid: makeUuid().toUpperCase() }),
      ...(kind === 'gpt' && !/^(-|\(.*\)|)$/.test(partName) && { name: partName }),
      ...(kind === 'dos' && flags.has('boot') && { bootable: true }),
      ...(mount && { filesystem: filesystemOf(mount) }),
    }
  }

  function filesystemOf({ named, type, mountpoint }: Mount): NonNullable<Partition['filesystem']> {
    const uuid = /^UUID="?([0-9A-Fa-f-]{4,36})"?$/.exec(named)?.[1]
    const label = /^LABEL="?([^"]{1,36})"?$/.exec(named)?.[1]
    return {
      type,
      uuid: uuid ?? filesystemUuid(type, makeUuid),
      ...(label !== undefined && { label }),
      ...(mountpoint.startsWith('/') && { mountpoint }),
    }
  }
}

function roleOf(
  flags: ReadonlySet<string>,
  kind: 'gpt' | 'dos',
  mount: Mount | undefined,
): keyof typeof types.gpt {
  if (flags.has('bios_grub')) return 'bios_grub'
  if (flags.has('prep')) return 'prep'
  if (flags.has('swap') || mount?.type === 'swap') return 'swap'
  const isEsp = flags.has('esp') || mount?.mountpoint === '/boot/efi' || mount?.mountpoint === '/efi'
  // parted calls the EFI system partition of a GPT disk "boot".
  return isEsp || (kind === 'gpt' && flags.has('boot') && mount?.type === 'vfat') ? 'efi' : 'linux'
}

/** What fstab mounts from a device of its own, under one name of file systems. */
function mountsOf(root: Element): Mount[] {
  return fsinfoOf(root).flatMap((element) => {
    const get = (key: string) => element.attributes.get(key) ?? ''
    const device = get('real_dev')
    if (!device.startsWith('/dev/')) return []
    return [{ device, named: get('mount_dev') || device, mountpoint: get('mp'), type: get('fs'), element }]
  })
}

const fsinfoOf = (root: Element): Element[] =>
  root.children
    .filter(({ name }) => name === 'fsinfo')
    .sort((a, b) => Number(a.attributes.get('line')) - Number(b.attributes.get('line')))

/** Its lines, with the UUIDs that the clone's file systems get in the place of device names. */
function fstabOf(root: Element, mounts: readonly Mount[], disks: readonly Disk[]): string {
  const byDevice = new Map<string, Partition['filesystem']>(
    disks.flatMap(({ path, partitions }) =>
      partitions.map((p) => [`${path}${/\d$/.test(path) ? 'p' : ''}${p.number}`, p.filesystem] as const),
    ),
  )
  const lines = fsinfoOf(root).map((element) => {
    const { attributes } = element
    const comment = attributes.get('comment')
    if (comment !== undefined) return comment
    const mount = mounts.find((each) => each.element === element)
    const get = (key: string) => attributes.get(key) ?? ''
    const filesystem = mount && byDevice.get(mount.device)
    const device = filesystem?.uuid ? `UUID=${filesystem.uuid}` : get('mount_dev') || get('real_dev')
    return [
      device,
      get('mp'),
      get('fs'),
      get('options') || 'defaults',
      get('dump') || '0',
      get('pass') || '0',
    ].join(' ')
  })
  return [...lines.map((line) => line.replace(/[\r\n]/g, ' ')), ''].join('\n')
}

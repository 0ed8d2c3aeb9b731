// What tools say of a file system: what a new one would be made with.
import type { Filesystem, Subvolume } from './disk-layout.ts'
import { type Block, type Said, toolSaid } from './probe-said.ts'

type Details = Pick<Filesystem, 'features' | 'settings' | 'devices'>

/** Features and settings of one, by its kind. */
export function detailsOf(said: Said, { path, fstype = '' }: Block): Details {
  if (/^ext[234]$/.test(fstype)) return extDetails(toolSaid(said, `dumpe2fs ${path}`))
  if (fstype === 'xfs') return xfsDetails(toolSaid(said, `xfs ${path}`))
  if (fstype === 'vfat') return fatDetails(toolSaid(said, `fat ${path}`))
  if (fstype === 'btrfs') return btrfsDetails(said, path)
  return {}
}

const withoutEmpty = (features: string, settings: Record<string, string>): Details => ({
  ...(features && { features }),
  ...(Object.keys(settings).length > 0 && { settings }),
})

const extSettings = [
  'Block size',
  'Block count',
  'Inode size',
  'Inode count',
  'Inodes per group',
  'Reserved block count',
  'Default mount options',
  'Default directory hash',
]
function extDetails(text: string): Details {
  const lines = linesOf(text, /^([^:]+):\s+(.*)$/)
  const known = extSettings.flatMap((key) => (lines.has(key) ? [[key, lines.get(key)!] as const] : []))
  return withoutEmpty(lines.get('Filesystem features') ?? '', Object.fromEntries(known))
}

/** xfs_info: `data     =          bsize=4096   blocks=65536, imaxpct=25`; a line without a name goes on. */
function xfsDetails(text: string): Details {
  const settings: Record<string, string> = {}
  let section = ''
  for (const line of text.split('\n')) {
    const [, name = '', rest = ''] = /^(\S*)\s*=(.*)$/.exec(line) ?? []
    section = name || section
    for (const [, key, value] of rest.matchAll(/([A-Za-z0-9-]+)=([^\s,]+)/g))
      settings[`${section} ${key}`] = value!
  }
  const features = Object.entries(settings).flatMap(([key, value]) =>
    /^(meta-data|naming) (crc|finobt|sparse|rmapbt|reflink|bigtime|inobtcount|nrext64|exchange|metadir|parent|ftype)$/.test(
      key,
    ) && value === '1'
      ? [key.replace(/.* /, '')]
      : [],
  )
  return withoutEmpty(features.join(' '), settings)
}

/** The numbers of the first sector (FAT specification 3.1). */
function fatDetails(text: string): Details {
  const b = text.trim().split(/\s+/).map(Number)
  if (b.length < 36) return {}
  const u16 = (at: number) => b[at]! + 256 * b[at + 1]!
  const settings = {
    'sector size': u16(11),
    'sectors per cluster': b[13]!,
    'reserved sectors': u16(14),
    FATs: b[16]!,
  }
  return withoutEmpty(
    '',
    Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, String(value)])),
  )
}

function btrfsDetails(said: Said, path: string): Details {
  const top = toolSaid(said, `btrfs super ${path}`)
  const lines = linesOf(top, /^(\S+)\s+(\S.*)$/)
  const settings: Record<string, string> = {}
  for (const key of ['csum_type', 'sectorsize', 'nodesize'])
    if (lines.has(key)) settings[key] = lines.get(key)!
  // `Data, RAID1: total=...`
  for (const [, kind, profile] of toolSaid(said, `btrfs profiles ${path}`).matchAll(/^(\w+), ([\w-]+):/gm))
    settings[kind!.toLowerCase()] = profile!
  const flags = /^incompat_flags\s.*\n\s*\(([^)]*)\)/m.exec(top)?.[1] ?? ''
  const devices = [...toolSaid(said, `btrfs devices ${path}`).matchAll(/^\s*devid .* path (\S+)/gm)].map(
    ([, dev]) => dev!,
  )
  return {
    ...withoutEmpty(
      flags
        .split(/[\s|]+/)
        .filter(Boolean)
        .join(' '),
      settings,
    ),
    ...(devices.length > 1 && { devices: devices.sort() }),
  }
}

/** All subvolumes of the btrfs that is mounted from this device; undefined when the tools are not there. */
export function subvolumesOf(said: Said, path: string): Subvolume[] | undefined {
  // Without subvolumes the list is empty; the default is always said.
  const first = /^ID (\d+)/.exec(toolSaid(said, `btrfs default ${path}`))?.[1]
  if (first === undefined) return undefined
  const readOnly = new Set(
    [...toolSaid(said, `btrfs read-only ${path}`).matchAll(/^ID (\d+) /gm)].map(([, id]) => Number(id)),
  )
  const rows = toolSaid(said, `btrfs subvolumes ${path}`).matchAll(
    /^ID (\d+) gen \d+ parent (\d+) top level \d+ parent_uuid (\S+)\s+uuid \S+ path (.*)$/gm,
  )
  const found = [...rows].map(([, id, parent, origin, place]) => ({
    id: Number(id),
    path: place!,
    parent: Number(parent),
    ...(readOnly.has(Number(id)) && { readOnly: true }),
    ...(origin !== '-' && { snapshot: true }),
    ...(id === first && { default: true }),
  }))
  const asked = found.find(({ id }) => id === Number(toolSaid(said, `btrfs at ${path}`)))
  return asked ? fromTop(found, asked) : found
}

/** Paths below the subvolume that was asked are said from there, all others from the top. */
function fromTop(subvolumes: Subvolume[], asked: Subvolume): Subvolume[] {
  const parentOf = new Map(subvolumes.map(({ id, parent }) => [id, parent]))
  const isBelow = (id: number, depth = 0): boolean => {
    const parent = parentOf.get(id)
    return parent !== undefined && depth < 1000 && (parent === asked.id || isBelow(parent, depth + 1))
  }
  return subvolumes.map((each) => (isBelow(each.id) ? { ...each, path: `${asked.path}/${each.path}` } : each))
}

const linesOf = (text: string, shape: RegExp): Map<string, string> =>
  new Map(
    text.split('\n').flatMap((line) => {
      const [, key, value] = shape.exec(line) ?? []
      return key === undefined ? [] : [[key.trim(), value!.trim()] as const]
    }),
  )

// md arrays and their members, as the kernel (sysfs) and `mdadm --detail --export` say them.
import type { Held, MdArray } from './disk-layout.ts'
import { type Block, fileHeld, type Said, toolSaid } from './probe-said.ts'
import type { TableFound } from './probe-table.ts'
import type { World } from './probe-world.ts'

/** @param table what the array holds */
export function arrayOf(world: World, block: Block, table: TableFound): MdArray {
  const { said } = world
  const fact = factsOf(said, block)
  const told = new Map(
    toolSaid(said, `mdadm ${block.path}`)
      .split('\n')
      .map((line) => line.split(/=(.*)/s, 2) as [string, string]),
  )
  const metadata = fact('metadata_version') || told.get('MD_METADATA') || ''
  if (metadata.startsWith('external')) world.say(`${block.path} is a RAID of the firmware (${metadata})`)
  const level = fact('level') || block.type
  const { devices, missing } = membersOf(said, block)
  if (missing > 0) reportMissing(world, block, { level, devices, missing })
  const bitmap = bitmapOf(fact('bitmap/location'))
  const [chunk, layout, bitmapChunk] = [fact('chunk_size'), fact('layout'), fact('bitmap/chunksize')].map(
    Number,
  )
  const hasLayout = /^raid(5|6|10)$/.test(block.type)
  return {
    path: block.path,
    bytes: block.bytes,
    sectorBytes: block.sectorBytes,
    level,
    metadata,
    devices,
    ...(missing > 0 && { missing }),
    ...(told.has('MD_UUID') && { uuid: told.get('MD_UUID')! }),
    ...(told.has('MD_NAME') && { name: told.get('MD_NAME')! }),
    ...(chunk && { chunkBytes: chunk }),
    ...(hasLayout && { layout: layout ?? 0 }),
    ...(bitmap !== undefined && { bitmap }),
    ...(bitmap !== undefined && bitmapChunk && { bitmapChunkBytes: bitmapChunk }),
    ...table,
  }
}

const nameOf = ({ kname }: Block): string => kname.slice('/dev/'.length)

/** What sysfs has of an array, '' where it has not. */
const factsOf = (said: Said, array: Block) => (file: string) =>
  fileHeld(said, `/sys/block/${nameOf(array)}/md/${file}`).trim()

/**
 * How many members an array needs, and how many of these are not there or not up to date: `degraded`, which levels without
 * redundancy do not have, else `[2/1] [U_]` of /proc/mdstat. While it is reshaped `raid_disks` is '4 (3)', the new number first.
 */
function membersOf(said: Said, array: Block): { devices: number; missing: number } {
  const fact = factsOf(said, array)
  const [, wanted, active] = statusOf(said, array) ?? []
  const devices = Number.parseInt(fact('raid_disks'), 10) || Number(wanted ?? 0) || array.parents.length
  const degraded = Number.parseInt(fact('degraded'), 10)
  const missing = Number.isInteger(degraded) ? degraded : wanted ? Number(wanted) - Number(active) : 0
  return { devices, missing: Math.min(devices, Math.max(0, missing)) }
}

/** `[2/1] [U_]` of its lines in /proc/mdstat: those that follow its name, and are indented. */
function statusOf(said: Said, array: Block): RegExpExecArray | undefined {
  const lines = fileHeld(said, '/proc/mdstat').split('\n')
  const first = lines.findIndex((line) => line.startsWith(`${nameOf(array)} : `))
  if (first < 0) return undefined
  for (const line of lines.slice(first + 1)) {
    if (!/^\s/.test(line)) return undefined
    const status = / \[(\d{1,4})\/(\d{1,4})\] \[[U_]+\]/.exec(line)
    if (status) return status
  }
  return undefined
}

/** A clone gets as many members as the array needs; its golden client is at risk. */
function reportMissing(
  world: World,
  array: Block,
  { level, devices, missing }: Pick<MdArray, 'level' | 'devices'> & { missing: number },
) {
  const { said, blocks } = world
  const failed = blocks.filter((block) => stateOf(said, array, block).includes('faulty'))
  const isRebuilt = factsOf(said, array)('sync_action') === 'recover'
  world.warn(
    [
      `${array.path} (md ${level}) has ${devices - missing} of its ${devices} members`,
      ...(failed.length > 0 ? [`${failed.map(({ path }) => path).join(' ')} has failed`] : []),
      ...(isRebuilt ? ['it is being rebuilt'] : []),
    ].join(', '),
  )
}

/** 'in_sync', 'faulty', 'spare', 'write_mostly' ...; none of what is no member. */
const stateOf = (said: Said, array: Block, member: Block): string[] =>
  factsOf(said, array)(`dev-${nameOf(member)}/state`).split(',')

/** The kernel says 'none', '+8' (sectors from the superblock: it is within the array) or 'file'. */
const bitmapOf = (location: string): string | undefined =>
  location === '' || location === 'none' ? undefined : /^[+-]?\d+$/.test(location) ? 'internal' : location

export function memberOf({ said, blocks }: World, block: Block): Pick<Held, 'member'> {
  const array = blocks.find(
    ({ type, parents }) => /^(raid|linear)/.test(type) && parents.includes(block.path),
  )
  if (array === undefined) return {}
  const slot = factsOf(said, array)(`dev-${nameOf(block)}/slot`)
  const isFailed = stateOf(said, array, block).includes('faulty')
  const place = isFailed ? { failed: true } : /^\d+$/.test(slot) ? { slot: Number(slot) } : { spare: true }
  return { member: { array: array.path, ...place } }
}

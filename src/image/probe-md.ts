// md arrays and their members, as the kernel (sysfs) and `mdadm --detail --export` say them.
import type { Held, MdArray } from './disk-layout.ts'
import { type Block, fileHeld, toolSaid } from './probe-said.ts'
import type { TableFound } from './probe-table.ts'
import type { World } from './probe-world.ts'

/** @param table what the array holds */
export function arrayOf(world: World, block: Block, table: TableFound): MdArray {
  const { said } = world
  const name = block.kname.slice('/dev/'.length)
  const fact = (file: string) => fileHeld(said, `/sys/block/${name}/md/${file}`).trim()
  const told = new Map(
    toolSaid(said, `mdadm ${block.path}`)
      .split('\n')
      .map((line) => line.split(/=(.*)/s, 2) as [string, string]),
  )
  const metadata = fact('metadata_version') || told.get('MD_METADATA') || ''
  if (metadata.startsWith('external')) world.say(`${block.path} is a RAID of the firmware (${metadata})`)
  const bitmap = bitmapOf(fact('bitmap/location'))
  const [chunk, layout, bitmapChunk] = [fact('chunk_size'), fact('layout'), fact('bitmap/chunksize')].map(
    Number,
  )
  const hasLayout = /^raid(5|6|10)$/.test(block.type)
  return {
    path: block.path,
    bytes: block.bytes,
    sectorBytes: block.sectorBytes,
    level: fact('level') || block.type,
    metadata,
    devices: Number.parseInt(fact('raid_disks'), 10) || block.parents.length,
    ...(told.has('MD_UUID') && { uuid: told.get('MD_UUID')! }),
    ...(told.has('MD_NAME') && { name: told.get('MD_NAME')! }),
    ...(chunk && { chunkBytes: chunk }),
    ...(hasLayout && { layout: layout ?? 0 }),
    ...(bitmap !== undefined && { bitmap }),
    ...(bitmap !== undefined && bitmapChunk && { bitmapChunkBytes: bitmapChunk }),
    ...table,
  }
}

/** The kernel says 'none', '+8' (sectors from the superblock: it is within the array) or 'file'. */
const bitmapOf = (location: string): string | undefined =>
  location === '' || location === 'none' ? undefined : /^[+-]?\d+$/.test(location) ? 'internal' : location

export function memberOf({ said, blocks }: World, block: Block): Pick<Held, 'member'> {
  const array = blocks.find(
    ({ type, parents }) => /^(raid|linear)/.test(type) && parents.includes(block.path),
  )
  if (array === undefined) return {}
  const folder = `/sys/block/${array.kname.slice('/dev/'.length)}/md/dev-${block.kname.slice('/dev/'.length)}`
  const slot = fileHeld(said, `${folder}/slot`).trim()
  const place = /^\d+$/.test(slot) ? { slot: Number(slot) } : { spare: true }
  return { member: { array: array.path, ...place } }
}

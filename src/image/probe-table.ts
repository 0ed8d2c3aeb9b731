// Partition tables, as `sfdisk --json` says them.
import { WireError } from '../fault.ts'
import type { Disk, Held, Partition } from './disk-layout.ts'
import { gptCopySectors, gptEntries } from './partition-types.ts'
import { holdsAt } from './probe-crypt.ts'
import type { Table } from './probe-said.ts'
import type { World } from './probe-world.ts'

export type TableFound = Pick<
  Disk,
  'label' | 'id' | 'firstSector' | 'lastSector' | 'tableLength' | 'partitions'
> &
  Held

/** A partition table, or what the device holds without one. */
export function tableOf(world: World, path: string): TableFound {
  const table = world.said.sfdisk
    .map(({ partitiontable }) => partitiontable)
    .find(({ device }) => device === path)
  if (table === undefined) return { label: 'none', partitions: [], ...holdsAt(world, path) }
  if (table.label !== 'gpt' && table.label !== 'dos') {
    world.say(`${path} has a ${table.label} partition table (allowed: gpt, dos)`)
    return { label: 'none', partitions: [] }
  }
  return {
    label: table.label,
    ...(table.id !== undefined && { id: table.id }),
    ...(table.firstlba !== undefined && { firstSector: table.firstlba }),
    ...(hasOwnEnd(world, table) && { lastSector: table.lastlba! }),
    ...(table['table-length'] !== undefined && { tableLength: Number(table['table-length']) }),
    partitions: (table.partitions ?? [])
      .map((p) => partitionOf(world, path, p))
      .sort((a, b) => a.number - b.number),
  }
}

/** Whether the room of a GPT ends elsewhere than usual: some is kept free, or the disk has grown under its table. */
function hasOwnEnd({ byName }: World, table: Table): boolean {
  const disk = byName.get(table.device)
  if (table.lastlba === undefined || disk === undefined) return false
  const { bytes, sectorBytes } = disk
  const length = Number(table['table-length'] ?? gptEntries.usual)
  return table.lastlba !== bytes / sectorBytes - 1 - gptCopySectors(length, sectorBytes)
}

function partitionOf(world: World, disk: string, part: NonNullable<Table['partitions']>[number]): Partition {
  const { node, ...facts } = part
  const match = /^p?(\d{1,4})$/.exec(node.startsWith(disk) ? node.slice(disk.length) : '')
  if (match === null) throw new WireError(`probe: ${node} is not a partition of ${disk}`)
  return { number: Number(match[1]), ...facts, ...holdsAt(world, node) }
}

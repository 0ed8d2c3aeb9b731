// LVM as `lvs`, `vgs` and `pvs --reportformat json` say it. All numbers are bytes, as texts.
import type { Static, TSchema } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { WireError } from '../fault.ts'
import type { Allocation, LogicalVolume, VolumeGroup } from './disk-layout.ts'
import { type Said, toolSaid } from './probe-said.ts'

const rowText = Type.String({ maxLength: 65_536 })
const optional = Type.Optional(rowText)
const VolumeRow = Type.Object({
  ...{
    lv_name: rowText,
    vg_name: rowText,
    lv_uuid: rowText,
    lv_attr: rowText,
    lv_size: rowText,
    segtype: rowText,
  },
  ...{
    stripes: optional,
    stripe_size: optional,
    region_size: optional,
    chunk_size: optional,
    seg_size: rowText,
  },
  ...{
    pool_lv: optional,
    origin: optional,
    lv_tags: optional,
    lv_metadata_size: optional,
    discards: optional,
  },
  ...{ zero: optional, cache_mode: optional, cache_policy: optional, devices: optional },
})
type VolumeRow = Static<typeof VolumeRow>
const GroupRow = Type.Object({
  ...{ vg_name: rowText, vg_uuid: rowText, vg_attr: rowText, vg_free: rowText, vg_extent_size: rowText },
  ...{ vg_missing_pv_count: optional, vg_tags: optional },
})
const PhysicalRow = Type.Object({
  ...{ pv_name: rowText, pv_uuid: rowText, vg_name: optional, pe_start: optional, pv_tags: optional },
})

export type PhysicalVolume = {
  path: string
  uuid: string
  group: string | undefined
  startBytes: number | undefined
  tags: string[]
}
/** A volume with what decides whether it is one of its own: parts of others and snapshots are not. */
export type VolumeFound = { volume: LogicalVolume; isSnapshot: boolean }
export type Lvm = {
  groups: (Omit<VolumeGroup, 'volumes'> & { volumes: VolumeFound[]; faults: string[] })[]
  physical: PhysicalVolume[]
}

export function readLvm(said: Said): Lvm {
  const volumes = rowsOf(VolumeRow, toolSaid(said, 'lvs'), 'seg')
  const physical = rowsOf(PhysicalRow, toolSaid(said, 'pvs'), 'pv')
  return {
    groups: rowsOf(GroupRow, toolSaid(said, 'vgs'), 'vg').map((row) => ({
      name: row.vg_name,
      uuid: row.vg_uuid,
      extentBytes: Number(row.vg_extent_size),
      freeBytes: Number(row.vg_free),
      ...tagsOf(row.vg_tags),
      ...allocationOf(row.vg_attr[4], 'normal'),
      volumes: volumesOf(volumes.filter(({ vg_name }) => vg_name === row.vg_name)),
      faults: faultsOf(row),
    })),
    // --all names devices that are no physical volumes, too.
    physical: physical
      .filter(({ pv_uuid }) => pv_uuid !== '')
      .map((row) => ({
        path: row.pv_name,
        uuid: row.pv_uuid,
        group: row.vg_name || undefined,
        startBytes: numberOf(row.pe_start),
        tags: tagsOf(row.pv_tags).tags ?? [],
      })),
  }
}

function faultsOf({ vg_name, vg_attr, vg_missing_pv_count }: Static<typeof GroupRow>): string[] {
  const say = (is: boolean, what: string) => (is ? [`LVM group ${vg_name} ${what}`] : [])
  return [
    ...say(Number(vg_missing_pv_count ?? 0) > 0, 'lacks a physical volume'),
    ...say(vg_attr[2] === 'x', 'is exported'),
    ...say(vg_attr[5] === 'c' || vg_attr[5] === 's', 'is shared with other machines'),
  ]
}

/** lvs gives a row for each segment; names in brackets are parts of other volumes, as the data of a cached one. */
function volumesOf(rows: VolumeRow[]): VolumeFound[] {
  const names = [...new Set(rows.map(({ lv_name }) => lv_name))]
  return names.map((name) => {
    const own = rows.filter(({ lv_name }) => lv_name === name)
    const [first] = own as [VolumeRow]
    const origin = plainName(first.origin)
    const isSnapshot = /^[sS]/.test(first.lv_attr) || (first.segtype === 'thin' && origin !== undefined)
    const metadataBytes = numberOf(first.lv_metadata_size)
    const pool = plainName(first.pool_lv)
    const settings = settingsOf(first)
    const volume: LogicalVolume = {
      name: plainName(name)!,
      ...(name.startsWith('[') && { part: true }),
      uuid: first.lv_uuid,
      bytes: Number(first.lv_size),
      segments: own.map(segmentOf),
      ...(pool !== undefined && { pool }),
      ...(isSnapshot && origin !== undefined && { origin }),
      ...(metadataBytes !== undefined && { metadataBytes }),
      ...(Object.keys(settings).length > 0 && { settings }),
      ...tagsOf(first.lv_tags),
      ...allocationOf(first.lv_attr[2]),
      ...(first.lv_attr[1] === 'r' && { readOnly: true }),
      ...(first.lv_attr[4] !== 'a' && { inactive: true }),
    }
    return { volume, isSnapshot }
  })
}

function segmentOf(row: VolumeRow): LogicalVolume['segments'][number] {
  const numbers = {
    stripes: numberOf(row.stripes),
    stripeBytes: numberOf(row.stripe_size),
    regionBytes: numberOf(row.region_size),
    chunkBytes: numberOf(row.chunk_size),
  }
  const known = Object.entries(numbers).filter(([, value]) => value !== undefined)
  return {
    type: row.segtype,
    bytes: Number(row.seg_size),
    ...Object.fromEntries(known),
    on: (row.devices ?? '').split(',').filter(Boolean),
  }
}

function settingsOf({ discards, zero, cache_mode, cache_policy }: VolumeRow): Record<string, string> {
  const all = { discards, zero, cache_mode, cache_policy }
  return Object.fromEntries(
    Object.entries(all).flatMap(([key, value]) => (value && value !== 'unknown' ? [[key, value]] : [])),
  )
}

const allocations: Record<string, Allocation> = { c: 'contiguous', l: 'cling', n: 'normal', a: 'anywhere' }

/** By its letter, which is a capital while extents are moved; `i` is inherited. */
function allocationOf(letter = '', usual?: Allocation): { allocation?: Allocation } {
  const allocation = allocations[letter.toLowerCase()]
  return allocation === undefined || allocation === usual ? {} : { allocation }
}

const plainName = (name: string | undefined) => name?.replace(/^\[(.*)\]$/, '$1') || undefined
/** Zero is how LVM says that there is none. */
const numberOf = (text: string | undefined) => Number(text || 0) || undefined
const tagsOf = (text: string | undefined): { tags?: string[] } => (text ? { tags: text.split(',') } : {})

function rowsOf<T extends TSchema>(schema: T, json: string, key: string): Static<T>[] {
  if (json === '') return [] // LVM is not there
  let rows: unknown
  try {
    rows = JSON.parse(json).report[0][key]
  } catch {
    throw new WireError(`probe: ${key}s: not LVM's report`)
  }
  if (!Array.isArray(rows) || rows.length > 100_000) throw new WireError(`probe: ${key}s: not LVM's report`)
  const bad = rows.find((row) => !Value.Check(schema, row))
  if (bad !== undefined) throw new WireError(`probe: ${key}s: a row out of shape`)
  return rows as Static<T>[]
}

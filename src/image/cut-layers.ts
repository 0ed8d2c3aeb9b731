// Cutting a capture into disjoint layers that unpack at the same time: pieces of the sorted list, so mostly whole
// directories, of about equal weight, hard links of one file together. Directories come in a layer of their own that is
// unpacked last, when no other entry can change a directory's time any more. What is small becomes one layer alone.
import type { Seen } from './rows.ts'

const MAX_FILE_LAYERS = 3
const LAYER_BYTES = 96 << 20 // below this one more stream does not pay
const FILE_COST = 8192 // making a file costs the target about as much as writing so many bytes

/** Bytes of content, or what a file with several names adds for each of them. */
export const contentBytes = ({ type, size, links }: Pick<Seen, 'type' | 'size' | 'links'>): number =>
  type === 'f' ? Number(size) / Math.max(1, Number(links)) : 0

export const weightOf = (seen: Pick<Seen, 'type' | 'size' | 'links'>): number =>
  seen.type === 'd' ? 0 : FILE_COST + contentBytes(seen)

/** Of how many layers the files are, when they weigh so much in all. */
export const layerCount = (weight: number): number =>
  weight === 0 ? 0 : Math.max(1, Math.min(MAX_FILE_LAYERS, Math.ceil(weight / LAYER_BYTES)))

/** Whether files and directories go into one layer: a change that is small, on top of a version. */
export const isSmall = (weight: number): boolean => weight <= LAYER_BYTES

/** Says of each file, in the order of the list, which layer it goes to (from 0). `groupOf` tells the names of one file. */
export function cutLayers(
  { weight, count }: { weight: number; count: number },
  groupOf: (seen: Seen) => string,
) {
  const groups = new Map<string, number>()
  let passed = 0
  return function layerOf(seen: Seen): number {
    const own = Math.min(count - 1, Math.floor((passed * count) / weight))
    passed += weightOf(seen)
    if (seen.links === '1') return own
    const group = groupOf(seen)
    const first = groups.get(group)
    if (first === undefined) groups.set(group, own)
    return first ?? own
  }
}

// Swap files, as /proc/swaps has them.
import type { SwapFile } from './disk-layout.ts'
import { decode, toolSaid, unescapeOctal } from './probe-said.ts'
import type { World } from './probe-world.ts'

/** Of those in use. */
export function swapFilesOf({ said }: World): SwapFile[] {
  const sizes = new Map(
    toolSaid(said, 'swapFiles')
      .split('\n')
      .map((line) => line.split(/ (.*)/s, 2))
      .map(([size, path]) => [path, Number(size)] as const),
  )
  return decode(said.swaps)
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([path, type]) => type === 'file' && path!.startsWith('/'))
    .map(([path, , size, , priority]) => ({
      path: unescapeOctal(path!),
      bytes: sizes.get(path) ?? (Number(size) || 0) * 1024 + 4096, // /proc/swaps leaves out the page of the header
      ...(Number(priority) >= 0 && { priority: Number(priority) }),
    }))
}

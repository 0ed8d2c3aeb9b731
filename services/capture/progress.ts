// How far a capture is, as events: at most two a second, and percent never falls.
import type { ImageName } from '../../src/address.ts'
import type { Emit } from '../emit.ts'

const INTERVAL_MS = 500

export type Progress = ReturnType<typeof startProgress>

export function startProgress({ emit, node, image }: { emit: Emit; node: string; image: ImageName }) {
  let name = 'probe'
  let [from, to, percent] = [0, 0, 0]
  let [expected, tarBytes, wireBytes, last] = [0, 0, 0, 0]

  function say(text?: string) {
    last = Date.now()
    emit('capture.progress', { node, image, phase: name, percent, bytes: wireBytes, ...(text && { text }) })
  }
  /** A new phase, which takes percent from one number to another. */
  function phase(next: string, start: number, end = start) {
    name = next
    from = start
    to = end
    percent = Math.max(percent, start)
    say()
  }
  /** How many bytes of archive this phase will make, about. */
  function expect(bytes: number) {
    expected = bytes
  }
  function add(tar: number, wire: number) {
    tarBytes += tar
    wireBytes += wire
    const share = expected > 0 ? Math.min(1, tarBytes / expected) : 1
    percent = Math.max(percent, Math.floor(from + (to - from) * share))
    if (Date.now() - last >= INTERVAL_MS) say()
  }
  const note = (text: string | undefined) => text && say(text)
  return { phase, expect, add, note }
}

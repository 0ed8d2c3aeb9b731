// How far work on the image store is, as events: at most two a second, and percent never falls.
import type { Emit } from '../emit.ts'

const INTERVAL_MS = 500

export type WorkProgress = ReturnType<typeof startWorkProgress>

export function startWorkProgress({ emit, kind, image }: { emit: Emit; kind: string; image?: string }) {
  let name = 'start'
  let [from, to, percent, expected, done, last] = [0, 0, 0, 0, 0, 0]

  function say(note?: string) {
    last = Date.now()
    emit('image.progress', {
      kind,
      phase: name,
      percent,
      bytes: done,
      ...(image && { image }),
      ...(note && { note }),
    })
  }
  /** A new phase, which takes percent from one number to another while so many bytes are done. */
  function phase(next: string, start: number, end = start, bytes = 0) {
    ;[name, from, to, expected, done] = [next, start, end, bytes, 0]
    percent = Math.max(percent, start)
    say()
  }
  function add(bytes: number) {
    done += bytes
    const share = expected > 0 ? Math.min(1, done / expected) : 0
    percent = Math.max(percent, Math.floor(from + (to - from) * share))
    if (Date.now() - last >= INTERVAL_MS) say()
  }
  return { phase, add, note: (text: string) => say(text) }
}

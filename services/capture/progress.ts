// How far a capture is, as events: at most two a second, and percent never falls.
import type { ImageName } from '../../src/address.ts'
import type { Emit } from '../emit.ts'

const INTERVAL_MS = 500

export type Progress = ReturnType<typeof startProgress>
type Needs = { emit: Emit; node: string; image: ImageName; now: () => number }

export function startProgress({ emit, node, image, now }: Needs) {
  let name = 'probe'
  let [from, to, percent, last] = [0, 0, 0, 0]
  let total: { tarBytes: number; entries: number } | undefined // of this phase, about
  let begun = now()
  const moved = { tarBytes: 0, wireBytes: 0, entries: 0 }

  function say(note?: string) {
    const text = measured()
    last = now()
    const { wireBytes: bytes, entries: files } = moved
    emit('capture.progress', {
      node,
      image,
      phase: name,
      percent,
      bytes,
      ...figures(),
      ...(files && { files }),
      ...(text && { text }),
      ...(note && { note }),
    })
  }
  /** A new phase, which takes percent from one number to another. */
  function phase(next: string, start: number, end = start) {
    name = next
    from = start
    to = end
    total = undefined
    percent = Math.max(percent, start)
    say()
  }
  /** How much this phase will move, about. */
  function expect(expected: { tarBytes: number; entries: number }) {
    total = expected
    begun = now()
  }
  function add(more: { tarBytes: number; wireBytes: number; entries: number }) {
    for (const key of ['tarBytes', 'wireBytes', 'entries'] as const) moved[key] += more[key]
    percent = Math.max(percent, Math.floor(from + (to - from) * share()))
    if (now() - last >= INTERVAL_MS) say()
  }
  const share = () => (total && total.tarBytes > 0 ? Math.min(1, moved.tarBytes / total.tarBytes) : 1)

  /** Bytes a second over the wire and seconds left, once there is something to tell. */
  function figures(): { totalFiles?: number; rate?: number; secondsLeft?: number } {
    const seconds = (now() - begun) / 1000
    if (total === undefined) return {}
    if (seconds < 1 || moved.tarBytes === 0) return { totalFiles: total.entries }
    const left = (seconds * (1 - share())) / share()
    return {
      totalFiles: total.entries,
      rate: Math.round(moved.wireBytes / seconds),
      secondsLeft: Math.ceil(left),
    }
  }
  function measured(): string {
    const { totalFiles, rate, secondsLeft } = figures()
    if (totalFiles === undefined) return ''
    const files = `${Math.min(moved.entries, totalFiles)} of ${totalFiles} files, ${(moved.wireBytes / 1e6).toFixed(0)} MB`
    return rate === undefined
      ? files
      : `${files}, ${(rate / 1e6).toFixed(1)} MB/s, ${clock(secondsLeft!)} left`
  }
  /** What a person is to know: it is said once, and no later news takes its place. */
  const note = (text: string | undefined) => text && say(text)
  return { phase, expect, add, note, moved: () => ({ ...moved }) }
}

/** 0:07, 12:30, 2:05:00 */
function clock(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const two = (value: number) => String(value).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

// Who may transfer now: so many per client, so many in all. The rest waits in order of arrival instead of being dropped.
// Requests have made-up senders too, and those never answer: when places are short, whoever has not answered for
// `patienceMs` gives its place to the next in line.

type Limits = { perClient: number; total: number; waiting: number; patienceMs: number }
export type Place = {
  /** It is over. */
  leave(): void
  /** The client has answered: nobody takes the place away any more. */
  settle(): void
}
/** Begins a transfer; what it gives back ends it early, which must end in `leave`. */
type Job = (place: Place) => () => void
type Silent = { since: number; client: string; end: () => void }

export const usualLimits: Limits = { perClient: 4, total: 2000, waiting: 4096, patienceMs: 100 }

export function makeQueue(limits: Limits, now: () => number) {
  const running = new Map<string, number>()
  const waitingOf = new Map<string, number>()
  const waiting: { client: string; job: Job }[] = []
  const silent = new Set<Silent>() // oldest first
  let total = 0
  let admitting = false

  const admits = (client: string) => total < limits.total && (running.get(client) ?? 0) < limits.perClient

  function start(client: string, job: Job) {
    const entry: Silent = { since: now(), client, end: () => {} }
    let left = false
    total++
    count(running, client, 1)
    silent.add(entry)
    const leave = () => {
      if (left) return
      left = true
      silent.delete(entry)
      total--
      count(running, client, -1)
      admit()
    }
    entry.end = job({ leave, settle: () => void silent.delete(entry) })
  }

  /** A loop, not a recursion: a job may be over before `start` returns. */
  function admit() {
    if (admitting) return
    admitting = true
    for (;;) {
      const index = waiting.findIndex(({ client }) => admits(client))
      const [entry] = index < 0 ? [] : waiting.splice(index, 1)
      if (!entry) break
      count(waitingOf, entry.client, -1)
      start(entry.client, entry.job)
    }
    admitting = false
  }

  return {
    /** False: there is no room to wait either. One client never fills the waiting room. */
    enter(client: string, job: Job): boolean {
      if (waiting.length === 0 && admits(client)) {
        start(client, job)
        return true
      }
      const own = waitingOf.get(client) ?? 0
      if (waiting.length >= limits.waiting || own >= 4 * limits.perClient) return false
      count(waitingOf, client, 1)
      waiting.push({ client, job })
      admit()
      return true
    },
    /** To be called as time goes by. */
    review() {
      const latest = now() - limits.patienceMs
      for (const entry of silent) {
        if (waiting.length === 0 || entry.since > latest) return
        if (total >= limits.total || waitingOf.has(entry.client)) entry.end()
      }
    },
  }
}

function count(counts: Map<string, number>, client: string, change: 1 | -1) {
  const next = (counts.get(client) ?? 0) + change
  if (next > 0) counts.set(client, next)
  else counts.delete(client)
}

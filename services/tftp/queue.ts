// Who may transfer now: so many per client, so many in all. The rest waits in order of arrival instead of being dropped.

/** Runs a job; `leave` must be called once when it is over. */
type Job = (leave: () => void) => void

export function makeQueue(limits: { perClient: number; total: number; waiting: number }) {
  const running = new Map<string, number>()
  const waitingOf = new Map<string, number>()
  const waiting: { client: string; job: Job }[] = []
  let total = 0

  const admits = (client: string) => total < limits.total && (running.get(client) ?? 0) < limits.perClient

  function start(client: string, job: Job) {
    total++
    count(running, client, 1)
    let left = false
    job(() => {
      if (left) return
      left = true
      total--
      count(running, client, -1)
      next()
    })
  }

  function next() {
    const index = waiting.findIndex(({ client }) => admits(client))
    const [entry] = index < 0 ? [] : waiting.splice(index, 1)
    if (!entry) return
    count(waitingOf, entry.client, -1)
    start(entry.client, entry.job)
  }

  return {
    /** False: there is no room to wait either. One client never fills the waiting room. */
    enter(client: string, job: Job): boolean {
      if (admits(client)) {
        start(client, job)
        return true
      }
      const own = waitingOf.get(client) ?? 0
      if (waiting.length >= limits.waiting || own >= 4 * limits.perClient) return false
      count(waitingOf, client, 1)
      waiting.push({ client, job })
      return true
    },
  }
}

function count(counts: Map<string, number>, client: string, change: 1 | -1) {
  const next = (counts.get(client) ?? 0) + change
  if (next > 0) counts.set(client, next)
  else counts.delete(client)
}

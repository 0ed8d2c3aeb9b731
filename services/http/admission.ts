// How many bodies are sent at once. A thousand machines that share one wire are all done sooner when some of them go first:
// the others wait in line, in order of arrival, without a file or a buffer. Who can come back is asked to after a while and
// keeps its place; who can't is let in after a while.
import { hash } from 'node:crypto'

/** What a client does about a 503, by its User-Agent. */
type Manner = 'comes-back' | 'patient' | 'hasty'
const manners: [RegExp, Manner][] = [
  [/^(curl|iPXE)\//, 'comes-back'], // iPXE honours Retry-After, the installer asks again
  [/^GRUB /, 'patient'], // gives up on a 503, and after 30 s without a header
]
const waitMs: Record<Manner, number> = { 'comes-back': 15_000, patient: 20_000, hasty: 3_000 }
const ticketMs = 60_000
const retrySeconds = 2

export type Limits = { most: number; perClient: number; line: number }
export type Entry = { kind: 'go'; leave(): void } | { kind: 'later'; retrySeconds: number } | { kind: 'gone' }
type Visitor = { client: string; what: string; agent: string | undefined; onGone(tell: () => void): void }
type Waiter = { client: string; since: number; answer(entry: Entry): void; timer?: NodeJS.Timeout }

export const mannerOf = (agent: string | undefined): Manner =>
  manners.find(([form]) => form.test(agent ?? ''))?.[1] ?? 'hasty'

export function makeAdmission(
  { most, perClient, line }: Limits,
  now: () => number = () => performance.now(),
) {
  const active = new Map<string, number>()
  const waiting: Waiter[] = [] // by their first arrival
  const tickets = new Map<string, { since: number; until: number }>()
  let total = 0

  const admits = (client: string) => total < most && (active.get(client) ?? 0) < perClient

  function go(client: string): Entry {
    total++
    active.set(client, (active.get(client) ?? 0) + 1)
    let left = false
    return {
      kind: 'go',
      leave() {
        if (left) return
        left = true
        total--
        const own = (active.get(client) ?? 1) - 1
        if (own > 0) active.set(client, own)
        else active.delete(client)
        admitNext()
      },
    }
  }

  function admitNext() {
    const next = waiting.find(({ client }) => admits(client))
    if (next) answer(next, go(next.client))
  }

  function answer(waiter: Waiter, entry: Entry) {
    const index = waiting.indexOf(waiter)
    if (index < 0) return
    waiting.splice(index, 1)
    clearTimeout(waiter.timer)
    waiter.answer(entry)
  }

  /** When this client came for this the first time; a ticket that nobody has shown for long is void. */
  function arrival(key: string): number {
    const ticket = tickets.get(key)
    return ticket && ticket.until > now() ? ticket.since : now()
  }

  function later(key: string, since: number): Entry {
    for (const [old, { until }] of tickets) {
      if (until > now() && tickets.size < 4 * line) break
      tickets.delete(old)
    }
    tickets.delete(key)
    tickets.set(key, { since, until: now() + ticketMs })
    return { kind: 'later', retrySeconds }
  }

  return {
    /** Resolves when a body may be sent, or when the client is to ask again, or is gone. */
    enter({ client, what, agent, onGone }: Visitor): Promise<Entry> {
      const manner = mannerOf(agent)
      const key = hash('sha256', `${client} ${what}`, 'base64') // a URL may be 16 KB, and thousands of tickets are kept
      const since = arrival(key)
      if (waiting.length === 0 && admits(client)) {
        tickets.delete(key)
        return Promise.resolve(go(client))
      }
      if (waiting.length >= line) return Promise.resolve(later(key, since))
      return new Promise((resolve) => {
        const waiter: Waiter = {
          client,
          since,
          answer(entry) {
            if (entry.kind === 'go') tickets.delete(key)
            resolve(entry)
          },
        }
        const after = waiting.findLastIndex((other) => other.since <= since)
        waiting.splice(after + 1, 0, waiter)
        waiter.timer = setTimeout(
          () => answer(waiter, manner === 'comes-back' ? later(key, since) : go(client)),
          waitMs[manner],
        )
        onGone(() => answer(waiter, { kind: 'gone' }))
        admitNext()
      })
    },
    counts: () => ({ active: total, waiting: waiting.length, tickets: tickets.size }),
  }
}
export type Admission = ReturnType<typeof makeAdmission>

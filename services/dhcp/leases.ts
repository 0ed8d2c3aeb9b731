// Leases of all networks: the table in memory and the journal behind it.
import type { Ipv4, Mac } from '../../src/address.ts'
import { isWorthKeeping, type Lease, type LeaseEvent, makeLeaseTable } from '../../src/dhcp/leases.ts'
import { openJournal } from './journal.ts'

type Options = { now?: () => number; compactBytes?: number }

/** `path` is the journal, `stateDir/leases.journal`; its folder must exist. */
export async function openLeases(path: string, { now = Date.now, compactBytes }: Options = {}) {
  const live = () => table.list().filter((lease) => lease.state !== 'held' && isWorthKeeping(lease, now()))
  const keep = (lease: Lease) => isWorthKeeping(lease, now())
  const journal = await openJournal(path, { keep, live, ...(compactBytes && { compactBytes }) })
  const table = makeLeaseTable(journal.leases)
  return {
    view: table,
    /** Lines of the journal that could not be read: 1 after a crash is ordinary, more is a damaged file. */
    dropped: journal.dropped,
    /** The table has it at once. The promise is there when the change must be on disk before an answer leaves. */
    take(event: LeaseEvent): Promise<void> | undefined {
      const changed = table.apply(event)
      return changed && journal.append(changed)
    },
    list: () => table.list(),
    /** The machine that has the address at `now`; TFTP knows its clients by this. */
    macOf: (address: Ipv4, now: number): Mac | undefined => table.macOf(address, now),
    close: () => journal.close(),
  }
}
export type Leases = Awaited<ReturnType<typeof openLeases>>

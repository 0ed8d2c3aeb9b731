// In main: stores what the boot process recorded, says so, and adds what the blob workers sent to the boot of its machine.
import type { Digest, Ipv4, Mac, NodeName } from '../../src/address.ts'
import type { Step } from '../../src/boot/record.ts'
import type { Owners } from '../../src/boot/whose.ts'
import type { Event } from '../../src/events.ts'
import type { Boots } from '../store/boots.ts'

type Needs = {
  boots: Pick<Boots, 'add' | 'addLoose'>
  owners: Owners
  /** To the boot process: it need not keep that batch any more. */
  stored(of: string, number: number): void
  failed(error: unknown): void
}

/** Later than the batch with the ACK of the same machine. */
const LOOSE_MS = 1000
const MOST_LOOSE = 5000

export function openKeeper({ boots, owners, stored, failed }: Needs) {
  let order = Promise.resolve()
  let loose: Step[] = []
  let timer: NodeJS.Timeout | undefined

  /** A batch that could not be stored comes again. */
  function take(batch: { of: string; number: number; steps: string }) {
    inOrder(async () => {
      await boots.add({ ...batch, steps: JSON.parse(batch.steps) })
      stored(batch.of, batch.number)
    })
  }

  function seen(event: Event) {
    if (event.type !== 'http.blob') return
    const { digest, peer, bytes, time } = event as Event<'http.blob'>
    const owner = owners.of(String(peer))
    if (!owner || loose.length >= MOST_LOOSE) return
    const about = { time, mac: owner.mac as Mac, ...(owner.node && { node: owner.node as NodeName }) }
    loose.push({
      ...about,
      kind: 'blob',
      digest: digest as Digest,
      bytes: Number(bytes),
      peer: peer as Ipv4,
    })
    timer ??= setTimeout(flush, LOOSE_MS)
  }

  function flush() {
    clearTimeout(timer)
    timer = undefined
    const some = loose
    loose = []
    if (some.length > 0) inOrder(() => boots.addLoose(some))
  }

  function inOrder(work: () => Promise<void>) {
    order = order.then(work).catch(failed)
  }

  function close(): Promise<void> {
    flush()
    return order
  }
  return { take, seen, flush: () => order, close }
}

// Whether a DHCP server still answers, asked as firmware does: again, until there is an offer.
import { setTimeout as sleep } from 'node:timers/promises'

const TRIES = 40
const WAIT_MS = 500

/** Asks until its offer has come; false: it never came. `offers` holds the transactions that were answered. */
export async function isOffered(ask: () => void, offers: Set<number>, xid: number): Promise<boolean> {
  for (let tries = 0; tries < TRIES; tries++) {
    ask()
    for (let ms = 0; ms < WAIT_MS; ms += 2) {
      if (offers.delete(xid)) return true
      await sleep(ms < 20 ? 0 : 2)
    }
  }
  return false
}

// Appends leases until it is killed, and says which are on the disk. Arguments: path, number of the first.

import { openJournal } from '../../services/dhcp/journal.ts'
import { ipv4FromNumber, parseMac } from '../../src/address.ts'

const journal = await openJournal(process.argv[2]!, { live: () => [] })
for (let i = Number(process.argv[3]); ; i += 3) await Promise.all([i, i + 1, i + 2].map(append))

async function append(i: number) {
  const mac = parseMac(i.toString(16).padStart(12, '0'))
  await journal.append({ mac, address: ipv4FromNumber(0x0a000000 + i), state: 'bound', until: i })
  process.stdout.write(`${i}\n`)
}

import { spawn } from 'node:child_process'
import {
  appendFileSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openJournal, parseJournal } from '../../services/dhcp/journal.ts'
import { openLeases } from '../../services/dhcp/leases.ts'
import { parseIpv4, parseMac } from '../../src/address.ts'
import type { Lease } from '../../src/dhcp/leases.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sysclone-journal-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const lease = (n: number, more: Partial<Lease> = {}): Lease => ({
  mac: parseMac(`52:54:00:00:00:0${n}`),
  address: parseIpv4(`10.0.0.${n}`),
  state: 'bound',
  until: 1000 + n,
  ...more,
})

test('what was appended is there again, in its last state, and the file is compacted', async () => {
  const path = join(folder, 'again')
  const first = await openJournal(path, { live: () => [] })
  await Promise.all([lease(1), lease(2), lease(1, { state: 'released' })].map(first.append))
  await first.close()
  const before = statSync(path).size
  const second = await openJournal(path, { live: () => [] })
  expect(second).toMatchObject({ leases: [lease(2), lease(1, { state: 'released' })], dropped: 0 })
  await second.close()
  expect(statSync(path).size).toBeLessThan(before)
})

test('cut at any byte, all whole records are read and at most the last one is dropped', () => {
  const whole = '10.0.0.1 52:54:00:00:00:01 bound 1001\n10.0.0.2 52:54:00:00:00:02 declined 1002\n'
  const first = whole.indexOf('\n') + 1
  for (let length = 0; length <= whole.length; length++) {
    const { leases, dropped } = parseJournal(whole.slice(0, length))
    expect(leases.length).toBe(length === whole.length ? 2 : length >= first ? 1 : 0)
    expect(dropped).toBe([0, first, whole.length].includes(length) ? 0 : 1)
  }
})

test('a cut record is followed by good ones after the restart', async () => {
  const path = join(folder, 'cut')
  writeFileSync(path, '10.0.0.1 52:54:00:00:00:01 bound 1001\n10.0.0.2 52:54:00:00')
  const journal = await openJournal(path, { live: () => [] })
  await journal.append(lease(3))
  await journal.close()
  expect(journal.dropped).toBe(1)
  expect(parseJournal(readFileSync(path, 'latin1'))).toEqual({ leases: [lease(1), lease(3)], dropped: 0 })
})

test('a group of which the disk has written only a part: its torn records are dropped, whatever they look like', () => {
  const [first, last] = ['10.0.0.1 52:54:00:00:00:01 bound 1001\n', '10.0.0.4 52:54:00:00:00:04 bound 1004\n']
  const torn = '110.0.0.2 52:54:00:00:00:02 bound 1002\n10.0.0.3 52:54:00:00:00:03 bound 1003\n'
  for (let from = 1; from < torn.length; from++) {
    const head = parseJournal(`${first}${torn.slice(0, from).padEnd(torn.length, '\0')}${last}\0\0\0`)
    const tail = parseJournal(`${first}${torn.slice(from).padStart(torn.length, '\0')}${last}\0\0\0`)
    for (const { leases } of [head, tail]) {
      const whole = new Set(['10.0.0.1', '110.0.0.2', '10.0.0.3', '10.0.0.4'])
      expect(leases[0]).toEqual(lease(1))
      expect(leases.filter(({ address, until }) => !whole.has(address) || until < 1001)).toEqual([])
    }
  }
})

test('a record changes nothing of the file but bytes; a journal that is closed ends with its last record', async () => {
  const path = join(folder, 'ahead')
  const journal = await openJournal(path, { live: () => [], aheadBytes: 4096 })
  const sizes = new Set<number>()
  for (let round = 0; round < 200; round++) {
    await journal.append(lease(1, { until: 1000 + round }))
    sizes.add(statSync(path).size)
  }
  expect(sizes.size).toBeLessThanOrEqual(3) // of some 7,600 bytes
  await journal.close()
  const text = readFileSync(path, 'latin1')
  expect(text).not.toContain('\0')
  expect(parseJournal(text)).toEqual({ leases: [lease(1, { until: 1199 })], dropped: 0 })
})

/** The flags that the kernel has for our open files of that path. */
const openFlags = (path: string) =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    if (linkOf(`/proc/self/fd/${fd}`) !== path) return []
    const [, octal = ''] = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')) ?? []
    return [Number.parseInt(octal, 8)]
  })
const linkOf = (path: string) => {
  try {
    return readlinkSync(path)
  } catch {
    return undefined // the descriptor with which the folder was read
  }
}

// At the start, after it was written anew, and without room for that.
test('a write ends when it is on the disk: O_DSYNC on every file that the journal has open', async () => {
  const path = join(realpathSync(folder), 'synced')
  const flags = () => openFlags(path).map((each) => each & (constants.O_DSYNC | constants.O_WRONLY))
  const durable = [constants.O_DSYNC | constants.O_WRONLY]
  const journal = await openJournal(path, { live: () => [], compactBytes: 100 })
  expect(flags()).toEqual(durable)
  const { ino } = statSync(path)
  for (let round = 0; round < 4; round++) await journal.append(lease(1)) // the third makes it too long
  expect(statSync(path).ino).not.toBe(ino)
  expect(flags()).toEqual(durable)
  await journal.close()
  mkdirSync(`${path}.new/x`, { recursive: true })
  const again = await openJournal(path, { live: () => [] })
  expect(flags()).toEqual(durable)
  await again.close()
})

test('damaged lines are counted and cost no other record', async () => {
  const path = join(folder, 'damaged')
  writeFileSync(path, '10.0.0.1 52:54:00:00:00:01 bound 1001\n')
  appendFileSync(path, '\0\0\0\0\n10.0.0.999 52:54:00:00:00:02 bound 1\n10.0.0.3 x bound 1\n\n')
  appendFileSync(path, '10.0.0.4 52:54:00:00:00:04 bound 1004\n')
  const journal = await openJournal(path, { live: () => [] })
  expect(journal).toMatchObject({ leases: [lease(1), lease(4)], dropped: 3 })
  await journal.close()
})

test('killed -9 three times in the midst of writing: no record is lost that was said to be on the disk', async () => {
  const path = join(folder, 'killed')
  const said = new Set<number>()
  for (const from of [0, 100_000, 200_000]) await writeAndKill(path, from, said)
  const { leases, dropped } = parseJournal(readFileSync(path, 'latin1'))
  const kept = new Set(leases.map((l) => l.until))
  expect([...said].filter((n) => !kept.has(n))).toEqual([])
  expect(said.size).toBeGreaterThan(90)
  expect(dropped).toBeLessThanOrEqual(1)
})

async function writeAndKill(path: string, from: number, said: Set<number>) {
  const writer = spawn(process.execPath, [join(import.meta.dirname, 'journal-writer.ts'), path, String(from)])
  let count = 0
  for await (const line of createInterface({ input: writer.stdout })) {
    said.add(Number(line))
    if (++count === 50) writer.kill('SIGKILL')
  }
}

test('leases: holds are not written, all else is, and a machine keeps its address over a restart', async () => {
  const path = join(folder, 'leases')
  const { mac, address } = lease(1)
  const first = await openLeases(path, { now: () => 1000 })
  expect(first.take({ type: 'offer', mac, address, now: 1000 })).toBeUndefined()
  await first.take({ type: 'ack', mac, address, now: 1000, seconds: 10 })
  await first.close()
  const second = await openLeases(path, { now: () => 1000 })
  expect(second.list()).toEqual([{ mac, address, state: 'bound', until: 11_000 }])
  expect(second.macOf(address, 10_999)).toBe(mac)
  await second.close()
})

test('a journal that cannot be written says so to the one who waits', async () => {
  const journal = await openJournal(join(folder, 'closed'), { live: () => [] })
  await journal.close()
  await expect(journal.append(lease(1))).rejects.toThrow(/closed/)
})

test('it is written anew while it runs: its size is bounded, and every last record is there after a crash', async () => {
  const path = join(folder, 'bounded')
  const leases = await openLeases(path, { now: () => 1000, compactBytes: 4096 })
  const sizes: number[] = []
  for (let round = 0; round < 300; round++) {
    const taken = [1, 2, 3].map((n) => {
      const { mac, address } = lease(n)
      return leases.take({ type: 'ack', mac, address, now: 1000 + round, seconds: 10 })
    })
    await Promise.all(taken)
    sizes.push(readFileSync(path, 'latin1').replace(/\0+$/, '').length)
  }
  // Read as a crash would leave it: nothing was closed.
  expect(parseJournal(readFileSync(path, 'latin1')).leases.map((l) => l.until)).toEqual([
    11_299, 11_299, 11_299,
  ])
  expect(Math.max(...sizes)).toBeLessThan(3 * 4096)
  expect(statSync(path).size).toBeLessThan((256 << 10) + 3 * 4096)
  expect(sizes.filter((size, i) => size < sizes[i - 1]!).length).toBeGreaterThan(5)
  await leases.close()
})

test('records that say nothing any more are dropped: run out a month ago, quarantine over', async () => {
  const path = join(folder, 'old')
  const day = 86_400_000
  const now = 100 * day
  const lines = [
    [1, 'bound', now - 31 * day],
    [2, 'bound', now - 29 * day],
    [3, 'declined', now - 1],
    [4, 'declined', now + 1],
    [5, 'released', now - 31 * day],
  ].map(([n, state, until]) => `10.0.0.${n} 52:54:00:00:00:0${n} ${state} ${until}\n`)
  writeFileSync(path, lines.join(''))
  const leases = await openLeases(path, { now: () => now })
  expect(leases.list().map(({ address }) => address)).toEqual(['10.0.0.2', '10.0.0.4'])
  expect(readFileSync(path, 'latin1')).toBe(lines[1]! + lines[3]!)
  await leases.close()
})

test('while there is no room for a new file the old one goes on', async () => {
  const path = join(folder, 'stuck')
  const leases = await openLeases(path, { now: () => 1000, compactBytes: 100 })
  mkdirSync(`${path}.new/x`, { recursive: true }) // what rm without recursive can not take away
  const { mac, address } = lease(1)
  for (let round = 0; round < 20; round++)
    await leases.take({ type: 'ack', mac, address, now: 1000 + round, seconds: 10 })
  expect(parseJournal(readFileSync(path, 'latin1')).leases.map((l) => l.until)).toEqual([11_019])
  await leases.close()
})

test('at a start without room for a new file the old one goes on, behind a line that was cut', async () => {
  const path = join(folder, 'full')
  writeFileSync(path, '10.0.0.1 52:54:00:00:00:01 bound 1001\n10.0.0.2 52:54:00:00')
  mkdirSync(`${path}.new/x`, { recursive: true })
  const journal = await openJournal(path, { live: () => [] })
  expect(journal).toMatchObject({ leases: [lease(1)], dropped: 1 })
  await journal.append(lease(3))
  await journal.close()
  expect(parseJournal(readFileSync(path, 'latin1'))).toEqual({ leases: [lease(1), lease(3)], dropped: 1 })
})

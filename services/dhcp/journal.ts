// The lease journal: lines, one behind the other; all records that come while the disk is busy are one write, which ends
// when it is on the disk (O_DSYNC: one call, where write and fdatasync would be two). The file has zeros ahead of them, so
// that a record changes nothing but bytes: a file that grows waits for the file system's journal, and with it for whatever
// images are being written to the same disk. Memory is the truth; this is what a restart begins with.
import { constants, write as writeTo } from 'node:fs'
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isIpv4, type Mac } from '../../src/address.ts'
import type { Lease, LeaseState } from '../../src/dhcp/leases.ts'

/**
 * How long a group gathers records when the one before it had this many: then one write for more of them is worth a
 * pause, of which a client that waits whole seconds before it asks again notices nothing. A single client waits for its
 * own write alone.
 */
const busy = { records: 8, ms: 2 }

/** Zeros that are written at once: some 5000 records fit. */
const AHEAD_BYTES = 256 << 10

const { O_CREAT, O_DSYNC, O_WRONLY } = constants
const WRITE_DURABLY = O_WRONLY | O_CREAT | O_DSYNC

/** The file is written anew when it has grown by this much and is several times as long as it need be. */
const COMPACT_BYTES = 16 << 20
const COMPACT_FACTOR = 4
/** Leases in one piece of a new file: between two pieces machines are answered. */
const PIECE = 2000

type Options = {
  /** Which of the records that are read are still worth having. */
  keep?(lease: Lease): boolean
  /** What the file needs to have, for when it is written anew. */
  live(): Lease[]
  compactBytes?: number
  aheadBytes?: number
}

/** Reads and compacts the journal at `path`, then takes records. `dropped` counts lines that could not be read. */
export async function openJournal(
  path: string,
  { keep, live, compactBytes = COMPACT_BYTES, aheadBytes = AHEAD_BYTES }: Options,
) {
  const text = withoutZeros(await readIfThere(path))
  const { leases: read, dropped } = parseJournal(text)
  const leases = keep ? read.filter(keep) : read
  let { file, size, cut } = await replaceFile(path, leases).then(
    (replaced) => ({ ...replaced, cut: false }),
    (error) => goOn(path, text.length, error),
  )
  let ahead = size // the file has bytes up to here
  const limit = () => Math.max(size + compactBytes, COMPACT_FACTOR * size)
  let compactAt = limit()
  let group: { text: string; records: number; written: Promise<void> } | undefined
  let before = 0 // records of the last group
  let last: Promise<void> = Promise.resolve()
  let closed = false

  /** Resolves when the record is on the disk; rejects when it could not be written. */
  function append(lease: Lease): Promise<void> {
    if (closed) return Promise.reject(new Error('the lease journal is closed'))
    group ??= startGroup()
    group.text += serializeLease(lease)
    group.records += 1
    return group.written
  }
  function startGroup() {
    const fresh = { text: '', records: 0, written: Promise.resolve() }
    const pause = before < busy.records ? turn() : delay(busy.ms)
    // Records keep their order: a group waits for the one before it and takes in what comes meanwhile.
    fresh.written = Promise.all([last.catch(() => {}), pause]).then(() => {
      group = undefined
      before = fresh.records
      return write(fresh.text)
    })
    // Whoever waits for this group does not wait for the compaction behind it; the next group does.
    last = fresh.written.then(compactIfLong, () => {})
    return fresh
  }

  async function compactIfLong() {
    if (size < compactAt || closed) return
    try {
      const old = file
      ;({ file, size } = await replaceFile(path, live()))
      ahead = size
      compactAt = limit()
      await old.close()
    } catch {
      compactAt = limit() // no room: the old file goes on, and says so itself when it cannot grow either
    }
  }
  async function write(text: string) {
    // A failed write may have left half a line: the newline in front ends it, so that it costs no later record.
    const whole = Buffer.from(cut ? `\n${text}` : text, 'latin1')
    const at = size
    cut = true
    size += whole.length // when it fails too: what it has left behind stays as it is
    if (size > ahead) await writeZeros(at, whole.length + aheadBytes)
    await writeAll(file, whole, at)
    cut = false
  }
  async function writeZeros(from: number, bytes: number) {
    try {
      await writeAll(file, Buffer.alloc(bytes), from)
      ahead = from + bytes
    } catch {
      // no room: the file grows with each record, as long as it can
    }
  }

  async function close() {
    closed = true
    await last.catch(() => {})
    if (!cut) await file.truncate(size).catch(() => {})
    await file.close()
  }
  return { leases, dropped, append, close }
}
export type Journal = Awaited<ReturnType<typeof openJournal>>

/**
 * The last record of each address. A line without its newline was cut by a crash: its ACK never left. So was one with
 * zeros in it: the disk had written a part of its group.
 */
export function parseJournal(text: string): { leases: Lease[]; dropped: number } {
  const lines = withoutZeros(text).split('\n')
  const cut = lines.pop() !== ''
  const byAddress = new Map<string, Lease>()
  let dropped = cut ? 1 : 0
  for (const line of lines) {
    if (line === '') continue
    const lease = parseLease(line)
    if (!lease) dropped++
    else {
      byAddress.delete(lease.address) // the order is that of the last change
      byAddress.set(lease.address, lease)
    }
  }
  return { leases: [...byAddress.values()], dropped }
}

function withoutZeros(text: string): string {
  let length = text.length
  while (length > 0 && text.charCodeAt(length - 1) === 0) length--
  return text.slice(0, length)
}

// One record: `address mac state until`
const serializeLease = ({ address, mac, state, until }: Lease): string =>
  `${address} ${mac} ${state} ${until}\n`

const states: readonly string[] = ['bound', 'released', 'declined'] satisfies LeaseState[]

function parseLease(line: string): Lease | undefined {
  const [address = '', mac = '', state = '', until = '', ...more] = line.split(' ')
  if (!isIpv4(address) || !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) || more.length > 0) return undefined
  if (!states.includes(state) || !/^\d{1,15}$/.test(until)) return undefined
  return { address, mac: mac as Mac, state: state as LeaseState, until: Number(until) }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

/** The new file, open to go on at its end, or after a crash the old one; never a part. */
async function replaceFile(path: string, leases: Lease[]): Promise<{ file: FileHandle; size: number }> {
  const temporary = `${path}.new`
  await rm(temporary, { force: true })
  const file = await open(temporary, WRITE_DURABLY, 0o600)
  try {
    let size = 0
    for (let at = 0; at < leases.length; at += PIECE) {
      const text = leases
        .slice(at, at + PIECE)
        .map(serializeLease)
        .join('')
      await writeAll(file, Buffer.from(text, 'latin1'), size)
      size += text.length
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return { file, size }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Without room for a new file, as on a full disk, the old one goes on: nodes still boot. Its last line may be cut. */
async function goOn(path: string, size: number, why: unknown) {
  const file = await open(path, WRITE_DURABLY, 0o600).catch(() => Promise.reject(why))
  return { file, size, cut: true }
}

/** The new name is there already: what fails here must not send the next records to the file that has lost its name. */
async function syncFolder(path: string) {
  await using folder = await open(path, 'r')
  await folder.sync().catch(() => {})
}

/** The kernel may take a part, as when the disk becomes full. FileHandle's own way costs several times the CPU. */
async function writeAll({ fd }: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let done = 0
  while (done < bytes.length) done += await writeSome(fd, bytes, done, position + done)
}

const writeSome = (fd: number, bytes: Buffer, from: number, position: number) =>
  new Promise<number>((resolve, reject) => {
    const told = (error: unknown, count: number) => (error ? reject(error) : resolve(count))
    writeTo(fd, bytes, from, bytes.length - from, position, told)
  })

/** What came in with the same packets is taken along. */
const turn = () => new Promise<void>((done) => setImmediate(done))
const delay = (ms: number) => new Promise<void>((done) => setTimeout(done, ms))

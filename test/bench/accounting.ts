// What a server costs: CPU time and memory of a process and all of its descendants, those that ended included.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'

const TICKS_PER_SECOND = 100 // of /proc, on every Linux that Debian builds
/** Where cgroup 2 is: alone, or beside cgroup 1. */
const cgroupRoots = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified']

type Row = { pid: number; parent: number; ticks: number }

/** Counts a set-up's CPU: by a control group of its own, or by what /proc says, which forgets children that nobody awaits. */
export type Account = {
  /** The command that begins in the account. */
  enter(argv: string[]): string[]
  /** CPU seconds so far. */
  seconds(pid: number): number
  close(): void
}
let accounts = 0

export function openAccount(): Account {
  const root = cgroupRoots.find((folder) => existsSync(join(folder, 'cgroup.procs')))
  const folder = root && join(root, `sysclone-bench-${process.pid}-${accounts++}`)
  try {
    if (folder) mkdirSync(folder)
  } catch {
    return byProc
  }
  if (!folder) return byProc
  return {
    enter: (argv) => ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(folder, 'cgroup.procs'), ...argv],
    seconds: () => Number(/^usage_usec (\d+)$/m.exec(read(join(folder, 'cpu.stat')))?.[1]) / 1e6,
    close() {
      try {
        rmdirSync(folder)
      } catch {
        // something in it still runs; an empty group costs nothing
      }
    },
  }
}

const byProc: Account = {
  enter: (argv) => argv,
  seconds: (pid) => familyOf([pid]).reduce((sum, row) => sum + row.ticks, 0) / TICKS_PER_SECOND,
  close() {},
}

/** Memory that they hold now, in bytes: pages that several of them share count once. */
export function memoryOf(pids: number[]): number {
  return familyOf(pids).reduce((sum, row) => sum + proportionalBytes(row.pid), 0)
}

/** The most memory that is seen until it is stopped. */
export function watchMemory(pids: number[]) {
  let most = memoryOf(pids)
  const timer = setInterval(() => {
    most = Math.max(most, memoryOf(pids))
  }, 500)
  return {
    stop() {
      clearInterval(timer)
      return Math.max(most, memoryOf(pids))
    },
  }
}

function familyOf(pids: number[]): Row[] {
  const rows = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readRow(Number(name)) ?? [])
  const found = rows.filter((row) => pids.includes(row.pid))
  for (const row of found) found.push(...rows.filter((other) => other.parent === row.pid))
  return found
}

/** proc(5), stat: 4 is the parent, 14 and 15 its own time, 16 and 17 that of children it has waited for. */
function readRow(pid: number): Row | undefined {
  const text = read(`/proc/${pid}/stat`)
  // The second field is a name in parentheses that may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  if (fields.length < 20) return undefined
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0)
  return { pid, parent: Number(fields[1]), ticks }
}

function proportionalBytes(pid: number): number {
  const kib = /^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1]
  return Number(kib ?? 0) * 1024
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // it has just ended
  }
}

// What a server costs: CPU time and memory of a process and all of its descendants, those that ended included.
import { readdirSync, readFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100 // of /proc, on every Linux that Debian builds

type Row = { pid: number; parent: number; ticks: number }

/** CPU seconds so far of all processes of a set-up. */
export function cpuOf(pids: number[]): number {
  const ticks = familyOf(pids).reduce((sum, row) => sum + row.ticks, 0)
  return ticks / TICKS_PER_SECOND
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

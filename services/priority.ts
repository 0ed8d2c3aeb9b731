// Machines give up on a server that answers late, while captures, layers and hashes take as much of a CPU as there is.
import { readdirSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Nice, as setpriority(2) has it: before ordinary programs. */
const FIRST = -10

/** This process goes before others: all threads that it has, and those that they start. Without the right to it, it does not. */
export function goFirst() {
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      setPriority(Number(thread), FIRST) // Linux takes a thread's number as well
    } catch {
      // it has just ended, or we are not root
    }
  }
}

import { UserError } from '../src/fault.ts'
import type { Parent } from './process.ts'

/** Leases, and the unknown machines that wait, belong to the boot process: main asks for them by a number. */
export function askBoot<T>(parent: Parent, type: 'leases' | 'strangers') {
  const waiting = new Map<number, (answer: T) => void>()
  let last = 0
  function ask(): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    last += 1
    const number = last
    waiting.set(number, resolve)
    setTimeout(() => {
      if (!waiting.delete(number)) return
      const allowed = 'try again'
      reject(new UserError('the boot process does not answer', { what: type, allowed, status: 503 }))
    }, 3000)
    parent.send({ kind: 'send', to: 'boot', body: { type, ask: number } })
    return promise
  }
  function answer(number: number, given: T) {
    waiting.get(number)?.(given)
    waiting.delete(number)
  }
  return { ask, answer }
}

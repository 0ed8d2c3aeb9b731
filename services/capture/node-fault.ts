// Faults of a capture name its node, and say what tells most. Those of ssh name an sshd, which for a person is where the
// node is.
import { setTimeout as sleep } from 'node:timers/promises'
import { UserError } from '../../src/fault.ts'
import type { SshTarget } from '../remote/login.ts'

type Target = Pick<SshTarget, 'host' | 'port' | 'jump'> & { node: string }

/** `10.0.0.5:22: connection lost (WHY)` is `golden: connection lost (10.0.0.5:22: WHY)`; what names something else stays. */
export function faultOfNode(error: unknown, { node, host, port, jump }: Target): unknown {
  if (!(error instanceof UserError)) return error
  const { error: text, object, what, ...more } = error.fault
  const places = [{ host, port }, ...(jump ? [jump] : [])].map((each) => `${each.host}:${each.port}`)
  const isPlace = object !== undefined && places.includes(object)
  if (object !== undefined && !isPlace) return error
  return new UserError(text, {
    ...more,
    what: isPlace ? [object, what].filter(Boolean).join(': ') : what,
    object: node,
    status: error.status,
  })
}

/**
 * For `catch` beside a stream of a golden client: what its script, or the connection, ends with tells more than how a cut
 * stream looks. It is waited for a moment; when it is no fault the stream's own is thrown.
 */
export const preferSaid =
  (said: Promise<unknown>) =>
  async (error: unknown): Promise<never> => {
    await Promise.race([said, sleep(SAID_MS)])
    throw error
  }
const SAID_MS = 1000

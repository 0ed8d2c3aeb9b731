// Capabilities made from the server's key: the same bytes each time they are asked for, so rendering changes no state.
import { createHmac, timingSafeEqual } from 'node:crypto'

/**
 * The boot token of one attempt of one deployment, 64 hex digits. It stands on the kernel command line, so any machine
 * of the network can read it: a one-shot capability, not a secret.
 * @param key the server's key, 32 bytes
 */
export const bootToken = (key: Buffer, deployment: string, attempt: number): string =>
  hmac(key, `boot ${deployment} ${attempt}`)

/** What the node proves itself with after its start was accepted: `ID.ATTEMPT.HMAC`. Secret; bound to the nonce. */
export const sessionKey = (key: Buffer, deployment: string, attempt: number, nonce: string): string =>
  `${deployment}.${attempt}.${hmac(key, `session ${deployment} ${attempt} ${nonce}`)}`

/** The deployment that a session key names; not yet proof of anything. */
export const sessionDeployment = (session: string): string => session.split('.')[0] ?? ''

/** Compares without telling by its time how much was right. */
export function sameSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest('hex')

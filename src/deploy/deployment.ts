// A deployment: the one-shot, expiring intent "node N gets image version V", as step(state, event) -> [state, effect].
// Time comes with the event. What each state boots is decided in src/boot/policy.ts. A boot-only osimage installs nothing:
// its node goes from armed to booting and boots it, however often, until the next nodeset.
import type { Digest, ImageName, Ipv4, NodeName } from '../address.ts'

export type DeploymentState =
  | 'armed'
  | 'booting'
  | 'installing'
  | 'installed'
  | 'booted'
  | 'failed'
  | 'held'
  | 'expired'

export type Deployment = {
  id: string // 16 hex digits
  node: NodeName
  image: ImageName
  version?: number // absent: a boot-only osimage, which has none
  digest: Digest // of the version; of the kernel of a boot-only osimage
  state: DeploymentState
  attempt: number // from 1
  retries: number // how many further attempts are allowed
  armedAt: number // ms since 1970, as all times here
  expiresAt: number // while armed or booting; a boot-only osimage stays until the next nodeset
  heardAt: number // last sign of life from the node
  stateAt: number
  nonce?: string // that the running attempt is bound to
  boundTo?: Ipv4 // address that the nonce came from
  phase?: string
  percent?: number // of the whole install; never falls within an attempt
  bytes?: number
  seq?: number // of the last progress message
  reason?: string // of failed, held, expired
}

export type DeploymentEvent =
  | { type: 'text' } // a loader text that installs left the server
  | { type: 'firmware' } // a DISCOVER of the machine's own firmware: it was switched on or reset
  | { type: 'start'; nonce: string; peer: Ipv4 } // the ramdisk asks for its script
  | { type: 'refused'; reason: string } // this machine can't take this image; nothing was written
  | { type: 'progress'; seq: number; phase: string; percent: number; bytes: number }
  | { type: 'finish'; result: 'ok' | 'failed'; phase?: string; reason?: string }
  | { type: 'up' } // the clone was seen running from its own disk
  | { type: 'tick' }

/**
 * What the caller must do beside keeping the new state: let the request pass, or answer it with a refusal. `bound`:
 * another boot holds the token, which may be this very machine before a reset.
 */
export type Effect = { do: 'accept' } | { do: 'refuse'; why: string; bound?: true }

const minute = 60_000
export const limits = {
  armedMs: 24 * 60 * minute, // how long a nodeset waits for its machine
  silentMs: 15 * minute,
  comeUpMs: 20 * minute,
  newAttemptMs: 20_000, // a reset sooner after the last progress is the same boot's own chatter
} as const

const accept: Effect = { do: 'accept' }
const refuse = (why: string): Effect => ({ do: 'refuse', why })

/** A fresh deployment, armed at `now`. */
export function arm(
  intent: Pick<Deployment, 'id' | 'node' | 'image' | 'digest' | 'retries' | 'version'>,
  now: number,
): Deployment {
  const times = { armedAt: now, expiresAt: now + limits.armedMs, heardAt: now, stateAt: now }
  return { ...intent, ...times, state: 'armed', attempt: 1 }
}

/** The next state; the very same object when nothing changed. */
export function step(d: Deployment, event: DeploymentEvent, now: number): [Deployment, Effect] {
  switch (event.type) {
    case 'text':
      return [d.state === 'armed' ? enter(d, 'booting', now) : d, accept]
    case 'firmware':
      return [afterReset(d, now), accept]
    case 'start':
      return start(d, event.nonce, event.peer, now)
    case 'refused':
      return [isOpen(d) ? enter(d, 'failed', now, event.reason) : d, accept]
    case 'progress':
      return progress(d, event, now)
    case 'finish':
      return finish(d, event, now)
    case 'up':
      return [d.state === 'installed' ? enter(d, 'booted', now) : d, accept]
    case 'tick':
      return [afterTime(d, now), accept]
  }
}

/** Whether the machine may still be installed by this deployment. */
export const isOpen = (d: Deployment): boolean => ['armed', 'booting', 'installing'].includes(d.state)

function enter(d: Deployment, state: DeploymentState, now: number, reason?: string): Deployment {
  const { reason: _, ...rest } = d
  return { ...rest, state, stateAt: now, heardAt: now, ...(reason !== undefined && { reason }) }
}

function afterReset(d: Deployment, now: number): Deployment {
  if (d.state !== 'installing' || now - d.heardAt < limits.newAttemptMs) return d
  if (d.attempt > d.retries)
    return enter(d, 'held', now, `interrupted in ${d.phase ?? 'start'}, attempt ${d.attempt}`)
  const { nonce, boundTo, phase, percent, bytes, seq, ...rest } = d
  return { ...enter(rest, 'booting', now), attempt: d.attempt + 1, expiresAt: now + limits.armedMs }
}

const isBootOnly = ({ version }: Deployment) => version === undefined

function start(d: Deployment, nonce: string, peer: Ipv4, now: number): [Deployment, Effect] {
  if (isBootOnly(d)) return [d, refuse(`the osimage ${d.image} is boot-only: it installs nothing`)]
  if (d.nonce === nonce && d.state === 'installing') return [{ ...d, heardAt: now }, accept]
  if (d.state === 'armed' || d.state === 'booting')
    return [{ ...enter(d, 'installing', now), nonce, boundTo: peer, phase: 'start', percent: 0 }, accept]
  if (d.state === 'installing')
    return [d, { do: 'refuse', why: `the token is bound to ${d.boundTo}`, bound: true }]
  return [d, refuse(d.reason ?? `the deployment is ${d.state}`)]
}

function progress(
  d: Deployment,
  event: Extract<DeploymentEvent, { type: 'progress' }>,
  now: number,
): [Deployment, Effect] {
  if (d.state !== 'installing') return [d, refuse(`the deployment is ${d.state}`)]
  // An answer that was lost is asked again with its old number.
  if (event.seq <= (d.seq ?? 0)) return [{ ...d, heardAt: now }, accept]
  const { seq, phase, bytes } = event
  const percent = Math.max(d.percent ?? 0, event.percent)
  return [{ ...d, seq, phase, bytes, percent, heardAt: now }, accept]
}

function finish(
  d: Deployment,
  event: Extract<DeploymentEvent, { type: 'finish' }>,
  now: number,
): [Deployment, Effect] {
  const repeated = event.result === 'ok' ? ['installed', 'booted'] : ['failed']
  if (repeated.includes(d.state)) return [d, accept]
  if (d.state !== 'installing') return [d, refuse(`the deployment is ${d.state}`)]
  if (event.result === 'ok') return [{ ...enter(d, 'installed', now), percent: 100 }, accept]
  return [
    enter(d, 'failed', now, `${event.phase ?? d.phase ?? 'install'}: ${event.reason ?? 'no reason given'}`),
    accept,
  ]
}

function afterTime(d: Deployment, now: number): Deployment {
  const waiting = (d.state === 'armed' || d.state === 'booting') && !isBootOnly(d)
  if (waiting && now >= d.expiresAt) return enter(d, 'expired', now, 'the machine did not netboot in time')
  if (d.state === 'installing' && now - d.heardAt >= limits.silentMs)
    return enter(d, 'failed', now, `silent in ${d.phase ?? 'start'}`)
  if (d.state === 'installed' && now - d.stateAt >= limits.comeUpMs)
    return enter(d, 'failed', now, 'did not come up from its disk')
  return d
}

/** xCAT's `status` word of each state; armed leaves the node's status as it is. */
export const statusWord: Record<DeploymentState, string | undefined> = {
  armed: undefined,
  booting: 'netbooting',
  installing: 'installing',
  installed: 'installed',
  booted: 'booted',
  failed: 'failed',
  held: 'failed',
  expired: 'failed',
}

// A deployment: the one-shot, expiring intent "node N gets image version V", as step(state, event) -> [state, effects].
// Time is an event. What each state boots is decided in src/boot/policy.ts.
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
  version: number
  digest: Digest
  state: DeploymentState
  attempt: number // from 1
  retries: number // how many further attempts are allowed
  armedAt: number // ms since 1970, as all times here
  expiresAt: number // while armed or booting
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

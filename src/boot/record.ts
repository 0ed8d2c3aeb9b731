// What is kept of a boot: every request of one machine and what it was answered, step by step, and where the next step
// belongs. A boot begins when the machine's firmware asks for an address.
import type { Digest, Ipv4, Mac, NodeName } from '../address.ts'
import type { Client } from '../dhcp/client.ts'
import type { RequestType } from '../dhcp/request.ts'

/** What a name that was asked for stands for. */
export type Sent =
  | { what: 'text'; kind: string; text: string } // `kind` of the plan: install, local, hold ...
  | { what: 'loader'; file: string; digest?: Digest; bytes: number }
  | { what: 'blob'; digest: Digest; bytes: number }
  | { what: 'empty' }
  | { what: 'nothing' } // there is no such file

/** Packets are whole UDP payloads in base64; `time` is in milliseconds since 1970. */
export type StepBody =
  | {
      kind: 'dhcp'
      server: Ipv4 // our address in the network that heard it
      port: number // of ours: 67, or 4011
      type: RequestType
      client: Client['kind']
      request: string
      reply?: string // absent: nothing was sent
      answer: string // offer, ack, nak, ignore, release, decline
      why?: string
      address?: Ipv4
    }
  | { kind: 'file'; id: number; by: 'tftp' | 'http'; name: string; peer: Ipv4; sent: Sent }
  /** How far the file with that `id` was read: a client may stop early. */
  | { kind: 'end'; id: number; bytes: number }
  /** From the image port: kernel, ramdisk, layers. */
  | { kind: 'blob'; digest: Digest; bytes: number; peer: Ipv4 }
export type Step = { time: number; mac: Mac; node?: NodeName } & StepBody

/** What of a step, or of an event, says which boot it is part of. */
export type Turn = { time: number } & (
  | { kind: 'dhcp'; client: Client['kind']; type: RequestType }
  | { kind: 'file' | 'end' | 'blob' }
)

/** How far a boot has come: whose turn it was last, and whether it has loaded anything. */
export type Stage = 'firmware asks' | 'firmware loads' | 'ipxe asks' | 'ipxe loads'
export type BootState = { last: number; stage: Stage } // `last` is when its last step was

/** Firmware that gets no answer asks on and on: EDK2 goes through its list of devices in less than this. */
const RETRY_MS = 120_000
/** A ramdisk or a system that asks later than this has nothing to do with the netboot any more. */
const IDLE_MS = 900_000

const firmware = { asks: 'firmware asks', loads: 'firmware loads' } as const
const ipxe = { asks: 'ipxe asks', loads: 'ipxe loads' } as const

/** `undefined`: the step is part of no boot, as a system that renews its lease. */
export function placeStep(
  boot: BootState | undefined,
  step: Turn,
): { begins: boolean; boot: BootState } | undefined {
  const idle = boot ? step.time - boot.last : Number.POSITIVE_INFINITY
  const begin = (stage: Stage) => ({ begins: true, boot: { last: step.time, stage } })
  const goOn = (stage: Stage) => ({
    begins: false,
    boot: { last: Math.max(step.time, boot?.last ?? 0), stage },
  })
  if (step.kind === 'end') return boot && goOn(boot.stage)
  const running = boot && idle <= IDLE_MS ? boot : undefined
  if (step.kind !== 'dhcp') {
    const by = running?.stage.startsWith('ipxe') ? ipxe : firmware
    return running ? goOn(by.loads) : begin(firmware.loads)
  }
  if (step.client === 'os') return running && goOn(running.stage)
  const by = step.client === 'ipxe' ? ipxe : firmware
  if (!running) return begin(by.asks)
  if (step.type !== 'discover' && step.type !== 'bootp') return goOn(running.stage)
  const isRetry = running.stage === by.asks && idle <= RETRY_MS
  // An iPXE that the firmware has loaded asks in the firmware's boot; one that asks again was started anew.
  const isChained = by === ipxe && running.stage.startsWith('firmware')
  return isRetry || isChained ? goOn(by.asks) : begin(by.asks)
}

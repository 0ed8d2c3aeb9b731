// The two kinds of error that are expected. Everything else that is thrown is a bug.

/** Bytes from the network that are not what their RFC says. Caught in one place per service. */
export class WireError extends Error {
  override name = 'WireError'
}

/** What every part of the product tells a person about a fault; the shape is the same in the API and on the command line. */
export type Fault = { error: string; what: string; allowed?: string; object?: string }

/** A fault in what a person, a file or a machine gave us: says what was wrong and what is allowed. */
export class UserError extends Error {
  override name = 'UserError'
  readonly fault: Fault
  /** All of them, where one look finds several, as in a configuration file. */
  readonly faults: readonly Fault[]
  /** The HTTP status that the API answers with. */
  readonly status: number
  constructor(
    error: string,
    more: { what: string; allowed?: string; object?: string; status?: number },
    others: readonly Fault[] = [],
  ) {
    const { status = 400, ...rest } = more
    const fault = { error, ...rest }
    super([fault, ...others].map(renderFault).join('\n'))
    this.fault = fault
    this.faults = [fault, ...others]
    this.status = status
  }
}

/** `object: error (what; allowed)`, the one line that a person sees. */
export function renderFault({ object, error, what, allowed }: Fault): string {
  const detail = [what, allowed && `allowed: ${allowed}`].filter(Boolean).join('; ')
  return `${object ? `${object}: ` : ''}${error}${detail ? ` (${detail})` : ''}`
}

/** What the system says of a disk, by its code. */
const diskFaults: Record<string, Pick<Fault, 'error' | 'allowed'>> = {
  ENOSPC: { error: 'the disk is full', allowed: 'to make room on it' },
  EDQUOT: { error: 'the quota of the disk is used up', allowed: 'to make room on it' },
  EROFS: { error: 'the disk can not be written to', allowed: 'to mount it anew, writable' },
  EIO: { error: 'the disk has a fault', allowed: 'another disk' },
}

/** Whether a write failed because nothing more fits, or nothing more is allowed to. */
export const isDiskFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes((error as { code?: string } | undefined)?.code ?? '')

/** The fault of any thrown thing; a bug becomes `internal error` with its message. */
export function faultOf(error: unknown): Fault {
  if (error instanceof UserError) return error.fault
  const { code, path, dest, message } = error as {
    code?: string
    path?: string
    dest?: string
    message: string
  }
  const disk = error instanceof Error ? diskFaults[code ?? ''] : undefined
  if (disk) return { ...disk, what: dest ?? path ?? message }
  return { error: 'internal error', what: error instanceof Error ? error.message : String(error) }
}

/** Any thrown thing as plain data, for its way between threads, which keeps no classes. */
export type PackedError =
  | { kind: 'wire'; message: string }
  | { kind: 'user'; faults: readonly Fault[]; status: number }
  | { kind: 'other'; message: string; code?: string }

export function packError(error: unknown): PackedError {
  if (error instanceof WireError) return { kind: 'wire', message: error.message }
  if (error instanceof UserError) return { kind: 'user', faults: error.faults, status: error.status }
  const { code } = error as { code?: string }
  const message = error instanceof Error ? error.message : String(error)
  return { kind: 'other', message, ...(code !== undefined && { code }) }
}

export function unpackError(packed: PackedError): Error {
  if (packed.kind === 'wire') return new WireError(packed.message)
  if (packed.kind === 'other')
    return Object.assign(new Error(packed.message), packed.code !== undefined && { code: packed.code })
  const [{ error, ...more }, ...others] = packed.faults as [Fault, ...Fault[]]
  return new UserError(error, { ...more, status: packed.status }, others)
}

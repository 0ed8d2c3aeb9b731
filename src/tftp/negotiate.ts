// RFC 2347-2349, 7440: what of a client's wishes we take up. What is not taken up is left out of the OACK, never refused:
// a client must accept that, and firmware that gets ERROR 8 gives up.
import type { Options } from './packet.ts'

export type Agreement = {
  blockBytes: number
  window: number // blocks to an ACK
  timeoutMs?: number // between retransmissions, when the client asked for one
  reply: Options // the OACK; empty: there is none and the transfer starts with DATA 1
}

export const defaultBlockBytes = 512
/** More in a row only overflows the client's receive ring; RFC 7440 lets the server answer with less. */
export const mostWindow = 64

/** What of a block fits one frame: IPv4, UDP and TFTP headers are 32 bytes. */
export const blockRoom = (mtu: number): number => Math.min(65464, Math.max(512, mtu - 32))

/** `maxBlockBytes` keeps a block within one frame: reassembly of fragments is what ROMs are worst at. */
export function negotiate(asked: Options, file: { bytes: number; maxBlockBytes: number }): Agreement {
  const reply: Options = {}
  const blksize = number(asked.blksize, 8, 65464)
  if (blksize !== undefined) reply.blksize = String(Math.min(blksize, file.maxBlockBytes))
  if (number(asked.tsize, 0, Number.MAX_SAFE_INTEGER) !== undefined) reply.tsize = String(file.bytes)
  const timeout = number(asked.timeout, 1, 255)
  if (timeout !== undefined) reply.timeout = String(timeout)
  const window = number(asked.windowsize, 1, 65535)
  if (window !== undefined) reply.windowsize = String(Math.min(window, mostWindow))
  return {
    blockBytes: Number(reply.blksize ?? defaultBlockBytes),
    window: Number(reply.windowsize ?? 1),
    ...(timeout !== undefined && { timeoutMs: timeout * 1000 }),
    reply,
  }
}

function number(text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined || !/^\d{1,15}$/.test(text)) return undefined
  const n = Number(text)
  return n >= min && n <= max ? n : undefined
}

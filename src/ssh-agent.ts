// The agent protocol (draft-ietf-sshm-ssh-agent, sections 3 and 5), as far as it takes to lend out one key for signing.
import type { KeyObject } from 'node:crypto'
import { sign } from 'node:crypto'

const FAILURE = 5
const REQUEST_IDENTITIES = 11
const IDENTITIES_ANSWER = 12
const SIGN_REQUEST = 13
const SIGN_RESPONSE = 14
const RSA_SHA2_256 = 2 // flags of a request
const RSA_SHA2_512 = 4
const MAX_MESSAGE = 256 << 10

/** `blob`: the public key as it goes by the wire (RFC 4253, 6.6). */
export type AgentKey = { type: string; blob: Buffer; privateKey: KeyObject }

/** Messages, each behind its length; what comes in pieces is put together. Throws RangeError for one that is too long. */
export function splitMessages(): (chunk: Buffer) => Buffer[] {
  let pending = Buffer.alloc(0)
  return (chunk) => {
    pending = Buffer.concat([pending, chunk])
    const messages: Buffer[] = []
    while (pending.length >= 4) {
      const length = pending.readUInt32BE(0)
      if (length > MAX_MESSAGE) throw new RangeError(`agent: a message of ${length} bytes`)
      if (pending.length < 4 + length) break
      messages.push(pending.subarray(4, 4 + length))
      pending = pending.subarray(4 + length)
    }
    return messages
  }
}

/** What the agent says to a message, with its length. Whatever it does not know, and what is out of shape, is refused. */
export function answerAgent(message: Buffer, key: AgentKey): Buffer {
  const reply = message[0] === REQUEST_IDENTITIES ? identities(key) : signature(message, key)
  return string(reply ?? Buffer.from([FAILURE]))
}

const identities = ({ blob }: AgentKey) =>
  Buffer.concat([Buffer.from([IDENTITIES_ANSWER]), uint32(1), string(blob), string(Buffer.from('sysclone'))])

/** byte 13, string key, string data, uint32 flags. */
function signature(message: Buffer, key: AgentKey): Buffer | undefined {
  if (message[0] !== SIGN_REQUEST) return undefined
  const asked = stringAt(message, 1)
  const data = asked && stringAt(message, 5 + asked.length)
  const flagsAt = asked && data ? 9 + asked.length + data.length : message.length
  if (!asked?.equals(key.blob) || !data || message.length < flagsAt + 4) return undefined
  const made = signed(key, data, message.readUInt32BE(flagsAt))
  return (
    made &&
    Buffer.concat([
      Buffer.from([SIGN_RESPONSE]),
      string(Buffer.concat([string(Buffer.from(made.type)), string(made.bytes)])),
    ])
  )
}

// RFC 5656, 6.2.1: the hash goes by the size of the curve.
const curveHashes: Record<string, string> = {
  'ecdsa-sha2-nistp256': 'sha256',
  'ecdsa-sha2-nistp384': 'sha384',
  'ecdsa-sha2-nistp521': 'sha512',
}

/** RFC 8709 (Ed25519), 8332 (RSA), 5656 (ECDSA). Without a flag an RSA key would sign with SHA-1: it does not. */
function signed({ type, privateKey }: AgentKey, data: Buffer, flags: number) {
  if (type === 'ssh-ed25519') return { type, bytes: sign(null, data, privateKey) }
  if (type === 'ssh-rsa') {
    const hash = flags & RSA_SHA2_512 ? 'sha512' : flags & RSA_SHA2_256 ? 'sha256' : undefined
    return (
      hash && {
        type: `rsa-sha2-${hash.slice(3)}`,
        bytes: sign(hash, data, privateKey),
      }
    )
  }
  const hash = curveHashes[type]
  if (hash === undefined) return undefined
  const pair = sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  const half = pair.length / 2
  return { type, bytes: Buffer.concat([mpint(pair.subarray(0, half)), mpint(pair.subarray(half))]) }
}

function stringAt(bytes: Buffer, at: number): Buffer | undefined {
  if (at + 4 > bytes.length) return undefined
  const length = bytes.readUInt32BE(at)
  return at + 4 + length > bytes.length ? undefined : bytes.subarray(at + 4, at + 4 + length)
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const string = (bytes: Buffer): Buffer => Buffer.concat([uint32(bytes.length), bytes])

/** A positive number: without leading zeros, but with one where its first bit is set (RFC 4251, 5). */
function mpint(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0)
  const short = first < 0 ? Buffer.alloc(0) : bytes.subarray(first)
  return string(short[0]! & 0x80 ? Buffer.concat([Buffer.from([0]), short]) : short)
}

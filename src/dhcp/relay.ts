// RFC 3046: what a relay says of a client. Option 82 is a list of | code 1 | length 1 | value |. It is sent back byte
// for byte; only two of its values mean something to us.
import { type Ipv4, ipv4FromNumber } from '../address.ts'
import type { Options } from './options.ts'

export type RelayInfo = {
  /** RFC 3527: the subnet of the client, where it is not that of giaddr. */
  linkSelection?: Ipv4
  /** RFC 5107: the client is to take the relay for its server, so that it renews through it. */
  serverIdOverride?: Ipv4
}

const names = new Map<number, keyof RelayInfo>([
  [5, 'linkSelection'],
  [11, 'serverIdOverride'],
])

/** A value that is cut or of a wrong size is the relay's affair: what stands before it still counts. */
export function relayInfoOf({ relayInfo }: Options): RelayInfo {
  const info: RelayInfo = {}
  if (!relayInfo) return info
  for (let at = 0; at + 2 <= relayInfo.length; ) {
    const [code, length] = [relayInfo[at]!, relayInfo[at + 1]!]
    const value = relayInfo.subarray(at + 2, at + 2 + length)
    const name = names.get(code)
    if (name && length === 4 && value.length === 4) info[name] = ipv4FromNumber(value.readUInt32BE())
    at += 2 + length
  }
  return info
}

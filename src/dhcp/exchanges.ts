// The DHCP in a capture: each request with the replies that it got.
import { type Ipv4, type Mac, macFromBytes } from '../address.ts'
import type { Datagram } from '../pcap.ts'

export type CapturedExchange = {
  frame: number
  time: number // ms since 1970
  mac: Mac // of chaddr
  port: 67 | 4011 // of the server
  server?: Ipv4 // whom the request was sent to, when it was not broadcast
  request: Buffer
  replies: { frame: number; from: Ipv4; bytes: Buffer }[]
}

const BOOTP_MIN = 240 // header and cookie
const COOKIE = 0x63825363
/** A reply belongs to the newest request of that transaction; one this late to none. */
const REPLY_MS = 60_000

/** In the order of the requests; replies without their request are left out. */
export function exchangesIn(datagrams: readonly Datagram[]): CapturedExchange[] {
  const exchanges: CapturedExchange[] = []
  const open = new Map<string, CapturedExchange[]>()
  for (const { frame, time, from, to, payload } of datagrams) {
    if (payload.length < BOOTP_MIN || payload.readUInt32BE(236) !== COOKIE) continue
    const key = keyOf(payload)
    if (payload[0] === 1 && (to.port === 67 || to.port === 4011)) {
      const before = open.get(key)
      const twin = before?.find((each) => each.port === to.port && isSame(each, payload, time))
      if (twin) {
        // On the server's side of the relay it is what the server saw.
        if (isRelayed(payload)) twin.request = payload
        continue
      }
      const server = to.address.endsWith('255') ? {} : { server: to.address }
      const fresh: CapturedExchange = {
        ...{ frame, time, mac: macFromBytes(payload.subarray(28)), port: to.port, ...server },
        ...{ request: payload, replies: [] },
      }
      exchanges.push(fresh)
      if (before) before.push(fresh)
      else open.set(key, [fresh])
    }
    if (payload[0] === 2) {
      const asked = open.get(key)?.findLast((each) => time - each.time < REPLY_MS && answers(payload, each))
      const isKnown = asked?.replies.some(({ bytes }) => bytes.equals(payload))
      if (asked && !isKnown) asked.replies.push({ frame, from: from.address, bytes: payload })
    }
  }
  return exchanges
}

const isRelayed = (packet: Buffer) => packet.readUInt32BE(24) !== 0

/** One request seen twice: on both sides of a relay, or on two ports of a bridge. */
const isSame = (each: CapturedExchange, payload: Buffer, time: number) =>
  time - each.time < 1000 &&
  typeOf(each.request) === typeOf(payload) &&
  (each.request.equals(payload) || isRelayed(each.request) !== isRelayed(payload))

const keyOf = (packet: Buffer) => `${packet.toString('hex', 4, 8)} ${packet.toString('hex', 28, 44)}`

/** An OFFER answers a DISCOVER, an ACK or NAK a REQUEST or INFORM, and everything BOOTP. */
function answers(reply: Buffer, { request }: CapturedExchange): boolean {
  const [asked, answer] = [typeOf(request), typeOf(reply)]
  if (asked === undefined || answer === undefined) return true
  return answer === 2 ? asked === 1 : asked === 3 || asked === 8
}

/** Option 53, wherever it stands. */
function typeOf(packet: Buffer): number | undefined {
  for (let at = BOOTP_MIN; at + 2 < packet.length && packet[at] !== 255; ) {
    if (packet[at] === 53) return packet[at + 2]
    at += packet[at] === 0 ? 1 : 2 + packet[at + 1]!
  }
  return undefined
}

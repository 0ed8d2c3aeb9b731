import { expect, test } from 'vitest'
import { makeLine, messageTypeOf } from '../../src/dhcp/line.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { capture, captureNames } from './captures.ts'

const types = { discover: 1, request: 3, release: 7 }
/** Of machine `mac`, in its exchange `xid`; `words` tells repetitions apart. */
function packet(type: keyof typeof types, mac: number, { xid = mac, words = 0, relay = 0, socket = 0 } = {}) {
  const bytes = Buffer.alloc(300)
  bytes.writeUInt32BE(xid, 4)
  bytes.writeUInt32BE(relay, 24)
  bytes[33] = mac
  bytes.set([12, 1, words, 0, 53, 1, types[type], 255], 240)
  return { bytes, socket, name: `${type} ${mac}${words ? ` again ${words}` : ''}` }
}
type Item = ReturnType<typeof packet>

function inOrder(items: Item[], mostBytes = 1 << 20): string[] {
  const line = makeLine<Item>({ mostBytes })
  for (const item of items) line.add(item)
  const order: string[] = []
  for (let item = line.take(); item; item = line.take()) order.push(item.name)
  expect(line.waitingBytes()).toBe(0)
  return order
}

const rows: [what: string, came: Item[], answered: string[]][] = [
  [
    'who asks again keeps its place and is answered once, by its newest words',
    [packet('discover', 1), packet('discover', 2), packet('discover', 1, { words: 1 })],
    ['discover 1 again 1', 'discover 2'],
  ],
  [
    'an exchange that has begun is ended first',
    [packet('discover', 1), packet('discover', 2), packet('request', 3)],
    ['request 3', 'discover 1', 'discover 2'],
  ],
  [
    'who has chosen an offer waits for no other',
    [packet('discover', 1), packet('request', 1), packet('discover', 2)],
    ['request 1', 'discover 2'],
  ],
  [
    'a request that is sent again is answered once',
    [packet('request', 1), packet('request', 2), packet('request', 1, { words: 1 })],
    ['request 1 again 1', 'request 2'],
  ],
  [
    'another exchange of the same machine is another one, and so is the same by another way',
    [
      packet('discover', 1),
      packet('discover', 1, { xid: 9, words: 1 }),
      packet('discover', 1, { relay: 7, words: 2 }),
      packet('discover', 1, { socket: 1, words: 3 }),
    ],
    ['discover 1', 'discover 1 again 1', 'discover 1 again 2', 'discover 1 again 3'],
  ],
  [
    'what gives an address back is never left out',
    [packet('release', 1), packet('release', 1, { words: 1 }), packet('request', 1)],
    ['release 1', 'release 1 again 1', 'request 1'],
  ],
  [
    'requests without end do not keep others from beginning',
    [packet('discover', 1), ...[2, 3, 4, 5, 6].map((mac) => packet('request', mac))],
    ['request 2', 'request 3', 'request 4', 'discover 1', 'request 5', 'request 6'],
  ],
]
for (const [what, came, answered] of rows)
  test(what, () => {
    expect(inOrder(came)).toEqual(answered)
  })

test('what waits is bounded; there is room again when something was taken', () => {
  const line = makeLine<Item>({ mostBytes: 700 })
  for (const mac of [1, 2, 3]) line.add(packet('discover', mac))
  line.add(packet('discover', 2, { words: 1 })) // has its place already
  expect(line.take()?.name).toBe('discover 1')
  line.add(packet('request', 4))
  expect([line.take(), line.take(), line.take()].map((item) => item?.name)).toEqual([
    'request 4',
    'discover 2 again 1',
    undefined,
  ])
})

for (const name of captureNames)
  test(`${name}: its message type is found without reading all of it, and a cut packet is no fault`, () => {
    const bytes = capture(name)
    expect(messageTypeOf(bytes)).toBe(parsePacket(bytes).options.get(53)?.[0])
    for (let length = 0; length < bytes.length; length++) messageTypeOf(bytes.subarray(0, length))
  })

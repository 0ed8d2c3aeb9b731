import { expect, test } from 'vitest'
import { makeLine, messageTypeOf } from '../../src/dhcp/line.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { capture, captureNames } from './captures.ts'

const types = { discover: 1, request: 3, release: 7 }
/** Of machine `mac`, in its exchange `xid`; `words` tells repetitions apart. */
function packet(
  type: keyof typeof types,
  mac: number,
  { xid = mac, words = 0, relay = 0, socket = 0, isNode = true } = {},
) {
  const bytes = Buffer.alloc(300)
  bytes.set([1, 1, 6])
  bytes.writeUInt32BE(xid, 4)
  bytes.writeUInt32BE(relay, 24)
  bytes[33] = mac
  bytes.set([12, 1, words, 0, 53, 1, types[type], 255], 240)
  return { bytes, socket, isNode, name: `${type} ${mac}${words ? ` again ${words}` : ''}` }
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
    'one machine has one place, whatever exchanges and relays are made up for it; another way in is another place',
    [
      packet('discover', 1),
      packet('discover', 1, { xid: 9, words: 1 }),
      packet('discover', 1, { relay: 7, words: 2 }),
      packet('discover', 1, { socket: 1, words: 3 }),
      packet('release', 1),
      packet('release', 1, { xid: 9, words: 1 }),
    ],
    ['discover 1 again 3', 'release 1 again 1', 'discover 1 again 2'],
  ],
  [
    'the ways in take turns',
    [...[1, 2, 3].map((mac) => packet('request', mac)), packet('discover', 4, { socket: 1 })],
    ['discover 4', 'request 1', 'request 2', 'request 3'],
  ],
  [
    'nodes come first, and machines that nobody defined are not forgotten',
    [
      ...[10, 11, 12].map((mac) => packet('request', mac, { isNode: false })),
      ...[1, 2, 3, 4].map((mac) => packet('discover', mac)),
    ],
    ['discover 1', 'discover 2', 'discover 3', 'request 10', 'discover 4', 'request 11', 'request 12'],
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

test('made-up machines leave room for nodes, and what comes by one way leaves room for another one', () => {
  const line = makeLine<Item>({ mostBytes: 64 * 300 })
  for (let mac = 1; mac < 100; mac++) line.add(packet('discover', mac, { isNode: false }))
  expect(line.waitingBytes()).toBe(32 * 300)
  for (let mac = 1; mac < 100; mac++) line.add(packet('discover', mac))
  expect(line.waitingBytes()).toBe(64 * 300)
  line.add(packet('discover', 101, { socket: 1, isNode: false }))
  line.add(packet('discover', 102, { socket: 1 }))
  line.add(packet('discover', 103, { socket: 1 }))
  expect(line.waitingBytes()).toBe(66 * 300)
})

test('InfiniBand has no hardware address there: its machines are told apart by their exchanges', () => {
  const ports = [1, 2].map((xid) => packet('discover', 0, { xid, words: xid, isNode: false }))
  for (const { bytes } of ports) bytes.set([1, 32, 0])
  expect(inOrder(ports)).toEqual(['discover 0 again 1', 'discover 0 again 2'])
})

for (const name of captureNames)
  test(`${name}: its message type is found without reading all of it, and a cut packet is no fault`, () => {
    const bytes = capture(name)
    expect(messageTypeOf(bytes)).toBe(parsePacket(bytes).options.get(53)?.[0])
    for (let length = 0; length < bytes.length; length++) messageTypeOf(bytes.subarray(0, length))
  })

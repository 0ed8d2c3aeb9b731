// Requests that wait while more come in than can be answered: a rack that starts, or somebody who floods us. A machine that
// has asked again is answered once, in its first place and by its newest words, so nobody waits for longer than it takes to
// answer each machine once. The interfaces take turns; nodes are answered before machines that nobody defined; exchanges that
// have begun are ended before others are begun, so that nobody who was offered an address must ask for it again.

/** Read before anything is parsed; undefined where there is none, as in BOOTP and in what is no DHCP. */
export function messageTypeOf(bytes: Uint8Array): number | undefined {
  for (let at = OPTIONS; at + 2 < bytes.length; ) {
    const code = bytes[at]!
    if (code === MESSAGE_TYPE) return bytes[at + 2]
    if (code === END) return undefined
    at += code === PAD ? 1 : 2 + bytes[at + 1]!
  }
  return undefined
}
const OPTIONS = 240
const [PAD, MESSAGE_TYPE, END] = [0, 53, 255]
const [DISCOVER, REQUEST] = [1, 3]

/** Of so many requests that are taken one after the other, one at least is of those that otherwise come last. */
const TURNS = 4
/** What every way in has for itself, however much waits elsewhere: this part of the whole. */
const RESERVED = 1 / 64
/** Machines that nobody defined hold at most this part: their number has no end. */
const OF_OTHERS = 1 / 2

/** `socket`: a number for where it came in. `isNode`: it is, or says it is, a machine that somebody defined. */
type Item = { bytes: Buffer; socket: number; isNode: boolean }
type Key = number | string
type Place<T> = { item: T | undefined; key: Key }
/** The nodes that ask by one way, or all others that do. */
type Lane<T> = {
  places: Map<Key, Place<T>>
  begun: Queue<Place<T>>
  fresh: Queue<Place<T>>
  bytes: number
  isOfNodes: boolean
  taken: number
}
type Way<T> = { nodes: Lane<T>; others: Lane<T>; taken: number }

/** `mostBytes`: what comes when so much waits is lost, as it would be in a full socket. */
export function makeLine<T extends Item>({ mostBytes }: { mostBytes: number }) {
  const ways = new Map<number, Way<T>>()
  let inTurn: Way<T>[] = []
  let last = 0
  const waiting = { bytes: 0, ofOthers: 0 }

  function add(item: T) {
    const { bytes } = item
    const way = wayOf(item.socket)
    const lane = item.isNode ? way.nodes : way.others
    const type = messageTypeOf(bytes) ?? 0
    const key = keyOf(bytes, type)
    const place = lane.places.get(key)
    if (place?.item) {
      count(lane, bytes.length - place.item.bytes.length)
      place.item = item
    } else if (!enter({ item, key }, lane, type === DISCOVER ? lane.fresh : lane.begun)) return
    if (type === REQUEST) leave(lane, keyOf(bytes, DISCOVER))
  }

  function wayOf(socket: number): Way<T> {
    const known = ways.get(socket)
    if (known) return known
    const way = { nodes: makeLane<T>(true), others: makeLane<T>(false), taken: 0 }
    ways.set(socket, way)
    inTurn = [...ways.values()]
    return way
  }

  function enter(place: Place<T>, lane: Lane<T>, queue: Queue<Place<T>>): boolean {
    const { length } = place.item!.bytes
    if (!hasRoom(lane, length)) return false
    count(lane, length)
    queue.push(place)
    lane.places.set(place.key, place)
    return true
  }

  function hasRoom(lane: Lane<T>, length: number): boolean {
    if (lane.bytes + length <= mostBytes * RESERVED) return true
    if (waiting.bytes + length > mostBytes) return false
    return lane.isOfNodes || waiting.ofOthers + length <= mostBytes * OF_OTHERS
  }

  function count(lane: Lane<T>, length: number) {
    lane.bytes += length
    waiting.bytes += length
    if (!lane.isOfNodes) waiting.ofOthers += length
  }

  /** The client has chosen an offer: it does not wait for another one. */
  function leave(lane: Lane<T>, key: Key) {
    const place = lane.places.get(key)
    if (place) release(lane, place)
  }

  function release(lane: Lane<T>, place: Place<T>): T {
    const item = place.item!
    lane.places.delete(place.key)
    count(lane, -item.bytes.length)
    place.item = undefined
    return item
  }

  /** From every way in turn. */
  function take(): T | undefined {
    for (let i = 0; i < inTurn.length; i++) {
      last = (last + 1) % inTurn.length
      const item = takeOfWay(inTurn[last]!)
      if (item) return item
    }
    return undefined
  }

  function takeOfWay(way: Way<T>): T | undefined {
    const turn = ++way.taken % TURNS === 0
    const { nodes, others } = way
    return takeOfLane(turn ? others : nodes) ?? takeOfLane(turn ? nodes : others)
  }

  function takeOfLane(lane: Lane<T>): T | undefined {
    const turn = ++lane.taken % TURNS === 0
    const { begun, fresh } = lane
    return takeOf(lane, turn ? fresh : begun) ?? takeOf(lane, turn ? begun : fresh)
  }

  function takeOf(lane: Lane<T>, queue: Queue<Place<T>>): T | undefined {
    for (let place = queue.shift(); place; place = queue.shift()) if (place.item) return release(lane, place)
    return undefined
  }

  return { add, take, waitingBytes: () => waiting.bytes }
}
export type Line<T extends Item> = ReturnType<typeof makeLine<T>>

const makeLane = <T>(isOfNodes: boolean): Lane<T> => ({
  ...{ places: new Map(), begun: makeQueue(), fresh: makeQueue(), bytes: 0, isOfNodes, taken: 0 },
})

/**
 * The machine and what it asks for. Not its transaction or relay: one sender could make up as many as it likes for every
 * machine. Only where the header does not tell the machine (InfiniBand) the transaction stands for it.
 */
function keyOf(bytes: Buffer, type: number): Key {
  if (bytes.length < 44) return 'short'
  if (isEthernet(bytes)) return bytes.readUIntBE(28, 6) * 16 + (type & 15)
  return `${type} ${bytes.toString('latin1', 4, 8)}${bytes.toString('latin1', 28, 44)}`
}
const isEthernet = (bytes: Buffer): boolean => bytes[1] === 1 && bytes[2] === 6

type Queue<T> = ReturnType<typeof makeQueue<T>>

/** `shift` of an array moves all that are behind. */
function makeQueue<T>() {
  let items: T[] = []
  let head = 0
  return {
    push: (item: T) => void items.push(item),
    shift(): T | undefined {
      if (head === items.length) return undefined
      const item = items[head++]
      if (head > 1000 && head * 2 > items.length) {
        items = items.slice(head)
        head = 0
      }
      return item
    },
  }
}

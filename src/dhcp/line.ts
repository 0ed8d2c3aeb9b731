// Requests that wait while more come in than can be answered: a rack that starts. A client that has asked again is answered
// once, in its first place and by its newest words; exchanges that have begun are ended before others are begun, so that
// nobody who was offered an address must ask for it again.

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

/** Of so many requests that are taken one after the other, one at least begins an exchange when any waits for that. */
const TURNS = 4

/** `socket`: a number for where it came in. */
type Item = { bytes: Buffer; socket: number }
type Place<T> = { item: T | undefined; key: string }

/** `mostBytes`: what comes when so much waits is lost, as it would be in a full socket. */
export function makeLine<T extends Item>({ mostBytes }: { mostBytes: number }) {
  const begun = makeQueue<Place<T>>()
  const fresh = makeQueue<Place<T>>()
  /** Where a client waits with an exchange, by what it asks for. */
  const discovers = new Map<string, Place<T>>()
  const requests = new Map<string, Place<T>>()
  let waitingBytes = 0
  let taken = 0

  function add(item: T) {
    const type = messageTypeOf(item.bytes)
    if (type === DISCOVER) return join(item, discovers, fresh)
    if (type !== REQUEST) return enter({ item, key: '' }, begun)
    const key = join(item, requests, begun)
    if (key !== undefined) leave(key)
  }

  /** The key, unless there was no room. */
  function join(item: T, places: Map<string, Place<T>>, queue: Queue<Place<T>>): string | undefined {
    const key = keyOf(item)
    const place = places.get(key)
    if (!place) {
      const made = { item, key }
      if (!enter(made, queue)) return undefined
      places.set(key, made)
      return key
    }
    waitingBytes += item.bytes.length - place.item!.bytes.length
    place.item = item
    return key
  }

  function enter(place: Place<T>, queue: Queue<Place<T>>): boolean {
    const { length } = place.item!.bytes
    if (waitingBytes + length > mostBytes) return false
    waitingBytes += length
    queue.push(place)
    return true
  }

  /** The client has chosen an offer: it does not wait for another one. */
  function leave(key: string) {
    const place = discovers.get(key)
    if (!place) return
    discovers.delete(key)
    waitingBytes -= place.item!.bytes.length
    place.item = undefined
  }

  function take(): T | undefined {
    const turn = ++taken % TURNS === 0
    return takeOf(turn ? fresh : begun) ?? takeOf(turn ? begun : fresh)
  }

  function takeOf(queue: Queue<Place<T>>): T | undefined {
    for (let place = queue.shift(); place; place = queue.shift()) {
      const { item, key } = place
      if (!item) continue
      ;(queue === fresh ? discovers : requests).delete(key)
      waitingBytes -= item.bytes.length
      return item
    }
    return undefined
  }

  return { add, take, waitingBytes: () => waitingBytes }
}
export type Line<T extends Item> = ReturnType<typeof makeLine<T>>

/** Transaction, relay and hardware address. */
const keyOf = ({ bytes, socket }: Item) =>
  `${socket}${bytes.toString('latin1', 4, 8)}${bytes.toString('latin1', 24, 44)}`

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

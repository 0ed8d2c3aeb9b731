import fc from 'fast-check'
import { expect, test } from 'vitest'
import { makeQueue, type Place, usualLimits } from '../../services/tftp/queue.ts'

const limits = { perClient: 2, total: 3, waiting: 10, patienceMs: 100 }

function open(more: Partial<typeof limits> = {}) {
  let time = 0
  const queue = makeQueue({ ...limits, ...more }, () => time)
  const running = new Map<string, Place>()
  const ended: string[] = []
  /** `name` begins with its client: 'a1' is the first transfer of a. */
  const enter = (name: string) =>
    queue.enter(name[0]!, (place) => {
      running.set(name, place)
      return () => leave(name)
    })
  function leave(name: string) {
    const place = running.get(name)!
    running.delete(name)
    ended.push(name)
    place.leave()
  }
  const pass = (ms: number) => {
    time += ms
    queue.review()
  }
  return {
    enter,
    leave,
    pass,
    ended,
    names: () => [...running.keys()],
    settle: (n: string) => running.get(n)!.settle(),
  }
}

test('so many per client, so many in all; the rest waits in order of arrival', () => {
  const { enter, leave, names } = open()
  for (const name of ['a1', 'a2', 'a3', 'b1', 'c1', 'd1']) expect(enter(name)).toBe(true)
  expect(names()).toEqual(['a1', 'a2', 'b1'])
  leave('b1')
  expect(names()).toEqual(['a1', 'a2', 'c1']) // a3 is still beyond what a may have
  leave('a1')
  expect(names()).toEqual(['a2', 'c1', 'a3'])
})

test('usually: four transfers of one client, 2000 in all', () => {
  const { enter, leave, names } = open(usualLimits)
  const started = (name: string) => enter(name) && names().includes(name)
  const clients = Array.from({ length: 501 }, (_, n) => String.fromCodePoint(0x4e00 + n))
  const [first, last] = [clients[0]!, clients[500]!]
  for (const client of clients.slice(0, 500))
    for (const n of [1, 2, 3, 4]) expect(started(`${client}${n}`)).toBe(true)
  leave(`${first}1`)
  expect(started(`${last}1`)).toBe(true) // there is a place again
  expect(started(`${last}2`)).toBe(false)
  leave(`${first}2`)
  expect(names()).toContain(`${last}2`)
  for (const n of [3, 4]) leave(`${first}${n}`)
  for (const n of [3, 4]) expect(started(`${last}${n}`)).toBe(true)
  leave(`${clients[1]}1`)
  expect(started(`${last}5`)).toBe(false) // a place is free, and it has four
})

test('no room to wait either: refused; one client does not fill the room', () => {
  const { enter } = open({ waiting: 12 })
  for (let n = 0; n < 10; n++) expect(enter('a')).toBe(true) // two run, eight wait
  expect(enter('a')).toBe(false)
  for (const name of ['b', 'c', 'd', 'e', 'f']) expect(enter(name)).toBe(true)
  expect(enter('g')).toBe(false)
})

test('who never answered gives way when places are short, and not before its time', () => {
  const { enter, pass, names, settle, ended } = open()
  for (const name of ['a1', 'b1', 'c1']) enter(name)
  settle('b1')
  enter('d1')
  pass(99)
  expect(names()).toEqual(['a1', 'b1', 'c1'])
  pass(1)
  expect(names()).toEqual(['b1', 'c1', 'd1'])
  expect(ended).toEqual(['a1'])
  pass(1000) // nobody waits: nobody is ended
  expect(names()).toEqual(['b1', 'c1', 'd1'])
})

test('a client whose own places are taken by what it never answered gets one of these', () => {
  const { enter, pass, names } = open({ total: 10 })
  for (const name of ['b1', 'a1', 'a2', 'a3']) enter(name)
  pass(100)
  expect(names()).toEqual(['b1', 'a2', 'a3'])
})

test('a transfer that is over at once does not pile up calls', () => {
  const queue = makeQueue({ ...limits, total: 1, perClient: 1, waiting: 100_000 }, () => 0)
  let first: Place | undefined
  queue.enter('first', (place) => {
    first = place
    return () => {}
  })
  let done = 0
  for (let n = 0; n < 20_000; n++)
    queue.enter(`c${n}`, ({ leave }) => {
      done++
      leave()
      return () => {}
    })
  first!.leave()
  expect(done).toBe(20_000)
})

test('law: never more than allowed, and whoever is let in or waits comes to its turn', () => {
  const moves = fc.array(fc.tuple(fc.constantFrom(...'abcde'), fc.boolean()), { maxLength: 60 })
  fc.assert(
    fc.property(moves, (list) => {
      const { enter, leave, names, ended } = open()
      let accepted = 0
      for (const [index, [client, goes]] of list.entries()) {
        if (goes && names()[0]) leave(names()[0]!)
        if (enter(`${client}${index}`)) accepted++
        expect(names().length).toBeLessThanOrEqual(limits.total)
        for (const each of 'abcde')
          expect(names().filter((name) => name[0] === each).length).toBeLessThanOrEqual(limits.perClient)
      }
      while (names()[0]) leave(names()[0]!)
      expect(ended.length).toBe(accepted)
    }),
  )
})

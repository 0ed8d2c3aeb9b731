import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type Entry, makeAdmission, mannerOf } from '../../services/http/admission.ts'

beforeEach(() => void vi.useFakeTimers({ now: 0 }))
afterEach(() => void vi.useRealTimers())

const limits = { most: 2, perClient: 1, line: 3 }
const agents = { curl: 'curl/7.88.1', ipxe: 'iPXE/1.21.1', grub: 'GRUB 2.06', edk2: 'UefiHttpBoot/1.0' }

function open() {
  const admission = makeAdmission(limits)
  const gone: (() => void)[] = []
  /** What became of each visitor so far, by name. */
  const fate: Record<string, Entry['kind']> = {}
  const leave: Record<string, () => void> = {}
  function visit(client: string, agent = agents.curl, what = '/blob') {
    const entry = admission.enter({ client, what, agent, onGone: (tell) => void gone.push(tell) })
    entry.then((is) => {
      fate[client] = is.kind
      if (is.kind === 'go') leave[client] = is.leave
    })
    return vi.advanceTimersByTimeAsync(0)
  }
  return { ...admission, visit, fate, leave, gone }
}

test('so many at once, the others in order of arrival', async () => {
  const { visit, fate, leave } = open()
  for (const client of ['a', 'b', 'c', 'd']) await visit(client)
  expect(fate).toEqual({ a: 'go', b: 'go' })
  leave.b!()
  leave.b!() // once
  await vi.advanceTimersByTimeAsync(0)
  expect(fate).toEqual({ a: 'go', b: 'go', c: 'go' })
  leave.a!()
  await vi.advanceTimersByTimeAsync(0)
  expect(fate.d).toBe('go')
})

test('one client does not take the places of all', async () => {
  const { visit, fate, counts } = open()
  await visit('a')
  await visit('a', agents.curl, '/other')
  await visit('b')
  expect(counts()).toMatchObject({ active: 2, waiting: 1 })
  expect(fate.b).toBe('go')
})

test('who waits too long is asked to come back and keeps its place', async () => {
  const { visit, fate, leave } = open()
  for (const client of ['a', 'b', 'old']) await visit(client)
  await vi.advanceTimersByTimeAsync(14_000)
  await visit('young')
  await vi.advanceTimersByTimeAsync(1500)
  expect(fate.old).toBe('later')
  await visit('old')
  leave.a!()
  await vi.advanceTimersByTimeAsync(0)
  expect(fate).toMatchObject({ old: 'go' })
  expect(fate.young).toBeUndefined()
})

test('a ticket that nobody shows for a minute is void', async () => {
  const { visit, fate, leave } = open()
  for (const client of ['a', 'b', 'lost']) await visit(client)
  await vi.advanceTimersByTimeAsync(15_000)
  expect(fate.lost).toBe('later')
  await vi.advanceTimersByTimeAsync(61_000)
  await visit('young')
  await visit('lost')
  leave.a!()
  await vi.advanceTimersByTimeAsync(0)
  expect(fate.young).toBe('go')
})

test('GRUB, which gives up on a 503 and after 30 s, is let in before that; EDK2 after 3 s', async () => {
  const { visit, fate } = open()
  for (const client of ['a', 'b']) await visit(client)
  await visit('grub', agents.grub)
  await visit('edk2', agents.edk2)
  await vi.advanceTimersByTimeAsync(3000)
  expect(fate).toEqual({ a: 'go', b: 'go', edk2: 'go' })
  await vi.advanceTimersByTimeAsync(17_000)
  expect(fate.grub).toBe('go')
})

test('no room to wait: asked to come back at once, in the order of the first arrival', async () => {
  const { visit, fate, counts } = open()
  for (const client of ['a', 'b', 'c', 'd', 'e', 'f']) await visit(client)
  expect(fate.f).toBe('later')
  expect(counts()).toEqual({ active: 2, waiting: 3, tickets: 1 })
})

test('who goes away leaves the line; memory of who came is bounded', async () => {
  const { visit, fate, leave, gone, counts } = open()
  for (const client of ['a', 'b', 'c', 'd']) await visit(client)
  gone[0]!()
  leave.a!()
  await vi.advanceTimersByTimeAsync(0)
  expect(fate).toEqual({ a: 'go', b: 'go', c: 'gone', d: 'go' })
  for (let n = 0; n < 500; n++) await visit(`flood${n}`)
  expect(counts().tickets).toBeLessThanOrEqual(12)
})

test('who comes back by itself, who waits, who does not', () => {
  expect(Object.values(agents).map(mannerOf)).toEqual(['comes-back', 'comes-back', 'patient', 'hasty'])
  expect(mannerOf(undefined)).toBe('hasty')
})

test('tickets of long URLs are as small as others, and told apart by their last letter', async () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const admission = makeAdmission({ most: 0, perClient: 1, line: 2000 })
  const long = 'x'.repeat(15_000)
  const ask = (what: string) => admission.enter({ client: 'a', what, agent: agents.curl, onGone() {} })
  for (let i = 0; i < 2000; i++) void ask(`/line/${i}`)
  gc()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 8000; i++) await ask(Buffer.from(`${long}${i}`).toString('latin1'))
  gc()
  expect(admission.counts().tickets).toBe(8000)
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(16 << 20)
})

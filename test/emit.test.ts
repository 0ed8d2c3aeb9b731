import { expect, test } from 'vitest'
import { limitFailures } from '../services/emit.ts'
import type { EventType } from '../src/events.ts'

test('a machine that asks for what is not there all day fills neither log nor memory; everything else is said', () => {
  const said: EventType[] = []
  let time = 1000
  const emit = limitFailures(
    (type) => void said.push(type),
    () => time,
  )
  const flood = () => {
    for (let i = 0; i < 5000; i++) emit(i % 2 ? 'tftp.fail' : 'http.fail', { why: 'no such file' })
  }
  flood()
  expect(said).toHaveLength(1000)
  emit('dhcp.discover', { node: 'n1' })
  expect(said).toHaveLength(1001)
  time += 60_000
  flood()
  expect(said).toHaveLength(2001)
})

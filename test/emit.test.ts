import { expect, test } from 'vitest'
import { limitEvents } from '../services/emit.ts'
import type { EventType } from '../src/events.ts'

test('a machine that asks for what is not there all day fills neither log nor memory; everything else is said', () => {
  const said: EventType[] = []
  let time = 1000
  const emit = limitEvents(
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
  expect(said).toHaveLength(2002)
  expect(said[1001]).toBe('serve.quiet')
})

test('a flood of made-up machines is counted, not told one by one; what nodes do is told always', () => {
  const said: [EventType, unknown][] = []
  let time = 1000
  const emit = limitEvents(
    (type, fields) => void said.push([type, fields]),
    () => time,
  )
  for (let i = 0; i < 5000; i++) {
    emit('dhcp.discover', { mac: `52:54:00:00:00:${i}`, client: 'os' })
    emit('dhcp.ack', { node: 'n1', address: '10.0.0.1' })
  }
  expect(said.filter(([type]) => type === 'dhcp.discover')).toHaveLength(1000)
  expect(said.filter(([type]) => type === 'dhcp.ack')).toHaveLength(5000)
  emit('dhcp.rogue', { address: '10.0.0.9' })
  expect(said.at(-1)![0]).toBe('dhcp.rogue')
  time += 60_000
  emit('dhcp.offer', { address: '10.0.0.2' })
  expect(said.slice(-2)).toEqual([
    ['serve.quiet', { what: 'DHCP of machines that nobody defined', count: 4000 }],
    ['dhcp.offer', { address: '10.0.0.2' }],
  ])
})

test('a machine that loads one file in circles is told of 600 times a minute, and others are told of beside it', () => {
  const said: [EventType, unknown][] = []
  let time = 1_000_000
  const emit = limitEvents(
    (type, fields) => void said.push([type, fields]),
    () => time,
  )
  for (let i = 0; i < 5000; i++) emit('http.text', { peer: '10.0.0.66', file: 'boot/ipxe/x', mac: 'x' })
  emit('tftp.done', { peer: '10.0.0.11', file: 'core.0' })
  expect(said).toHaveLength(601)
  expect(said.at(-1)![1]).toMatchObject({ peer: '10.0.0.11' })
  time -= 3_600_000 // the clock is set back
  emit('http.blob', { peer: '10.0.0.66' })
  expect(said.slice(-2)).toEqual([
    ['serve.quiet', { what: 'transfers of one machine', count: 4400 }],
    ['http.blob', { peer: '10.0.0.66' }],
  ])
})

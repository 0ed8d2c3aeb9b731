import { expect, onTestFinished, test, vi } from 'vitest'
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

test('a flood of made-up machines is counted, not told one by one; what nodes do is told beside it', () => {
  const said: [EventType, unknown][] = []
  let time = 1000
  const emit = limitEvents(
    (type, fields) => void said.push([type, fields]),
    () => time,
  )
  for (let i = 0; i < 5000; i++) {
    emit('dhcp.discover', { mac: `52:54:00:00:00:${i}`, client: 'os' })
    if (i < 120) emit('dhcp.ack', { node: 'n1', mac: 'x', address: '10.0.0.1' })
  }
  expect(said.filter(([type]) => type === 'dhcp.discover')).toHaveLength(1000)
  expect(said.filter(([type]) => type === 'dhcp.ack')).toHaveLength(120)
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
  time += 60_000
  emit('http.blob', { peer: '10.0.0.66' })
  expect(said.slice(-2)).toEqual([
    ['serve.quiet', { what: 'transfers of one machine', count: 4400 }],
    ['http.blob', { peer: '10.0.0.66' }],
  ])
})

test('a flood in the name of our nodes is told of 120 times a node and minute, and a rack that starts whole', () => {
  let said = 0
  const left: unknown[] = []
  let time = 1000
  const emit = limitEvents(
    (type, fields) => (type === 'serve.quiet' ? void left.push(fields) : void said++),
    () => time,
  )
  for (let i = 0; i < 10_000; i++)
    for (let each = 0; each < 16; each++) emit('dhcp.offer', { node: `n${i}`, mac: `m${i}` })
  expect(said).toBe(160_000)
  time += 60_000
  for (let i = 0; i < 500; i++) emit('dhcp.discover', { node: 'n1', mac: 'm1' })
  emit('dhcp.discover', { node: 'n2', mac: 'm2' })
  expect(said).toBe(160_121)
  time += 60_000
  for (let i = 0; i < 300_000; i++) emit('dhcp.discover', { node: `n${i % 9000}`, mac: `m${i % 9000}` })
  expect(said).toBe(360_121)
  time += 60_000
  emit('dhcp.ack', { node: 'n1', mac: 'm1' })
  expect(left).toEqual([
    { what: 'DHCP of nodes', count: 380 },
    { what: 'DHCP of nodes', count: 100_000 },
  ])
})

test('the clock of the limits is not the one that people set', () => {
  const said: EventType[] = []
  const emit = limitEvents((type) => void said.push(type))
  for (let i = 0; i < 1500; i++) emit('http.fail', { why: 'x' })
  vi.setSystemTime(Date.now() + 3_600_000)
  onTestFinished(() => void vi.useRealTimers())
  emit('http.fail', { why: 'x' })
  expect(said).toHaveLength(1000)
})

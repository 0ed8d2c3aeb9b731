// What a person sees of the event stream.
import { expect, test } from 'vitest'
import type { Event } from '../src/events.ts'
import { makeTimeline, sizeText } from '../src/timeline.ts'

const mac = '52:54:00:77:00:11'
const events = (...rows: [seconds: number, type: Event['type'], fields: object][]) =>
  rows.map(([seconds, type, fields]) => ({ time: 1e12 + seconds * 1000, type, ...fields }) as Event)
function shown(list: Event[]) {
  const line = makeTimeline()
  return list.flatMap((event) => {
    const made = line(event)
    if (!made) return []
    const since = made.sinceMs === undefined ? '' : `+${made.sinceMs / 1000}`
    return [[since, made.who, made.thing, made.text, made.tone].join('|')]
  })
}

test('one boot joins what DHCP, TFTP, HTTP and the install say; the next begins anew', () => {
  const n1 = { node: 'n1', mac }
  const firmware = { client: 'firmware', arch: 'bios x86_64' }
  expect(
    shown(
      events(
        [0, 'dhcp.discover', { ...n1, ...firmware }],
        [0.1, 'dhcp.offer', { ...n1, ...firmware, address: '10.0.0.11', file: 'core.0' }],
        [1, 'dhcp.ack', { ...n1, ...firmware, address: '10.0.0.11', file: 'core.0', leaseSeconds: 300 }],
        [2, 'tftp.start', { ...n1, file: 'core.0', peer: '10.0.0.11', bytes: 123456 }],
        [3, 'tftp.done', { ...n1, file: 'core.0', peer: '10.0.0.11', bytes: 123456, why: 'complete' }],
        [4, 'http.text', { node: 'n1', deployment: 'd', kind: 'install', file: '/x', peer: '10.0.0.11' }],
        [30, 'node.progress', { node: 'n1', phase: 'copy', percent: 1 }],
        [31, 'node.progress', { node: 'n1', phase: 'copy', percent: 9 }],
        [32, 'node.progress', { node: 'n1', phase: 'copy', percent: 10 }],
        [60, 'node.state', { node: 'n1', from: 'installing', to: 'failed', why: 'no disk' }],
        [90, 'dhcp.discover', { ...n1, ...firmware }],
        [91, 'dhcp.nak', { ...n1, address: '10.0.0.9', why: 'not yours' }],
      ),
    ),
  ).toEqual([
    '+0|n1|dhcp|asks for an address: firmware bios x86_64|dim',
    '+0.1|n1|dhcp|offered 10.0.0.11 and core.0|plain',
    '+1|n1|dhcp|has 10.0.0.11 (firmware bios x86_64) and core.0|plain',
    '+2|n1|tftp|asks for core.0 (123.5 KB)|dim',
    '+3|n1|tftp|got core.0 (123.5 KB)|plain',
    '+4|n1|http|got /x [install]|plain',
    '+30|n1|node|copy 1%|plain',
    '+32|n1|node|copy 10%|plain',
    '+60|n1|node|installing -> failed (no disk)|bad',
    '+0|n1|dhcp|asks for an address: firmware bios x86_64|dim',
    '+1|n1|dhcp|refused 10.0.0.9 not yours|bad',
  ])
})

test('strangers go by their MAC, others by their address; what has no row shows its fields', () => {
  expect(
    shown(
      events(
        [0, 'dhcp.ignore', { mac, why: 'unknown machine' }],
        [1, 'tftp.fail', { peer: '10.0.0.5', file: 'x', why: 'no such file' }],
        [2, 'serve.exit', { process: 'main', signal: 'SIGKILL' }],
        [3, 'never.seen' as never, { one: 1, two: 'b' }],
      ),
    ),
  ).toEqual([
    `|${mac}|dhcp|not answered: unknown machine|dim`,
    '|10.0.0.5|tftp|x no such file|bad',
    '||serve|main ended SIGKILL|bad',
    '||never|one=1 two=b|plain',
  ])
})

test('memory of machines is bounded', () => {
  const line = makeTimeline(10)
  for (let i = 0; i < 1000; i++)
    for (const event of events([i, 'dhcp.discover', { mac: `m${i}`, client: 'firmware' }])) line(event)
  const [old] = events([2000, 'tftp.done', { mac: 'm1', file: 'x' }])
  const [young] = events([2000, 'tftp.done', { mac: 'm999', file: 'x' }])
  expect([line(old!)?.sinceMs, line(young!)?.sinceMs]).toEqual([undefined, 1_001_000])
})

test('sizes', () => {
  expect([0, 999, 1000, 123_456, 5e9, 7e15].map(sizeText)).toEqual([
    ...['0 B', '999 B', '1.0 KB', '123.5 KB', '5.0 GB', '7000.0 TB'],
  ])
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Digest, type Ipv4, parseImageName, parseNodeName } from '../../src/address.ts'
import {
  arm,
  type Deployment,
  type DeploymentEvent,
  type DeploymentState,
  limits,
  step,
} from '../../src/deploy/deployment.ts'
import { bootToken, sameSecret, sessionDeployment, sessionKey } from '../../src/deploy/token.ts'

const now = 1_000_000
const intent = {
  id: '0123456789abcdef',
  node: parseNodeName('n1'),
  image: parseImageName('img'),
  version: 1,
  digest: `sha256:${'0'.repeat(64)}` as Digest,
  retries: 2,
}
const armed = arm(intent, now)
const peer = '10.0.0.5' as Ipv4
const nonce = 'a'.repeat(32)
const installing: Deployment = {
  ...armed,
  state: 'installing',
  nonce,
  boundTo: peer,
  phase: 'copy',
  percent: 40,
  seq: 7,
}
const { version: _, ...noVersion } = intent
const rescue: Deployment = { ...arm(noVersion, now), state: 'booting' }
const years = 10 * 365 * 24 * 3_600_000
const inState = (state: DeploymentState): Deployment => ({ ...installing, state })

const rows: [string, Deployment, DeploymentEvent, number, DeploymentState, 'accept' | 'refuse'][] = [
  ['the first loader text', armed, { type: 'text' }, now, 'booting', 'accept'],
  ['a loader text asked twice', inState('booting'), { type: 'text' }, now, 'booting', 'accept'],
  ['a loader text after success', inState('booted'), { type: 'text' }, now, 'booted', 'accept'],
  [
    'a boot-only osimage is waited for',
    { ...rescue, state: 'armed' },
    { type: 'tick' },
    now + years,
    'armed',
    'accept',
  ],
  ['a boot-only osimage stays', rescue, { type: 'tick' }, now + years, 'booting', 'accept'],
  ['a boot-only osimage after a reset', rescue, { type: 'firmware' }, now + years, 'booting', 'accept'],
  ['a boot-only osimage installs nothing', rescue, { type: 'start', nonce, peer }, now, 'booting', 'refuse'],
  ['start when armed', armed, { type: 'start', nonce, peer }, now, 'installing', 'accept'],
  ['start with the same nonce', installing, { type: 'start', nonce, peer }, now, 'installing', 'accept'],
  [
    'start by another machine',
    installing,
    { type: 'start', nonce: 'b'.repeat(32), peer },
    now,
    'installing',
    'refuse',
  ],
  ['start after success', inState('installed'), { type: 'start', nonce, peer }, now, 'installed', 'refuse'],
  ['start after failure', inState('failed'), { type: 'start', nonce, peer }, now, 'failed', 'refuse'],
  ['refused for its disks', installing, { type: 'refused', reason: 'too small' }, now, 'failed', 'accept'],
  ['a reset at once', installing, { type: 'firmware' }, now + 19_999, 'installing', 'accept'],
  ['a reset after 20 s', installing, { type: 'firmware' }, now + 20_000, 'booting', 'accept'],
  [
    'a reset of the last attempt',
    { ...installing, attempt: 3 },
    { type: 'firmware' },
    now + 20_000,
    'held',
    'accept',
  ],
  ['a reset after success', inState('installed'), { type: 'firmware' }, now + 99_999, 'installed', 'accept'],
  ['finish ok', installing, { type: 'finish', result: 'ok' }, now, 'installed', 'accept'],
  [
    'finish ok, asked again',
    inState('installed'),
    { type: 'finish', result: 'ok' },
    now,
    'installed',
    'accept',
  ],
  ['finish failed', installing, { type: 'finish', result: 'failed', reason: 'x' }, now, 'failed', 'accept'],
  [
    'finish of another attempt',
    inState('booting'),
    { type: 'finish', result: 'ok' },
    now,
    'booting',
    'refuse',
  ],
  ['seen up', inState('installed'), { type: 'up' }, now, 'booted', 'accept'],
  ['seen up while installing', installing, { type: 'up' }, now, 'installing', 'accept'],
  ['armed for too long', armed, { type: 'tick' }, now + limits.armedMs, 'expired', 'accept'],
  ['silent for too long', installing, { type: 'tick' }, now + limits.silentMs, 'failed', 'accept'],
  ['not yet silent', installing, { type: 'tick' }, now + limits.silentMs - 1, 'installing', 'accept'],
  ['did not come up', inState('installed'), { type: 'tick' }, now + limits.comeUpMs, 'failed', 'accept'],
]
test.each(rows)('%s', (_name, before, event, at, after, effect) => {
  const [next, did] = step(before, event, at)
  expect([next.state, did.do]).toEqual([after, effect])
})

describe('facts that go with the states', () => {
  test('a new attempt forgets what the old one was bound to', () => {
    const [next] = step(installing, { type: 'firmware' }, now + 20_000)
    expect(next).toMatchObject({ attempt: 2, state: 'booting' })
    expect(next).not.toHaveProperty('nonce')
    expect(next).not.toHaveProperty('percent')
  })
  test('silence names the phase', () => {
    expect(step(installing, { type: 'tick' }, now + limits.silentMs)[0].reason).toBe('silent in copy')
  })
  test('a failure keeps phase and reason', () => {
    const [next] = step(
      installing,
      { type: 'finish', result: 'failed', phase: 'disks', reason: 'no disk' },
      now,
    )
    expect(next.reason).toBe('disks: no disk')
  })
  test('percent never falls, an old sequence number changes nothing', () => {
    const progress = { type: 'progress', phase: 'copy', bytes: 1 } as const
    expect(step(installing, { ...progress, seq: 8, percent: 10 }, now)[0].percent).toBe(40)
    expect(step(installing, { ...progress, seq: 7, percent: 90 }, now)[0].percent).toBe(40)
    expect(step(installing, { ...progress, seq: 8, percent: 90 }, now)[0].percent).toBe(90)
  })
})

test('law: whatever happens, a finished deployment never installs again', () => {
  const event: fc.Arbitrary<DeploymentEvent> = fc.oneof(
    fc.constantFrom<DeploymentEvent>(
      { type: 'text' },
      { type: 'firmware' },
      { type: 'up' },
      { type: 'tick' },
      { type: 'refused', reason: 'r' },
      { type: 'finish', result: 'ok' },
      { type: 'finish', result: 'failed' },
    ),
    fc.constantFrom('a', 'b').map((c) => ({ type: 'start', nonce: c.repeat(32), peer }) as DeploymentEvent),
    fc
      .record({ seq: fc.nat(50), percent: fc.nat(100) })
      .map((p) => ({ type: 'progress', phase: 'copy', bytes: 0, ...p }) as DeploymentEvent),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.nat(limits.silentMs)), { maxLength: 60 }), (events) => {
      let [d, time, ended] = [armed, now, false]
      for (const [next, wait] of events) {
        time += wait
        const before = d
        d = step(d, next, time)[0]
        if (ended) expect(['installed', 'booted', 'failed', 'held', 'expired']).toContain(d.state)
        if (!['armed', 'booting', 'installing'].includes(d.state)) ended = true
        expect(d.attempt).toBeLessThanOrEqual(1 + d.retries)
        if (d.attempt === before.attempt) expect(d.percent ?? 0).toBeGreaterThanOrEqual(before.percent ?? 0)
      }
    }),
  )
})

test('tokens and sessions differ by deployment, attempt and nonce, and are stable', () => {
  const key = Buffer.alloc(32, 1)
  const all = [
    bootToken(key, 'd1', 1),
    bootToken(key, 'd1', 2),
    bootToken(key, 'd2', 1),
    bootToken(Buffer.alloc(32, 2), 'd1', 1),
  ]
  expect(new Set(all).size).toBe(4)
  expect(bootToken(key, 'd1', 1)).toBe(all[0])
  const session = sessionKey(key, 'd1', 1, nonce)
  expect(sessionDeployment(session)).toBe('d1')
  expect(sameSecret(session, sessionKey(key, 'd1', 1, nonce))).toBe(true)
  expect(sameSecret(session, sessionKey(key, 'd1', 1, 'b'.repeat(32)))).toBe(false)
  expect(sameSecret(session, 'short')).toBe(false)
})

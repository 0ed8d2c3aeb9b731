import { expect, test } from 'vitest'
import type { Event } from '../../src/events.ts'
import { adminServer } from './admin-server.ts'

type Call = Awaited<ReturnType<typeof adminServer>>['call']
const entries = async (call: Call, query = '') =>
  (await call('GET', `/audit${query}`)).body.entries.map(({ id: _, time: __, ...rest }: any) => rest)

test('a change is written down: who, what, which object, before and after', async () => {
  const { call } = await adminServer()
  const alice = { 'x-sysclone-user': 'alice' }
  const before = Date.now()
  await call('POST', '/nodes', { objects: ['n[8-9]'], attrs: { groups: 'new' } }, alice)
  await call('PATCH', '/nodes', { objects: ['compute'], op: 'set', attrs: { ip: '' } }, alice)
  await call('PATCH', '/nodes', { objects: ['n1'], op: 'add', attrs: { groups: 'rack1' } })
  await call('DELETE', '/nodes', { objects: ['n1'] })
  await call('PATCH', '/osimages', { objects: ['img'], op: 'set', attrs: { addkcmdline: 'quiet' } })
  const mkdef = { who: 'local:alice', what: 'mkdef node', after: { groups: 'new' } }
  const emptied = { who: 'local:alice', what: 'chdef node', before: { ip: '' }, after: { ip: '' } }
  expect(await entries(call)).toEqual([
    { ...mkdef, object: 'n8' },
    { ...mkdef, object: 'n9' },
    { ...emptied, object: 'n1' },
    { ...emptied, object: 'n2' },
    {
      who: 'local',
      what: 'chdef node',
      object: 'n1',
      before: { groups: 'compute' },
      after: { groups: 'compute,rack1' },
    },
    {
      who: 'local',
      what: 'rmdef node',
      object: 'n1',
      before: expect.objectContaining({ groups: 'compute,rack1', currstate: 'boot' }),
    },
    {
      who: 'local',
      what: 'chdef osimage',
      object: 'img',
      before: { addkcmdline: '' },
      after: { addkcmdline: 'quiet' },
    },
  ])
  const { body } = await call('GET', '/audit?object=n1&last=1')
  expect(body.entries).toMatchObject([{ what: 'rmdef node', object: 'n1' }])
  expect(body.entries[0].time).toBeGreaterThanOrEqual(before)
  expect((await call('GET', '/audit?last=0')).status).toBe(400)
})

test('nodeset and imgcapture: one entry a node that was done; a question is no change', async () => {
  const { call } = await adminServer()
  await call('POST', '/deployments', { noderange: 'compute', state: 'osimage', image: 'img', version: 1 })
  await call('POST', '/deployments', { noderange: 'compute', state: 'stat' })
  await call('POST', '/captures', { node: 'n3', image: 'new' })
  expect(await entries(call)).toEqual([
    {
      who: 'local',
      what: 'nodeset osimage=img:1',
      object: 'n1',
      before: { currstate: 'boot' },
      after: { currstate: 'img:1 armed' },
    },
    { who: 'local', what: 'imgcapture new', object: 'n3' },
  ])
})

test('what was refused is no change; a user name that is none is not believed', async () => {
  const { call } = await adminServer()
  await call('PATCH', '/nodes', { objects: ['n1', 'n9'], op: 'set', attrs: { ip: '10.0.0.9' } })
  await call('PATCH', '/nodes', { objects: ['n1'], op: 'set', attrs: { color: 'red' } })
  await call('POST', '/nowhere', {})
  expect(await entries(call)).toEqual([])
  await call('DELETE', '/nodes', { objects: ['n1'] }, { 'x-sysclone-user': 'a b;c' })
  expect(await entries(call)).toMatchObject([{ who: 'local' }])
})

test('an entry that can not be written is an event; the change stays', async () => {
  const { call, store, listeners } = await adminServer()
  const events: Event[] = []
  listeners.add((event) => void events.push(event))
  store.audit.add = async () => {
    throw new Error('database or disk is full')
  }
  const attrs = { groups: 'rack1' }
  expect((await call('PATCH', '/nodes', { objects: ['n1'], op: 'set', attrs })).status).toBe(200)
  expect(events).toContainEqual(
    expect.objectContaining({ type: 'serve.fail', why: 'no audit entry for chdef node' }),
  )
})

test('definitions of several objects: one entry for each that is another than before', async () => {
  const { call } = await adminServer()
  const defined = [
    { type: 'node', name: 'n1', attrs: { groups: 'compute' } },
    { type: 'node', name: 'n7', attrs: { groups: 'new' } },
    { type: 'osimage', name: 'img', attrs: { addkcmdline: 'quiet' } },
  ]
  expect((await call('POST', '/definitions', { mode: 'put', entries: defined })).status).toBe(200)
  expect(await entries(call)).toEqual([
    { who: 'local', what: 'import', object: 'n7', after: { groups: 'new' } },
    {
      who: 'local',
      what: 'import',
      object: 'img',
      before: { addkcmdline: '' },
      after: { addkcmdline: 'quiet' },
    },
  ])
})

// The event stream over a connection that is lost, and the server that stops.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { adminServer } from './admin-server.ts'

function watch(socket: string, { header = '', query = '' } = {}) {
  const watcher = connect(socket)
  const seen = { text: '', ended: false }
  watcher.on('data', (chunk) => (seen.text += chunk))
  watcher.on('close', () => (seen.ended = true))
  watcher.write(`GET /events?things=job${query} HTTP/1.1\r\nHost: x\r\n${header}\r\n`)
  const jobs = () => [...seen.text.matchAll(/^data: .*"job":"(\w+)"/gm)].map((match) => match[1])
  const lastId = () => [...seen.text.matchAll(/^id: (\S+)$/gm)].at(-1)?.[1]
  return { watcher, seen, jobs, lastId }
}
async function until(holds: () => boolean) {
  for (let tries = 0; tries < 300 && !holds(); tries++) await sleep(10)
  expect(holds()).toBe(true)
}

test('a watcher that comes back gets what it missed, each once and in order', async () => {
  const { socket, emit } = await adminServer()
  const first = watch(socket)
  await until(() => first.seen.text.includes(': watching'))
  emit('job.done', { job: 'a' })
  await until(() => first.jobs().length === 1)
  first.watcher.destroy()
  emit('job.done', { job: 'b' })
  emit('node.log', { text: 'not asked for' })
  emit('job.done', { job: 'c' })
  const again = watch(socket, { header: `Last-Event-ID: ${first.lastId()}\r\n` })
  await until(() => again.jobs().length === 2)
  emit('job.done', { job: 'd' })
  await until(() => again.jobs().length === 3)
  expect(again.jobs()).toEqual(['b', 'c', 'd'])
  expect(again.seen.text).not.toContain('not known any more')
  again.watcher.destroy()
})

test('what is forgotten, or was never an event, is said and nothing is made up', async () => {
  const { socket, emit } = await adminServer()
  const first = watch(socket)
  await until(() => first.seen.text.includes(': watching'))
  emit('job.done', { job: 'a' })
  await until(() => first.jobs().length === 1)
  for (const id of ['1', 'other-1', 'x', '9999999999999999']) {
    const again = watch(socket, { header: `Last-Event-ID: ${id}\r\n` })
    await until(() => again.seen.text.includes('not known any more'))
    expect(again.jobs()).toEqual([])
    again.watcher.destroy()
  }
  first.watcher.destroy()
})

test('since: what happened from then on, then what happens', async () => {
  const { socket, emit } = await adminServer()
  const began = Date.now()
  for (let i = 0; i < 1200; i++) emit('job.done', { job: `j${i}` })
  const watcher = watch(socket, { query: `&since=${began}` })
  await until(() => watcher.jobs().length === 1200)
  emit('job.done', { job: 'last' })
  await until(() => watcher.jobs().length === 1201)
  expect(watcher.jobs().at(-1)).toBe('last')
  const later = watch(socket, { query: `&since=${Date.now() + 60_000}` })
  await until(() => later.seen.text.includes(': watching'))
  emit('job.done', { job: 'now' })
  await until(() => later.jobs().length === 1)
  for (const { watcher: socket } of [watcher, later]) socket.destroy()
})

test('nodes: only events of the nodes of a noderange', async () => {
  const { socket, emit } = await adminServer()
  const watcher = watch(socket, { query: '&nodes=compute' })
  await until(() => watcher.seen.text.includes(': watching'))
  for (const node of ['n1', 'n3', 'n2']) emit('job.done', { job: node, node })
  await until(() => watcher.jobs().length === 2)
  expect(watcher.jobs()).toEqual(['n1', 'n2'])
  watcher.watcher.destroy()
  const refused = watch(socket, { query: '&nodes=nobody' })
  await until(() => refused.seen.text.includes('nobody'))
  expect(refused.seen.text).toMatch(/^HTTP\/1.1 4/)
  refused.watcher.destroy()
})

test('a server that stops ends its streams', async () => {
  const { socket, close } = await adminServer()
  const one = watch(socket)
  await until(() => one.seen.text.includes(': watching'))
  await close()
  await until(() => one.seen.ended)
})

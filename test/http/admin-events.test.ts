// The event stream over a connection that is lost, and the server that stops.
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { adminServer } from './admin-server.ts'

function watch(socket: string, header = '') {
  const watcher = connect(socket)
  const seen = { text: '', ended: false }
  watcher.on('data', (chunk) => (seen.text += chunk))
  watcher.on('close', () => (seen.ended = true))
  watcher.write(`GET /events?things=job HTTP/1.1\r\nHost: x\r\n${header}\r\n`)
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
  const again = watch(socket, `Last-Event-ID: ${first.lastId()}\r\n`)
  await until(() => again.jobs().length === 2)
  emit('job.done', { job: 'd' })
  await until(() => again.jobs().length === 3)
  expect(again.jobs()).toEqual(['b', 'c', 'd'])
  expect(again.seen.text).not.toContain('not known any more')
  again.watcher.destroy()
})

test('what is forgotten, or of another server, is said and nothing is made up', async () => {
  const { socket, emit } = await adminServer()
  const first = watch(socket)
  await until(() => first.seen.text.includes(': watching'))
  emit('job.done', { job: 'a' })
  await until(() => first.jobs().length === 1)
  for (let i = 0; i < 2100; i++) emit('node.log', { text: 'x' })
  for (const id of [first.lastId(), 'other-1', 'x', `${first.lastId()}999999`]) {
    const again = watch(socket, `Last-Event-ID: ${id}\r\n`)
    await until(() => again.seen.text.includes('not known any more'))
    expect(again.jobs()).toEqual([])
    again.watcher.destroy()
  }
  first.watcher.destroy()
})

test('a server that stops ends its streams', async () => {
  const { socket, close } = await adminServer()
  const one = watch(socket)
  await until(() => one.seen.text.includes(': watching'))
  await close()
  await until(() => one.seen.ended)
})

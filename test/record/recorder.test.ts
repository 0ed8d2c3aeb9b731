// What the boot process keeps for main: batches until main has them, and never more than so much.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { textContent } from '../../services/http/content.ts'
import { type Batch, openRecorder } from '../../services/record/recorder.ts'
import type { Mac } from '../../src/address.ts'
import type { BootNode } from '../../src/boot/plan.ts'
import type { Step } from '../../src/boot/record.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { type Request, readRequest } from '../../src/dhcp/request.ts'
import { capture } from '../dhcp/captures.ts'

const bytes = capture('ovmf-pxe-discover')
const request = readRequest(parsePacket(bytes)) as Request
const node = { name: 'n1', mac: [request.mac], kernelArgs: [] } as unknown as BootNode

function recorder(now = () => 1e12) {
  const sent: Batch[] = []
  const made = openRecorder({
    send: (batch) => void sent.push(batch),
    nodeOf: (mac) => (mac === request.mac ? node : undefined),
    macOf: (peer) => (peer === '10.0.0.11' ? request.mac : undefined),
    now,
    ...{ flushMs: 20, againMs: 300 },
  })
  onTestFinished(() => made.close())
  const seen = (more: object = {}) =>
    made.dhcp({
      ...{ time: now(), server: '10.0.0.1' as never, port: 67, bytes, request, node },
      ...{ decided: { kind: 'ignore', why: 'offline' }, reply: undefined, ...more },
    })
  const steps = (): Step[] => sent.flatMap((batch) => JSON.parse(batch.steps))
  return { ...made, sent, seen, steps }
}

test('a batch is sent once main has the one before, and again until it has it', async () => {
  const { sent, seen, stored, steps, mainStarted } = recorder()
  seen()
  await sleep(60)
  expect(sent.map(({ number }) => number)).toEqual([1])
  seen()
  await sleep(60)
  expect(sent.map(({ number }) => number)).toEqual([1]) // main has not answered: nothing piles up on the way
  stored(2) // not what was asked
  stored(1)
  await sleep(60)
  expect(sent.map(({ number }) => number)).toEqual([1, 2])
  await sleep(300)
  expect(sent.map(({ number }) => number)).toEqual([1, 2, 2])
  expect(sent[2]).toEqual(sent[1])
  await sleep(350)
  expect(sent.length).toBe(3) // seldomer now
  mainStarted()
  expect(sent.map(({ number }) => number)).toEqual([1, 2, 2, 2])
  expect(steps()[0]).toEqual({
    ...{ time: 1e12, mac: request.mac, node: 'n1', kind: 'dhcp', server: '10.0.0.1', port: 67 },
    ...{ type: 'discover', client: 'firmware', answer: 'ignore', why: 'offline' },
    request: bytes.toString('base64'),
  })
})

test('silence towards strangers is not kept; what they are sent is, so many times a minute', async () => {
  let time = 1e12
  const { seen, steps, sent, stored } = recorder(() => time)
  seen({ node: undefined })
  const reply = Buffer.from('reply')
  for (let i = 0; i < 5000; i++) {
    const stranger = { ...request, mac: `52:54:01:00:${Math.floor(i / 100) + 10}:${(i % 100) + 10}` as Mac }
    seen({ node: undefined, request: stranger, reply })
  }
  for (let i = 0; i < 500; i++) seen()
  time += 60_000
  seen({ decided: { kind: 'ignore', why: 'a minute later' } })
  for (let batches = 0; batches < sent.length + 1 && batches < 20; batches++) {
    await sleep(40)
    stored(batches + 1)
  }
  const ofNode = steps().filter((step) => step.node === 'n1')
  expect(steps().length - ofNode.length).toBe(2000)
  expect(ofNode).toHaveLength(121)
  expect(ofNode.at(-1)).toMatchObject({ why: 'a minute later' })
})

test('while main is away memory stays bounded, and the newest is what is left', async () => {
  let time = 1e12
  const { seen, sent, stored, steps } = recorder(() => (time += 60_000)) // every step in a minute of its own
  const reply = Buffer.alloc(100_000)
  for (let i = 0; i < 600; i++) seen({ reply, decided: { kind: 'ignore', why: String(i) } })
  for (let batches = 0; batches < sent.length + 1; batches++) {
    await sleep(40)
    stored(batches + 1)
  }
  const whys = steps().map((step) => (step.kind === 'dhcp' ? step.why : ''))
  expect(whys.at(-1)).toBe('599')
  expect(whys.length).toBeLessThan(300)
  expect(sent.every((batch) => batch.steps.length < 2 << 20)).toBe(true)
})

test('what is opened is kept with the bytes that were read; unknown addresses are nobody’s', async () => {
  const { opening, steps } = recorder()
  const open = opening('tftp', async (name) =>
    name === 'none' ? undefined : textContent('a loader text', { kind: 'install' }),
  )
  const content = await open('boot/x', '10.0.0.11')
  await content!.read(0, 5)
  content!.close()
  content!.close()
  await open('none', '10.0.0.11')
  await open('boot/x', '10.0.0.99')
  await sleep(60)
  const peer = '10.0.0.11'
  expect(steps().map(({ time: _, mac: __, node: ___, ...body }) => body)).toEqual([
    {
      kind: 'file',
      id: 1,
      by: 'tftp',
      name: 'boot/x',
      peer,
      sent: expect.objectContaining({ text: 'a loader text' }),
    },
    { kind: 'end', id: 1, bytes: 5 },
    { kind: 'file', id: 2, by: 'tftp', name: 'none', peer, sent: { what: 'nothing' } },
  ])
})

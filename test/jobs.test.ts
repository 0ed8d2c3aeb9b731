import { expect, test } from 'vitest'
import { openJobs } from '../services/jobs.ts'
import type { CaptureSpec } from '../services/process.ts'
import type { NodeName } from '../src/address.ts'
import type { Job } from '../src/job.ts'

const spec: CaptureSpec = {
  kind: 'capture',
  node: 'n1' as NodeName,
  host: '10.0.0.7',
  port: 22,
  user: 'root',
  image: 'img',
}

/** One main process over records that outlive it. */
async function main(rows: Map<string, Job>, { expected = [] as string[], made = '', full = false } = {}) {
  const said: string[] = []
  const started: string[] = []
  const jobs = await openJobs({
    stored: {
      listRunning: async () => [...rows.values()].filter(({ state }) => state === 'running'),
      async put(job) {
        if (full) throw new Error('the disk is full')
        rows.set(job.id, job)
      },
    },
    expected,
    madeBy: () => made || undefined,
    start: (job) => void started.push(job),
    emit: (type, fields) =>
      void said.push([type, ...['result', 'why'].flatMap((f) => (fields as any)[f] ?? [])].join(' ')),
    now: () => 1000,
  })
  return { ...jobs, said, started }
}

test('a job that runs on while main is started again is known again, and its end is heard', async () => {
  const rows = new Map<string, Job>()
  const first = await main(rows)
  const id = await first.start({ ...spec, hostKey: 'SHA256:x' })
  expect(first.started).toEqual([id])
  const second = await main(rows, { expected: [id] })
  expect(second.running(id)).toMatchObject({ node: 'n1', image: 'img', hostKey: 'SHA256:x' })
  await expect(second.start(spec)).rejects.toThrow('img: the image is being captured (img from n1')
  await second.end(id, { result: 'img:1' })
  await second.end(id, { result: 'img:2' }) // said twice
  expect(second.said).toEqual(['job.done img:1'])
  expect(rows.get(id)).toMatchObject({ state: 'done', result: 'img:1', endedAt: 1000 })
})

test('a job that nobody runs any more has ended: well when its version is there, badly when not', async () => {
  const rows = new Map<string, Job>()
  const id = await (await main(rows)).start(spec)
  const copy = new Map(rows)
  expect((await main(rows, { made: 'img:4' })).said).toEqual(['job.done img:4'])
  expect(rows.get(id)).toMatchObject({ state: 'done', result: 'img:4' })
  expect((await main(copy)).said).toEqual([
    'job.fail the server ended before the job did; nothing of it was kept',
  ])
  expect(copy.get(id)).toMatchObject({ state: 'failed' })
})

test('two captures of one image at once: one', async () => {
  const { start, started } = await main(new Map())
  const both = await Promise.allSettled([start(spec), start(spec), start({ ...spec, image: 'other' })])
  expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(started).toHaveLength(2)
})

test('what can not be written down is not started', async () => {
  const jobs = await main(new Map(), { full: true })
  for (let i = 0; i < 2; i++) await expect(jobs.start(spec)).rejects.toThrow('the disk is full') // not: is being captured
  expect(jobs.started).toEqual([])
})

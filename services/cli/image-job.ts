// What the commands share that have the server work on its images: waiting with a progress line, and what the job says,
// which comes over a unix socket of our own.
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitForJob } from './job-wait.ts'
import type { Needs, Shared } from './needs.ts'
import { openProgress } from './progress.ts'

type Work = { work: string; path: string; body: object; quiet?: boolean }

/** Has the server do it; answers with the job's result. Steps are shown, unless `quiet`. */
export async function runImageJob(
  { api, print, interrupted }: Needs,
  { server, json }: Shared,
  { work, path, body, quiet = false }: Work,
): Promise<string> {
  const client = api(server)
  const silent = { ...print, line: () => {}, raw: () => {} }
  const progress = openProgress(json || quiet ? silent : print)
  try {
    const start = async () => (await client.post(path, body)).job as string
    const waiting = { client, start, left: interrupted(), show: progress.show, work }
    return (await waitForJob(waiting)).result
  } finally {
    progress.close()
  }
}

/** Runs `work` with a socket that a job can write to; `take` gets what comes, piece by piece, before this resolves. */
export async function withSocket<T>(
  take: (chunk: Buffer) => Promise<void> | void,
  work: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sysclone-'))
  const path = join(folder, 'out')
  const readers: Promise<void>[] = []
  const server = createServer((socket) => void readers.push(readAll(socket, take)))
  try {
    await new Promise<void>((done, failed) => {
      server.once('error', failed)
      server.listen(path, done)
    })
    const result = await work(path)
    await Promise.all(readers)
    return result
  } finally {
    server.close()
    await Promise.allSettled(readers)
    await rm(folder, { recursive: true, force: true })
  }
}

async function readAll(socket: Socket, take: (chunk: Buffer) => Promise<void> | void) {
  for await (const chunk of socket) await take(chunk as Buffer)
}

/** Collects JSON objects, one a line. */
export function jsonLines<T>() {
  const rows: T[] = []
  let rest = ''
  const decoder = new TextDecoder()
  function take(chunk: Buffer) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop()!
    for (const line of lines) rows.push(JSON.parse(line))
  }
  return { rows, take }
}

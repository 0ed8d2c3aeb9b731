// A job: long work that one process of its own does, and what became of it. The record outlives the processes.
import type { ImageName, NodeName } from './address.ts'
import type { Fault } from './fault.ts'

export const jobKinds = [
  'capture',
  'check',
  'import',
  'squash',
  'export',
  'diff',
  'cat',
  'fsck',
  'gc',
] as const
export type JobKind = (typeof jobKinds)[number]

export type Job = {
  id: string // 12 hex digits
  kind: JobKind
  node?: NodeName // of a capture: the golden client
  image?: ImageName // that it makes a version of, or reads; absent: of no single one
  uses?: string[] // versions that it reads: 'img:3'
  hostKey?: string // 'SHA256:...': the ssh host key that it may trust
  jumpHostKey?: string // that of the jump host
  state: 'running' | 'done' | 'failed'
  startedAt: number // ms since 1970, as all times here
  endedAt?: number
  result?: string // of done: 'img:3'
  fault?: Fault // of failed
}

/** Those that make a version: one at a time for each image. */
const makers: readonly JobKind[] = ['capture', 'import', 'squash']
export const makesVersion = ({ kind }: Pick<Job, 'kind'>): boolean => makers.includes(kind)

/** The record of a job that ended now, with a fault or with what it made. */
export function ended(job: Job, end: { result?: string; fault?: Fault }, now: number): Job {
  const { result, fault } = end
  if (fault) return { ...job, state: 'failed', endedAt: now, fault }
  return { ...job, state: 'done', endedAt: now, ...(result !== undefined && { result }) }
}

// A job: long work that one process of its own does, and what became of it. The record outlives the processes.
import type { ImageName, NodeName } from './address.ts'
import type { Fault } from './fault.ts'

export type Job = {
  id: string // 12 hex digits
  kind: 'capture'
  node: NodeName
  image: ImageName
  hostKey?: string // 'SHA256:...': the ssh host key that it may trust
  jumpHostKey?: string // that of the jump host
  state: 'running' | 'done' | 'failed'
  startedAt: number // ms since 1970, as all times here
  endedAt?: number
  result?: string // of done: 'img:3'
  fault?: Fault // of failed
}

/** The record of a job that ended now, with a fault or with what it made. */
export function ended(job: Job, end: { result?: string; fault?: Fault }, now: number): Job {
  const { result, fault } = end
  if (fault) return { ...job, state: 'failed', endedAt: now, fault }
  return { ...job, state: 'done', endedAt: now, ...(result !== undefined && { result }) }
}

// One capture in a process of its own: ssh, hashing and compression never slow the others. It reports to main.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseImageName } from '../src/address.ts'
import type { Config } from '../src/config.ts'
import { type Fault, faultOf } from '../src/fault.ts'
import { versionName } from '../src/image/version.ts'
import { captureImage } from './capture/capture.ts'
import { openImages } from './images/store.ts'
import { type CaptureSpec, type Parent, runChild } from './process.ts'

runChild(async ({ config, spec, job }, parent) => {
  if (!spec || !job) throw new Error('a job process needs a job')
  const stop = new AbortController()
  const emit: Parent['emit'] = (type, fields) => parent.emit(type, { ...fields, job })
  const ended = (more: { fault?: Fault; result?: string }) =>
    parent.send({ kind: 'send', to: 'main', body: { type: 'job-ended', job, kind: spec.kind, ...more } })
  const work = capture(spec, config, emit, stop.signal)
    .then(
      (result) => ended({ result }),
      (error) => ended({ fault: faultOf(error) }),
    )
    // The last message must be out before the process is.
    .finally(() => setTimeout(() => process.exit(0), 100))
  return {
    close: async () => {
      stop.abort()
      await work
    },
  }
})

async function capture(
  spec: CaptureSpec,
  config: Config,
  emit: Parent['emit'],
  signal: AbortSignal,
): Promise<string> {
  const { node, host, port, user, hostKey, jump } = spec
  const script = (name: string) => readFile(join(import.meta.dirname, '../bootfiles/capture', name), 'utf8')
  const [probe, list, archive] = await Promise.all(['probe.sh', 'list.sh', 'archive.sh'].map(script))
  const version = await captureImage({
    target: { node, host, port, user, hostKey, jump: jump && { ...jump, hostKey: jump.hostKey } },
    privateKey: await readFile(config.ssh.identity ?? join(config.stateDir, 'ssh', 'id_ed25519'), 'utf8'),
    image: parseImageName(spec.image),
    images: await openImages(join(config.stateDir, 'images')),
    scripts: { probe: probe!, list: list!, archive: archive! },
    emit,
    signal,
  })
  return versionName(version)
}

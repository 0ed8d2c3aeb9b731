// The look into files of a golden client: what they hold never leaves that machine.
import { Readable } from 'node:stream'
import type { Inspect } from '../../src/image/scrub-files.ts'
import type { Ssh } from '../remote/ssh.ts'
import { collect } from './layer.ts'

const MAX_NAMES = 64 << 20

/** @param script bootfiles/capture/inspect.sh */
export const inspectThere =
  (ssh: Pick<Ssh, 'runScript'>, script: string, root: string): Inspect =>
  async (content, paths) => {
    const names = Buffer.from(paths.map((path) => `${path}\0`).join(''), 'latin1')
    const running = await ssh.runScript(script, [root, content], Readable.from([names]))
    const [stdout, stderr] = await Promise.all([
      collect(running.stdout, MAX_NAMES),
      collect(running.stderr, 65_536),
    ])
    const exit = await running.exit
    if (exit !== 0) throw new Error(`inspect.sh ended with ${exit}: ${stderr.slice(0, 300)}`)
    const asked = new Set(paths)
    return new Set(stdout.split('\0').filter((path) => asked.has(path)))
  }

// Asking a golden client by a script: what it prints, or why it could not.
import type { Readable } from 'node:stream'
import { UserError } from '../../src/fault.ts'
import { parseReport } from '../../src/image/tar-report.ts'
import type { Running, Ssh } from '../remote/ssh.ts'
import { collect } from './layer.ts'

/** What a script prints, as UTF-8, when it ends well. `lines` and then `input` are what it reads. */
export async function ask(
  ssh: Pick<Ssh, 'runScript'>,
  script: string,
  lines: readonly string[],
  limit: number,
  input?: Readable,
): Promise<string> {
  const running = await ssh.runScript(script, lines, input)
  const [stdout] = await Promise.all([collect(running.stdout, limit), judged(running)])
  if (stdout.length > limit)
    throw new UserError('the golden client says too much', { what: `more than ${limit} bytes` })
  return Buffer.from(stdout, 'latin1').toString('utf8')
}

/** Its stderr is the reason when it fails. */
export async function judged(running: Running) {
  const stderr = await collect(running.stderr, 65536)
  const exit = await running.exit
  const { fatal } = parseReport(stderr)
  if (exit === 0 && fatal.length === 0) return
  const missing = fatal.find((line) => line.startsWith('sysclone: missing '))
  if (missing !== undefined)
    throw new UserError('commands are missing on the golden client', {
      what: missing.replace('sysclone: missing ', ''),
    })
  throw new UserError('a script failed on the golden client', {
    what: fatal.slice(0, 3).join('; ') || `exit code ${exit}`,
  })
}

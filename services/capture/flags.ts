// Files that may not be changed, or only be added to: they are captured, and a clone has them without that.
import type { Ssh } from '../remote/ssh.ts'
import { ask } from './ask.ts'

const MAX_SAID = 16 << 20

/**
 * @param script bootfiles/capture/flags.sh
 * @returns '/etc/resolv.conf (i)', as lsattr says it: i immutable, a append-only
 */
export async function flaggedFiles(
  ssh: Pick<Ssh, 'runScript'>,
  script: string,
  root: string,
  mountpoints: readonly string[],
): Promise<string[]> {
  const said = await ask(ssh, script, [root, ...mountpoints], MAX_SAID)
  const names: string[] = []
  let mount = ''
  for (const line of said.split('\n')) {
    const [, flag, path] = /^([ia]) \.(.*)$/.exec(line) ?? []
    if (line.startsWith('at ')) mount = line.slice(3).replace(/\/$/, '')
    else if (flag !== undefined) names.push(`${`${mount}${path}` || '/'} (${flag})`)
  }
  return names.sort()
}

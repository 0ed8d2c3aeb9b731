// What runs on a golden client: the texts of bootfiles/capture/*.sh.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

const names = ['probe', 'list', 'inspect', 'flags', 'hold', 'archive'] as const
export type CaptureScripts = Record<(typeof names)[number], string>

export async function captureScripts(): Promise<CaptureScripts> {
  const script = (name: string) =>
    readFile(join(import.meta.dirname, '../../bootfiles/capture', `${name}.sh`), 'utf8')
  const texts = await Promise.all(names.map(async (name) => [name, await script(name)] as const))
  return Object.fromEntries(texts) as CaptureScripts
}

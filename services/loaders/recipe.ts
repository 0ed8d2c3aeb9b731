// What decides the bytes of a build: its scripts and what they copy, and the versions of the packages they take from.
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import type { Arch } from '../../src/image/version.ts'
import { run } from './command.ts'

export const sources = join(import.meta.dirname, '../../bootfiles')

/** Of what fetch.sh unpacks: which packages, of which release of Debian. */
export async function fetchKey(arch: Arch): Promise<string> {
  const [script, table, release] = await Promise.all(
    [join(sources, 'loaders/fetch.sh'), join(sources, 'loaders/fetched'), '/etc/os-release'].map((path) =>
      readFile(path, 'utf8').catch(() => ''),
    ),
  )
  const rows = table!.split('\n').filter((line) => line.startsWith(`${arch} `))
  return shortHash([script, rows.join('\n'), /^VERSION_CODENAME=.*$/m.exec(release!)?.[0]])
}

/** Of the build for `arch`; `fetched`: the versions of the packages that were fetched for it. */
export async function buildKey(arch: Arch, fetched: string): Promise<string> {
  const parts: string[] = [arch, fetched]
  const packages: string[] = []
  for (const part of arch === 'x86_64' ? ['ramdisk', 'loaders'] : ['loaders']) {
    const folder = join(sources, part)
    const entries = (await readdir(folder, { withFileTypes: true })).filter((e) => e.isFile())
    for (const { name } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const text = await readFile(join(folder, name), 'utf8')
      if (name === 'packages') packages.push(...text.split('\n').filter(Boolean))
      // The library of the phases travels with the autoinstall script; what is fetched has a key of its own.
      if (!['lib.sh', 'fetch.sh', 'fetched'].includes(name)) parts.push(`${part}/${name}`, text)
    }
  }
  return shortHash([...parts, await packageVersions(packages)])
}

const shortHash = (parts: (string | undefined)[]) =>
  createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 16)

async function packageVersions(packages: string[]): Promise<string> {
  const format = '${Package} ${Version} ${db:Status-Abbrev}\n'
  const { out } = await run('dpkg-query', ['-W', '-f', format, ...packages], { anyCode: true })
  const installed = new Map(
    out
      .split('\n')
      .map((line) => line.split(' '))
      .filter(([, , status]) => status === 'ii')
      .map(([name, version]) => [name, version]),
  )
  const missing = [...new Set(packages)].filter((name) => !installed.has(name))
  if (missing.length > 0)
    throw new UserError('Debian packages are missing', {
      what: missing.join(' '),
      allowed: `run: apt-get install ${missing.join(' ')}`,
    })
  return [...installed]
    .map(([name, version]) => `${name}=${version}`)
    .sort()
    .join('\n')
}

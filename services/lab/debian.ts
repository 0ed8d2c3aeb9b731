// Debian packages of any architecture, unpacked into a folder. apt gets lists, cache and status of its own: nothing of
// the system's package management is touched, and the system need not know the architecture.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import { must } from './command.ts'

export type DebianArch = 'amd64' | 'arm64' | 'ppc64el'
export type DebianPackages = {
  arch: DebianArch
  suite: string
  packages: string[]
  /** Packages that only depend on the wanted one, as linux-image-amd64 on that of the newest version. */
  metapackages?: string[]
}

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** Downloads the packages themselves, none of those they depend on, and unpacks all into `tree`. */
export async function unpackDebian(wanted: DebianPackages, tree: string) {
  const { arch, suite, packages, metapackages = [] } = wanted
  const own = `${tree}.apt`
  const at = (name: string) => join(own, name)
  for (const folder of ['lists/partial', 'cache/archives/partial', 'debs'])
    mkdirSync(at(folder), { recursive: true })
  mkdirSync(tree, { recursive: true })
  writeFileSync(at('sources.list'), `deb [signed-by=${keyring}] ${await debianSite()} ${suite} main\n`)
  const options = [
    `APT::Architecture=${arch}`,
    `APT::Architectures::=${arch}`,
    'APT::Sandbox::User=root',
    `Dir::State::Lists=${at('lists')}`,
    `Dir::Cache=${at('cache')}`,
    `Dir::Etc::sourcelist=${at('sources.list')}`,
    'Dir::Etc::sourceparts=/dev/null',
    'Dir::State::status=/dev/null',
  ].flatMap((option) => ['-o', option])
  try {
    await must(['apt-get', '-qq', ...options, 'update'])
    const real = await Promise.all(metapackages.map((name) => dependency(name, options)))
    const download = ['apt-get', '-qq', ...options, 'download', ...packages, ...real]
    // apt-get downloads into its working folder.
    await must(['sh', '-euc', 'cd "$1"; shift; exec "$@"', 'sh', at('debs'), ...download])
    for (const name of readdirSync(at('debs'))) await must(['dpkg-deb', '-x', join(at('debs'), name), tree])
  } finally {
    rmSync(own, { recursive: true, force: true })
  }
}

async function dependency(metapackage: string, options: string[]): Promise<string> {
  const said = await must(['apt-cache', ...options, 'depends', '--important', metapackage])
  const found = /^\s*Depends: (\S+)$/m.exec(said)?.[1]
  if (!found) throw new UserError('not a metapackage', { what: 'it depends on nothing', object: metapackage })
  return found
}

/** The mirror that this machine itself uses; on a system that is not Debian, Debian's own name. */
async function debianSite(): Promise<string> {
  const sites = await must(['apt-get', 'indextargets', '--format', '$(SITE)', 'Created-By: Packages'])
  return sites.split('\n').find((site) => /\/debian\/?$/.test(site)) ?? 'http://deb.debian.org/debian'
}

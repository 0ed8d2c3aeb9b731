// Debian packages of any architecture, unpacked into a folder: bootfiles/loaders/fetch.sh with a table of its own. Nothing of
// the system's package management is touched, and the system need not know the architecture.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { must } from './command.ts'

export type DebianArch = 'amd64' | 'arm64' | 'ppc64el'
export type DebianPackages = {
  arch: DebianArch
  suite: string
  packages: string[]
  /** Packages that only depend on the wanted one, as linux-image-amd64 on that of the newest version. */
  metapackages?: string[]
}

const fetchScript = join(import.meta.dirname, '../../bootfiles/loaders/fetch.sh')

/** Downloads the packages themselves, none of those they depend on, and unpacks all into `tree`. */
export async function unpackDebian(wanted: DebianPackages, tree: string) {
  const { arch, suite, packages, metapackages = [] } = wanted
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-debian-'))
  const table = join(folder, 'table')
  const rows = [...packages, ...metapackages.map((name) => `${name}>`)]
  writeFileSync(table, rows.map((name) => `these ${arch} ${name} - ${suite}\n`).join(''))
  try {
    await must(['sh', fetchScript, tree, table, 'these'])
    rmSync(join(tree, 'versions')) // what it leaves beside the packages' own files
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

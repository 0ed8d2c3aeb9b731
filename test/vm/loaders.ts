import { join } from 'node:path'
import type { Site } from '../../services/lab/site.ts'
import type { Arch } from '../../src/image/version.ts'

/** Loaders of Debian packages: the server of a lab has no network to fetch them from, so that is done before it starts. */
export async function buildLoaders({ sysclone, work }: Site, archs: Arch[]) {
  for (const arch of archs) await sysclone('bootfiles', 'build', arch, '--state-dir', join(work, 'state'))
}

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { imageServers, imageUrlText, serverFor } from '../../src/boot/image-url.ts'
import { serverUrl } from '../../src/boot/policy.ts'
import type { Config } from '../../src/config.ts'
import { planInstall } from '../../src/install/plan.ts'
import { renderScript } from '../../src/install/script.ts'
import type { Needs } from './needs.ts'

/** The autoinstall script for one machine; the texts of the phases are read once, at start. */
export function scriptMaker(config: Config): Needs['script'] {
  const folder = join(import.meta.dirname, '../../bootfiles/ramdisk')
  const lib = readFileSync(join(folder, 'lib.sh'), 'utf8')
  const phases = Object.fromEntries(
    readdirSync(join(folder, 'phases'))
      .sort()
      .map((name) => [name, readFileSync(join(folder, 'phases', name), 'utf8')]),
  )
  return ({ node, image, facts, overrides, session, peer }) => {
    const server = serverFor(config, peer)
    const blobUrls = imageServers(server).map(imageUrlText)
    const { plan, layouts } = planInstall({
      node,
      version: image,
      facts,
      overrides,
      session,
      serverUrl: serverUrl(server),
      blobUrls,
    })
    return renderScript({ plan, layouts, lib, phases })
  }
}

// Who needs a version of an image: while there is somebody, it is not removed.

import type { ImageName } from '../../src/address.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import { isOpen } from '../../src/deploy/deployment.ts'
import { versionName } from '../../src/image/version.ts'
import type { Job } from '../../src/job.ts'
import type { Store } from '../store/store.ts'

type Named = { name: ImageName; version: number }
export type Use = { what: string; allowed: string; byForce?: true } // byForce: a person may overrule it

/**
 * Why the version must stay, the weightiest reason; undefined: nobody needs it.
 * @param left versions of the same image that would remain
 */
export async function useOf(
  version: Named,
  { store, left, job }: { store: Store; left: number; job: Job | undefined },
): Promise<Use | undefined> {
  if (job) return { what: `job ${job.id} (${job.kind}) uses it`, allowed: 'to wait; sysclone jobs shows it' }
  const deployments = newestOfNodes(await store.deployments.list())
  const its = deployments.filter((d) => d.image === version.name && d.version === version.version)
  const open = its.find(isOpen)
  if (open)
    return { what: `${open.node} is ${open.state} with it`, allowed: `nodeset ${open.node} boot, or to wait` }
  return (left === 0 ? await assigned(version.name, store) : undefined) ?? installed(version, its)
}

async function assigned(name: ImageName, store: Store): Promise<Use | undefined> {
  const nodes = (await store.nodes.list()).filter(({ osimage }) => osimage === name).map((node) => node.name)
  if (nodes.length > 0)
    return {
      what: `osimage of ${some(nodes)}`,
      allowed: 'chdef NODES osimage= first, or another version kept',
    }
  const group = (await store.groups.list()).find(({ osimage }) => osimage === name)
  return (
    group && {
      what: `osimage of group ${group.name}`,
      allowed: `chdef -t group ${group.name} osimage= first`,
    }
  )
}

function installed(version: Named, its: readonly Deployment[]): Use | undefined {
  const nodes = its.filter(({ state }) => state === 'installed' || state === 'booted').map(({ node }) => node)
  if (nodes.length === 0) return undefined
  return {
    what: `${some(nodes)} runs ${versionName(version)}`,
    allowed: 'another version installed there, or --force',
    byForce: true,
  }
}

function newestOfNodes(oldestFirst: readonly Deployment[]): Deployment[] {
  return [...new Map(oldestFirst.map((d) => [d.node, d])).values()]
}

const some = ([first, ...more]: readonly string[]) =>
  `${first}${more.length ? ` and ${more.length} more` : ''}`

// What is special of nodes and groups among the objects of the admin API.
import type { NodeName } from '../../src/address.ts'
import type { Change } from '../../src/attribute.ts'
import { printAttributes, wordsOf } from '../../src/attribute.ts'
import { UserError } from '../../src/fault.ts'
import { versionName } from '../../src/image/version.ts'
import { nodeAttributes } from '../../src/node/attributes.ts'
import { groupAttributes, groupsOf, type Membership, noNode } from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'
import { parseGroupName } from '../../src/node/values.ts'
import { spellNames } from '../../src/noderange.ts'
import { selectsAll } from '../../src/selection.ts'
import type { AdminNeeds } from './admin-needs.ts'
import type { Kind, Shown } from './admin-objects.ts'
import { inRange } from './admin-range.ts'
import { type Entry, type Mode, noSuch, writeDefinitions } from './definitions.ts'

const namesOf = (nodes: readonly Node[]) => nodes.map(({ name }) => name)

/** The same change for several objects. */
async function writeAll(
  needs: AdminNeeds,
  type: Entry['type'],
  names: string[],
  mode: Mode,
  { op, attrs }: Change,
) {
  await writeDefinitions(
    needs,
    names.map((name) => ({ type, name, attrs })),
    { mode, op },
  )
  return names
}

export function nodeKind(needs: AdminNeeds): Kind {
  const { store, deploy, nodesChanged } = needs
  const meant = (objects: string | undefined) =>
    objects === undefined ? store.nodes.list() : inRange(store, objects)

  return {
    async select(where, objects) {
      return namesOf((await meant(objects)).filter(selectsAll(nodeAttributes, where, noNode)))
    },
    async show(objects, attrs) {
      const wantsState = attrs === undefined || attrs.includes('currstate')
      const shown: Shown[] = []
      // One after the other: thousands of waiters at the one connection cost the square of their number.
      for (const node of await meant(objects)) {
        const state = wantsState && { currstate: await deploy.stat(node.name) }
        shown.push({ name: node.name, attrs: { ...printAttributes(nodeAttributes, node, attrs), ...state } })
      }
      return shown
    },
    define: (objects, change) => writeAll(needs, 'node', spellNames(objects), 'make', change),
    modify: async (objects, change) =>
      writeAll(needs, 'node', namesOf(await inRange(store, objects)), 'change', change),
    async remove(objects) {
      const names = namesOf(await inRange(store, objects))
      const going = new Set<NodeName>(names)
      const busy = (await store.deployments.listOpen()).find(({ node }) => going.has(node))
      if (busy)
        throw new UserError('the node is to be installed', {
          what: `${versionName({ name: busy.image, version: busy.version })} ${busy.state}`,
          allowed: `nodeset ${busy.node} boot first`,
          object: busy.node,
          status: 409,
        })
      await store.nodes.remove(names)
      nodesChanged(names)
      return names
    },
  }
}

export function groupKind(needs: AdminNeeds): Kind {
  const { store, nodesChanged } = needs
  const table = groupAttributes(() => [])
  const spelled = (objects: string) => [...new Set(wordsOf(objects))]

  async function meant(objects: string | undefined): Promise<Membership[]> {
    const all = groupsOf(await store.groups.list(), await store.nodes.list())
    const names = objects === undefined ? [...all.keys()].sort() : spelled(objects)
    return names.map((name) => all.get(name) ?? noSuch('group', name))
  }
  return {
    async select(where, objects) {
      const test = selectsAll(table, where, { name: '', members: [] })
      return (await meant(objects)).filter(test).map(({ name }) => name)
    },
    async show(objects, attrs) {
      return (await meant(objects)).map((group) => ({
        name: group.name,
        attrs: printAttributes(table, group, attrs),
      }))
    },
    define: (objects, change) =>
      writeAll(needs, 'group', spelled(objects).map(parseGroupName), 'make', change),
    modify: (objects, change) => writeAll(needs, 'group', spelled(objects), 'change', change),
    /** Its nodes stay, and are in it no more. */
    async remove(objects) {
      const names = (await meant(objects)).map(({ name }) => name)
      const going = new Set(names)
      const members = await store.atomically(async ({ nodes, groups }) => {
        const its = (await nodes.list()).filter((node) => node.groups.some((group) => going.has(group)))
        await nodes.change(namesOf(its), (node) => ({
          ...node,
          groups: node.groups.filter((group) => !going.has(group)),
        }))
        await groups.remove(names)
        return namesOf(its)
      })
      nodesChanged(members)
      return names
    },
  }
}

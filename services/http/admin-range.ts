// Noderanges on what the database holds now.
import type { NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import { nodeAttributes } from '../../src/node/attributes.ts'
import type { Group } from '../../src/node/group.ts'
import { groupsOf, noNode } from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'
import { explainNoderange, type Known, type Reading } from '../../src/noderange.ts'
import { selects } from '../../src/selection.ts'
import type { Definitions } from '../store/store.ts'

type Stored = Pick<Definitions, 'nodes' | 'groups'>

/** The nodes that a noderange names, in its order; one that names none is a mistake. */
export async function inRange(stored: Stored, expression: string): Promise<Node[]> {
  return (await readRange(stored, expression)).nodes
}

export async function readRange(
  { nodes, groups }: Stored,
  expression: string,
): Promise<{ nodes: Node[]; readings: Reading[] }> {
  const all = await nodes.list()
  const { names, readings } = explainNoderange(expression, knownOf(expression, all, await groups.list()))
  if (names.length === 0)
    throw new UserError('the noderange leaves no node', { what: expression.slice(0, 100) })
  const byName = new Map<string, Node>(all.map((node) => [node.name, node]))
  return { nodes: names.map((name) => byName.get(name)!), readings }
}

/** What a noderange can name. Of dynamic groups only those are computed whose name is in the text. */
export function knownOf(text: string, nodes: readonly Node[], defined: readonly Group[]): Known {
  const asked = defined.filter(({ name, where }) => where === undefined || text.includes(name))
  const groups = [...groupsOf(asked, nodes)].map(([name, { members }]) => [name, members] as const)
  return {
    nodes: new Set(nodes.map(({ name }) => name)),
    groups: new Map<string, readonly NodeName[]>(groups),
    selected: (selection) => nodes.filter(selects(nodeAttributes, selection, noNode)).map(({ name }) => name),
  }
}

// Groups of nodes. Who is in a static group is said by the nodes' own `groups`, so there is one truth; a dynamic group
// has whoever its `where` selects at that moment.
import type { ImageName, NodeName } from '../address.ts'
import { parseImageName } from '../address.ts'
import type { AttributeTable, Change } from '../attribute.ts'
import { applyChange, field, parsedBy, remark, wholeNumber } from '../attribute.ts'
import { UserError } from '../fault.ts'
import { parseSelections, printSelections, selectsAll } from '../selection.ts'
import { nodeAttributes } from './attributes.ts'
import type { Node } from './node.ts'

export type Group = {
  name: string
  where?: string // makes the group dynamic
  priority?: number // where groups disagree: the lowest wins, none comes last
  osimage?: ImageName // for nodes that have none of their own
  usercomment?: string
}
/** A group with its members, as it is shown and changed. */
export type Membership = Group & { members: NodeName[] }

/** No node: what selections are tried on. */
export const noNode: Node = { name: '' as NodeName, groups: [], mac: [] }

const where = {
  parse(text: string) {
    const all = parseSelections(text)
    selectsAll(nodeAttributes, all, noNode) // refuses what no node could be asked
    return printSelections(all)
  },
  print: String,
}

/** `expand` reads a noderange; only who changes groups needs it. */
export function groupAttributes(expand: (noderange: string) => NodeName[]): AttributeTable<Membership> {
  return {
    members: {
      describe: 'a noderange: who is in the group; the same as groups= of those nodes',
      list: true,
      print: ({ members }) => members.join(',') || undefined,
      set: (group, text) => ({ ...group, members: text.trim() === '' ? [] : expand(text) }),
    },
    where: field('where', where, "makes it dynamic: 'arch==x86_64', several with :: between"),
    priority: field('priority', wholeNumber(0, 1_000_000), 'where groups disagree the lowest number wins'),
    osimage: field('osimage', parsedBy(parseImageName), 'an osimage, for nodes that have none themselves'),
    usercomment: field('usercomment', remark, 'any text of one line'),
  }
}

/** The group after a change. `group.members` are those that nodes name: none while the group is dynamic. */
export function changeGroup(
  group: Membership,
  change: Change,
  expand: (noderange: string) => NodeName[],
): Membership {
  const changed = applyChange(groupAttributes(expand), group, change, group.name)
  if (changed.where !== undefined && changed.members.length > 0)
    throw new UserError('members: a dynamic group has those that where= selects', {
      what: `${changed.members.length} members`,
      allowed: 'members= or where= alone',
      object: group.name,
    })
  return changed
}

/** Every group by its name, those too that nodes merely name; members in the order of `nodes`. */
export function groupsOf(defined: readonly Group[], nodes: readonly Node[]): Map<string, Membership> {
  const groups = new Map<string, Membership>()
  for (const group of defined)
    groups.set(group.name, {
      ...group,
      members: group.where === undefined ? [] : selected(group.where, nodes),
    })
  for (const { name, groups: its } of nodes)
    for (const each of its) {
      const group = groups.get(each)
      if (!group) groups.set(each, { name: each, members: [name] })
      else if (group.where === undefined) group.members.push(name)
    }
  return groups
}

function selected(where: string, nodes: readonly Node[]): NodeName[] {
  return nodes.filter(selectsAll(nodeAttributes, parseSelections(where), noNode)).map(({ name }) => name)
}

/** The osimage of a node, or else that of its foremost group which has one. */
export function osimageFor(node: Node, defined: readonly Group[]): ImageName | undefined {
  if (node.osimage !== undefined) return node.osimage
  const its = defined.filter(
    ({ name, osimage, where }) =>
      osimage !== undefined &&
      (where === undefined ? node.groups.includes(name) : selected(where, [node]).length > 0),
  )
  const rank = ({ priority = Infinity }: Group) => priority
  its.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
  return its[0]?.osimage
}

/** A dynamic group computes its members: no node may name it. */
export function checkDynamic(defined: readonly Group[], nodes: readonly Node[]) {
  const dynamic = new Set(defined.filter(({ where }) => where !== undefined).map(({ name }) => name))
  if (dynamic.size === 0) return
  for (const { name, groups } of nodes) {
    const wrong = groups.find((group) => dynamic.has(group))
    if (wrong !== undefined)
      throw new UserError('groups: a dynamic group has those that its where= selects', {
        what: wrong,
        allowed: `lsdef -t group ${wrong} shows it`,
        object: name,
      })
  }
}

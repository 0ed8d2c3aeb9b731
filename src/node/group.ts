// Groups of nodes. Who is in a static group is said by the nodes' own `groups`, so there is one truth; a dynamic group
// has whoever its `where` selects at that moment.
import type { ImageName, NodeName } from '../address.ts'
import { parseImageName } from '../address.ts'
import type { AttributeTable, Change } from '../attribute.ts'
import { applyChange, field, later, optionalListOf, parsedBy, remark, wholeNumber } from '../attribute.ts'
import { UserError } from '../fault.ts'
import { parseSelections, printSelections, selectsAll } from '../selection.ts'
import { nodeAttributes } from './attributes.ts'
import type { Node } from './node.ts'
import { parseOverrideName, parsePathPattern, pathPatterns } from './values.ts'

export type Group = {
  name: string
  where?: string // makes the group dynamic
  priority?: number // where groups disagree: the lowest wins, none comes last
  osimage?: ImageName // for nodes that have none of their own
  overrides?: string[] // file trees that are laid over the image; the first one counts most
  exclude?: string[] // paths that updates leave alone
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
    overrides: field(
      'overrides',
      optionalListOf(parseOverrideName),
      'folders of STATEDIR/overrides whose files are laid over the image; the first one counts most',
    ),
    exclude: field('exclude', optionalListOf(parsePathPattern), later(pathPatterns, 'updates')),
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

/** The groups of a node that somebody defined, the foremost first: the lowest priority number, then by name. */
function foremostOf(node: Node, defined: readonly Group[]): Group[] {
  const isIn = ({ name, where }: Group) =>
    where === undefined ? node.groups.includes(name) : selected(where, [node]).length > 0
  const rank = ({ priority = Number.MAX_SAFE_INTEGER }: Group) => priority
  return defined.filter(isIn).sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
}

/** The osimage of a node, or else that of its foremost group which has one. */
export function osimageFor(node: Node, defined: readonly Group[]): ImageName | undefined {
  if (node.osimage !== undefined) return node.osimage
  const having = defined.filter(({ osimage }) => osimage !== undefined)
  return foremostOf(node, having)[0]?.osimage
}

export type Override = { name: string; of: string; must: boolean }

/**
 * The file trees that are laid over an image for a node, in the order in which they are laid, so that later ones win: that
 * of the image, of all nodes, of its groups (the foremost last), and its own. Those of groups were asked for by name and
 * must be there; the others are used when they are.
 */
export function overridesFor(node: Node, image: ImageName, defined: readonly Group[]): Override[] {
  const having = defined.filter(({ overrides }) => overrides !== undefined)
  const ofGroups = foremostOf(node, having).flatMap(({ name: group, overrides = [] }) =>
    overrides.map((name) => ({ name, of: `group ${group}`, must: true })),
  )
  const foremost = ofGroups.filter(({ name }, i) => ofGroups.findIndex((each) => each.name === name) === i)
  return [
    { name: image, of: 'its image', must: false },
    { name: 'all', of: 'all nodes', must: false },
    ...foremost.reverse(),
    { name: node.name, of: 'the node', must: false },
  ]
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

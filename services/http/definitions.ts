// The one way in which people's definitions get into the database: any number of them, all or none.
import type { NodeName } from '../../src/address.ts'
import { parseImageName, parseNodeName } from '../../src/address.ts'
import type { Change, Operation } from '../../src/attribute.ts'
import { UserError } from '../../src/fault.ts'
import { changeOsimage, filesToRead } from '../../src/image/osimage.ts'
import { changeNode } from '../../src/node/attributes.ts'
import { changeGroup, checkDynamic, groupsOf } from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'
import { parseGroupName } from '../../src/node/values.ts'
import { expandNoderange } from '../../src/noderange.ts'
import type { Definitions } from '../store/store.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { knownOf } from './admin-range.ts'

export type Entry = { type: 'node' | 'group' | 'osimage'; name: string; attrs: Record<string, string> }
/** `make`: none may exist; `change`: all must; `put`: either. */
export type Mode = 'make' | 'change' | 'put'
type How = { mode: Mode; op?: Operation }
type Needs = Pick<AdminNeeds, 'store' | 'networks' | 'keepFiles' | 'nodesChanged'>

/** Writes all of them or, when one is refused, none. */
export async function writeDefinitions(needs: Needs, entries: Entry[], { mode, op = 'set' }: How) {
  const { store, networks, keepFiles, nodesChanged } = needs
  const ofType = (type: Entry['type']) => entries.filter((entry) => entry.type === type)
  const [images, nodes, groups] = [ofType('osimage'), ofType('node'), ofType('group')]
  for (const some of [images, nodes, groups]) checkOnce(some)
  const changeOf = ({ attrs }: Entry): Change => ({ op, attrs })
  const read = await keepFiles([...new Set(images.flatMap((entry) => filesToRead(changeOf(entry))))])

  const touched = await store.atomically(async (scope) => {
    await checkGroups(scope) // before nodes that are made here name them
    await writeImages(scope)
    const named = await writeNodes(scope)
    const moved = await writeGroups(scope)
    if (nodes.length + groups.length > 0) checkDynamic(await scope.groups.list(), await scope.nodes.list())
    await checkOsimages(scope, [...nodes, ...groups])
    return [...new Set([...named, ...moved, ...(await usersOf(scope, images))])]
  })
  nodesChanged([...new Set([...touched, ...(await bootingOf(images))])])

  /** Nodes that boot one of these right now, whatever osimage they have. */
  async function bootingOf(changed: Entry[]): Promise<NodeName[]> {
    if (changed.length === 0) return []
    const names = new Set<string>(changed.map(({ name }) => name))
    return (await store.deployments.listOpen())
      .filter(({ image }) => names.has(image))
      .map(({ node }) => node)
  }

  async function writeImages({ osimages }: Definitions) {
    for (const entry of images) {
      const name = parseImageName(entry.name)
      const before = await osimages.get(name)
      if (mode === 'make' || (mode === 'put' && !before))
        await osimages.create([changeOsimage({ name }, changeOf(entry), read)])
      else await osimages.change([name], (image) => changeOsimage(image, changeOf(entry), read))
    }
  }

  async function writeNodes(scope: Definitions): Promise<NodeName[]> {
    const byName = new Map(nodes.map((entry) => [parseNodeName(entry.name), entry]))
    const names = [...byName.keys()]
    const edit = (node: Node) => changeNode(node, changeOf(byName.get(node.name)!), networks)
    const fresh = (name: NodeName) => edit({ name, groups: [], mac: [] })
    if (mode === 'make') await scope.nodes.create(names.map(fresh))
    else if (mode === 'change') await scope.nodes.change(names, edit)
    else {
      const there = await scope.nodes.list(names)
      const known = new Set(there.map(({ name }) => name))
      await scope.nodes.putMany([...there.map(edit), ...names.filter((name) => !known.has(name)).map(fresh)])
    }
    return names
  }

  /** Members are written into the nodes; answers with those that came or went. */
  async function writeGroups(scope: Definitions): Promise<NodeName[]> {
    if (groups.length === 0) return []
    const defined = new Map((await scope.groups.list()).map((group) => [group.name, group]))
    const all = new Map((await scope.nodes.list()).map((node) => [node.name, node]))
    const moved = new Set<NodeName>()
    for (const entry of groups) {
      const name = mode === 'change' ? entry.name : parseGroupName(entry.name)
      const before = [...all.values()].filter((node) => node.groups.includes(name)).map((node) => node.name)
      const expand = (text: string) =>
        expandNoderange(text, knownOf(text, [...all.values()], [...defined.values()])) as NodeName[]
      const group = { ...defined.get(name), name, members: before }
      const { members, ...row } = changeGroup(group, changeOf(entry), expand)
      await scope.groups.put(row)
      defined.set(name, row)
      for (const node of differing(before, members)) {
        const { groups: its, ...rest } = all.get(node)!
        const isIn = its.includes(name)
        all.set(node, { ...rest, groups: isIn ? its.filter((each) => each !== name) : [...its, name] })
        moved.add(node)
      }
    }
    await scope.nodes.putMany([...moved].map((name) => all.get(name)!))
    return [...moved]
  }

  async function checkGroups(scope: Definitions) {
    if (groups.length === 0 || mode === 'put') return
    const all = groupsOf(await scope.groups.list(), await scope.nodes.list())
    for (const { name } of groups) checkExistence(name, all.has(name))
  }

  function checkExistence(name: string, exists: boolean) {
    if (mode === 'make' && exists)
      throw new UserError('the group exists already', {
        what: name,
        allowed: 'chdef -t group',
        object: name,
        status: 409,
      })
    if (mode === 'change' && !exists) noSuch('group', name)
  }
}

export function noSuch(what: string, name: string): never {
  const shown = name.slice(0, 100)
  throw new UserError(`no such ${what}`, { what: shown, object: shown, status: 404 })
}

function checkOnce(entries: Entry[]) {
  const seen = new Set<string>()
  for (const { name, type } of entries) {
    if (seen.has(name))
      throw new UserError(`the ${type} is given twice`, {
        what: name.slice(0, 100),
        object: name.slice(0, 100),
      })
    seen.add(name)
  }
}

const differing = (a: readonly NodeName[], b: readonly NodeName[]) => {
  const [inA, inB] = [new Set(a), new Set(b)]
  return [...a.filter((name) => !inB.has(name)), ...b.filter((name) => !inA.has(name))]
}

/** An osimage is named to be installed: a name that is none would be noticed too late. */
async function checkOsimages({ osimages }: Definitions, entries: Entry[]) {
  const known = new Map<string, boolean>([['', true]])
  for (const { name, attrs } of entries) {
    const image = attrs.osimage?.trim() ?? ''
    if (!known.has(image)) known.set(image, (await osimages.get(parseImageName(image))) !== undefined)
    if (!known.get(image))
      throw new UserError('osimage: no such osimage', { what: image, object: name, status: 404 })
  }
}

async function usersOf({ nodes }: Definitions, images: Entry[]): Promise<NodeName[]> {
  if (images.length === 0) return []
  const names = new Set<string>(images.map(({ name }) => name))
  return (await nodes.list())
    .filter(({ osimage }) => osimage !== undefined && names.has(osimage))
    .map(({ name }) => name)
}

// Nodes, osimages and networks: defined, changed, shown and removed. A command that names several objects is done to all
// of them or to none.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { ImageName, NodeName } from '../../src/address.ts'
import { parseImageName, subnetMask } from '../../src/address.ts'
import type { AttributeTable, Change } from '../../src/attribute.ts'
import { printAttributes } from '../../src/attribute.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { changeOsimage, filesToRead, osimageAttributes } from '../../src/image/osimage.ts'
import { versionName } from '../../src/image/version.ts'
import { changeNode, nodeAttributes, subnetText } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import type { Node } from '../../src/node/node.ts'
import { expandNoderange, spellNames } from '../../src/noderange.ts'
import type { Nodes } from '../store/nodes.ts'
import type { AdminNeeds } from './admin.ts'
import { Define, List, Modify, Remove } from './admin-schemas.ts'

type Shown = { name: string; attrs: Record<string, string> }
/** What the four routes of a kind of object do; names come as typed. */
type Kind = {
  show(objects: string | undefined, attrs: string[] | undefined): Promise<Shown[]>
  define(objects: string, change: Change): Promise<string[]>
  modify(objects: string, change: Change): Promise<string[]>
  remove(objects: string): Promise<string[]>
}

export function nodeRoutes(app: FastifyInstance, needs: AdminNeeds) {
  objectRoutes(app, 'node', nodeKind(needs), needs)
}
export function osimageRoutes(app: FastifyInstance, needs: AdminNeeds) {
  objectRoutes(app, 'osimage', osimageKind(needs), needs)
}

/** Networks come from the configuration file alone: they are shown. */
export function networkRoutes(app: FastifyInstance, { networks }: AdminNeeds) {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.get('/networks', { schema: { querystring: List } }, async ({ query }) => {
    const rows = networks.map((network) => ({ name: networkName(network), network }))
    const names = query.objects === undefined ? rows.map(({ name }) => name) : wordsOf(query.objects)
    const found = names.map((name) => rows.find((row) => row.name === name) ?? noSuch('network', name))
    const asked = query.attrs === undefined ? undefined : wordsOf(query.attrs)
    return {
      objects: found.map(({ name, network }) => ({
        name,
        attrs: printAttributes(networkAttributes, network, asked),
      })),
    }
  })
}

function objectRoutes(app: FastifyInstance, what: 'node' | 'osimage', kind: Kind, { emit }: AdminNeeds) {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const path = `/${what}s`
  const done = (command: string, objects: string[]) => {
    const shown = objects.length > 5 ? `${objects.slice(0, 5)},... (${objects.length})` : objects.join()
    emit('admin.change', { who: 'local', what: `${command} ${what}`, object: shown })
    return { objects }
  }
  typed.get(path, { schema: { querystring: List } }, async ({ query }) => ({
    objects: await kind.show(query.objects, query.attrs === undefined ? undefined : wordsOf(query.attrs)),
  }))
  typed.post(path, { schema: { body: Define } }, async ({ body }) =>
    done('mkdef', await kind.define(body.objects.join(), { op: 'set', attrs: body.attrs })),
  )
  typed.patch(path, { schema: { body: Modify } }, async ({ body }) =>
    done('chdef', await kind.modify(body.objects.join(), { op: body.op, attrs: body.attrs })),
  )
  typed.delete(path, { schema: { body: Remove } }, async ({ body }) =>
    done('rmdef', await kind.remove(body.objects.join())),
  )
}

// ---- nodes ----

function nodeKind({ store, networks, deploy, nodesChanged }: AdminNeeds): Kind {
  const edit = (change: Change) => (node: Node) => changeNode(node, change, networks)

  /** An osimage is named to be installed: a name that is none would be noticed too late. */
  async function checkOsimage({ osimage = '' }: Record<string, string>) {
    if (osimage.trim() && !(await store.osimages.get(parseImageName(osimage.trim()))))
      noSuch('osimage', osimage)
  }
  async function changed(names: NodeName[]) {
    nodesChanged(names)
    return names
  }
  return {
    async show(objects, attrs) {
      const nodes = objects === undefined ? await store.nodes.list() : await inRange(store.nodes, objects)
      const wantsState = attrs === undefined || attrs.includes('currstate')
      const shown: Shown[] = []
      // One after the other: thousands of waiters at the one connection cost the square of their number.
      for (const node of nodes) {
        const state = wantsState && { currstate: await deploy.stat(node.name) }
        shown.push({ name: node.name, attrs: { ...printAttributes(nodeAttributes, node, attrs), ...state } })
      }
      return shown
    },
    async define(objects, change) {
      const names = spellNames(objects)
      await checkOsimage(change.attrs)
      await store.nodes.create(names.map((name) => edit(change)({ name, groups: [], mac: [] })))
      return changed(names)
    },
    async modify(objects, change) {
      const names = (await inRange(store.nodes, objects)).map(({ name }) => name)
      await checkOsimage(change.attrs)
      await store.nodes.change(names, edit(change))
      return changed(names)
    },
    async remove(objects) {
      const names = (await inRange(store.nodes, objects)).map(({ name }) => name)
      const busy = (await store.deployments.listOpen()).find(({ node }) => names.includes(node))
      if (busy)
        throw new UserError('the node is to be installed', {
          what: `${versionName({ name: busy.image, version: busy.version })} ${busy.state}`,
          allowed: `nodeset ${busy.node} boot first`,
          object: busy.node,
          status: 409,
        })
      await store.nodes.remove(names)
      return changed(names)
    },
  }
}

/** The nodes that a noderange names, in its order; one that names none is a mistake. */
export async function inRange(nodes: Pick<Nodes, 'list'>, expression: string): Promise<Node[]> {
  const all = new Map<string, Node>((await nodes.list()).map((node) => [node.name, node]))
  const groups = new Map<string, string[]>()
  for (const { name, groups: its } of all.values())
    for (const group of its) groups.get(group)?.push(name) ?? groups.set(group, [name])
  const names = expandNoderange(expression, { nodes: new Set(all.keys()), groups })
  if (names.length === 0)
    throw new UserError('the noderange leaves no node', { what: expression.slice(0, 100) })
  return names.map((name) => all.get(name)!)
}

// ---- osimages ----

function osimageKind({ store, images, keepFiles, nodesChanged }: AdminNeeds): Kind {
  /** In the order they were typed, each once. */
  const namesIn = (objects: string) => [...new Set(wordsOf(objects).map(parseImageName))]
  /** Nodes that have it as their osimage, and nodes that still boot it. */
  async function usersOf(names: ImageName[]): Promise<NodeName[]> {
    const booting = (await store.deployments.listOpen()).filter(({ image }) => names.includes(image))
    const users = (await store.nodes.list()).filter(({ osimage }) => osimage && names.includes(osimage))
    return [...new Set([...users.map(({ name }) => name), ...booting.map(({ node }) => node)])]
  }

  return {
    async show(objects, attrs) {
      const all = await store.osimages.list()
      const found = objects
        ? namesIn(objects).map((name) => all.find((image) => image.name === name) ?? noSuch('osimage', name))
        : all
      return found.map((image) => ({
        name: image.name,
        attrs: printAttributes(osimageAttributes, image, attrs),
      }))
    },
    async define(objects, change) {
      const names = namesIn(objects)
      const read = await keepFiles(filesToRead(change))
      await store.osimages.create(names.map((name) => changeOsimage({ name }, change, read)))
      return names
    },
    async modify(objects, change) {
      const names = namesIn(objects)
      const read = await keepFiles(filesToRead(change))
      await store.osimages.change(names, (image: Osimage) => changeOsimage(image, change, read))
      nodesChanged(await usersOf(names))
      return names
    },
    async remove(objects) {
      const names = namesIn(objects)
      const captured = images.list().find(({ name }) => names.includes(name))
      if (captured) throw inUse(captured.name, `version ${captured.version} is in the image store`)
      for (const name of names) {
        const [user, ...more] = await usersOf([name])
        if (user) throw inUse(name, `osimage of ${user}${more.length ? ` and ${more.length} more` : ''}`)
      }
      await store.osimages.remove(names)
      return names
    },
  }
}

const inUse = (name: ImageName, what: string) =>
  new UserError('the osimage is in use', {
    what,
    allowed: 'osimages without versions and nodes',
    object: name,
    status: 409,
  })

// ---- networks, with xCAT's attribute names ----

const networkAttributes: AttributeTable<Network> = {
  net: { describe: 'the subnet', print: ({ subnet }) => subnetText(subnet).split('/')[0] },
  mask: { describe: 'its mask', print: ({ subnet }) => subnetMask(subnet) },
  mgtifname: { describe: 'our network interface', print: (network) => network.interface },
  dhcpserver: { describe: 'our address', print: ({ address }) => address },
  tftpserver: { describe: 'our address', print: ({ address }) => address },
  dynamicrange: { describe: 'the pool', print: ({ pool }) => pool && `${pool.from}-${pool.to}` },
  gateway: { describe: 'the default route', print: ({ gateway }) => gateway },
  nameservers: { describe: 'for DNS', print: ({ dns }) => dns?.join() },
  ntpservers: { describe: 'for NTP', print: ({ ntp }) => ntp?.join() },
  domain: { describe: 'the DNS domain', print: ({ domain }) => domain },
}

/** `10_0_0_0-255_255_255_0`, as xCAT's makenetworks names them. */
const networkName = ({ subnet }: Network) =>
  [subnetText(subnet).split('/')[0], subnetMask(subnet)].join('-').replaceAll('.', '_')

// ---- words ----

const wordsOf = (text: string) =>
  text
    .split(',')
    .map((word) => word.trim())
    .filter(Boolean)

function noSuch(what: string, name: string): never {
  throw new UserError(`no such ${what}`, {
    what: name.slice(0, 100),
    object: name.slice(0, 100),
    status: 404,
  })
}

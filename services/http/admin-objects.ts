// Nodes, groups, osimages and networks: defined, changed, shown and removed. A command that names several objects is
// done to all of them or to none. What is special of nodes and groups is in files of their own.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { ImageName, NodeName } from '../../src/address.ts'
import { parseImageName, subnetMask } from '../../src/address.ts'
import type { AttributeTable, Change } from '../../src/attribute.ts'
import { printAttributes, wordsOf } from '../../src/attribute.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { changeOsimage, filesToRead, osimageAttributes } from '../../src/image/osimage.ts'
import { subnetText } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import { parseSelections, type Selection, selectsAll } from '../../src/selection.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { groupKind, nodeKind } from './admin-nodes.ts'
import { Define, Definitions, List, Modify, Remove } from './admin-schemas.ts'
import { noSuch, writeDefinitions } from './definitions.ts'

export type Shown = { name: string; attrs: Record<string, string> }
/** What the four routes of a kind of object do; names come as typed. */
export type Kind = {
  /** The names of those that all selections mean, of these objects or of all. */
  select(where: Selection[], objects: string | undefined): Promise<string[]>
  show(objects: string | undefined, attrs: string[] | undefined): Promise<Shown[]>
  define(objects: string, change: Change): Promise<string[]>
  modify(objects: string, change: Change): Promise<string[]>
  remove(objects: string): Promise<string[]>
}

export function nodeRoutes(app: FastifyInstance, needs: AdminNeeds) {
  objectRoutes(app, 'node', nodeKind(needs), needs)
}
export function groupRoutes(app: FastifyInstance, needs: AdminNeeds) {
  objectRoutes(app, 'group', groupKind(needs), needs)
}
export function osimageRoutes(app: FastifyInstance, needs: AdminNeeds) {
  objectRoutes(app, 'osimage', osimageKind(needs), needs)
}

/** Definitions of several types at once: stanza files and imports. */
export function definitionRoutes(app: FastifyInstance, needs: AdminNeeds) {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  // 65,536 nodes with all that one can say of them.
  const options = { schema: { body: Definitions }, bodyLimit: 128 << 20 }
  typed.post('/definitions', options, async ({ body: { mode, entries } }) => {
    await writeDefinitions(needs, entries, { mode })
    const names = entries.map(({ name }) => name)
    needs.emit('admin.change', { who: 'local', what: `${mode} (${names.length})`, object: listed(names) })
    return { objects: names }
  })
}

/** Networks come from the configuration file alone: they are shown. */
export function networkRoutes(app: FastifyInstance, { networks, networksAt }: AdminNeeds) {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  typed.get('/networks', { schema: { querystring: List } }, async ({ query }) => {
    const rows = networks.map((network) => ({ name: networkName(network), network }))
    const names = query.objects === undefined ? rows.map(({ name }) => name) : wordsOf(query.objects)
    const found = names.map((name) => rows.find((row) => row.name === name) ?? noSuch('network', name))
    const asked = query.attrs === undefined ? undefined : wordsOf(query.attrs)
    return {
      ...(networksAt !== undefined && { place: networksAt }),
      objects: found.map(({ name, network }) => ({
        name,
        attrs: printAttributes(networkAttributes, network, asked),
      })),
    }
  })
}

function named(objects: string): string {
  if (wordsOf(objects).length > 0) return objects
  throw new UserError('a name is missing', { what: JSON.stringify(objects.slice(0, 80)) })
}

const listed = (names: string[]) =>
  names.length > 5 ? `${names.slice(0, 5)},... (${names.length})` : names.join()

function objectRoutes(
  app: FastifyInstance,
  what: 'node' | 'group' | 'osimage',
  kind: Kind,
  { emit }: AdminNeeds,
) {
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const path = `/${what}s`
  const done = (command: string, objects: string[]) => {
    emit('admin.change', { who: 'local', what: `${command} ${what}`, object: listed(objects) })
    return { objects }
  }
  /** Which objects: those that are named, or selected, or both. */
  async function meant(where: string | undefined, objects: string | undefined): Promise<string> {
    if (where === undefined && objects !== undefined) return named(objects)
    if (where === undefined) throw new UserError('bad request', { what: 'neither objects nor where' })
    const names = await kind.select(parseSelections(where), objects)
    if (names.length === 0) throw new UserError(`no ${what} is so`, { what: where, status: 404 })
    return names.join()
  }
  typed.get(path, { schema: { querystring: List } }, async ({ query }) => ({
    objects: await kind.show(
      query.where === undefined ? query.objects : await meant(query.where, query.objects),
      query.attrs === undefined ? undefined : wordsOf(query.attrs),
    ),
  }))
  typed.post(path, { schema: { body: Define } }, async ({ body }) =>
    done('mkdef', await kind.define(named(body.objects.join()), { op: 'set', attrs: body.attrs })),
  )
  typed.patch(path, { schema: { body: Modify } }, async ({ body }) =>
    done(
      'chdef',
      await kind.modify(await meant(body.where, body.objects?.join()), { op: body.op, attrs: body.attrs }),
    ),
  )
  typed.delete(path, { schema: { body: Remove } }, async ({ body }) =>
    done('rmdef', await kind.remove(await meant(body.where, body.objects?.join()))),
  )
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
    async select(where, objects) {
      const all = await store.osimages.list()
      const asked = objects && namesIn(objects)
      const meant = selectsAll(osimageAttributes, where, { name: '' as ImageName })
      return all
        .filter((image) => (!asked || asked.includes(image.name)) && meant(image))
        .map(({ name }) => name)
    },
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
        const group = (await store.groups.list()).find(({ osimage }) => osimage === name)
        if (group) throw inUse(name, `osimage of group ${group.name}`)
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
    allowed: 'osimages without versions, nodes and groups',
    object: name,
    status: 409,
  })

// ---- networks, with xCAT's attribute names ----

const networkAttributes: AttributeTable<Network> = {
  net: { describe: 'the subnet', print: ({ subnet }) => subnetText(subnet).split('/')[0] },
  mask: { describe: 'its mask', print: ({ subnet }) => subnetMask(subnet) },
  mgtifname: { describe: 'our network interface', print: (network) => network.interface },
  dhcpserver: {
    describe: 'our address; empty: another server gives the addresses (mode: proxy)',
    print: ({ address, mode }) => (mode === 'proxy' ? undefined : address),
  },
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

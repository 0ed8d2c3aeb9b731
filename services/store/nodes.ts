// Nodes in the database. Whatever names several nodes is done to all of them or to none.
import type { Kysely, Transaction } from 'kysely'
import type { NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'
import { atomically } from './atomic.ts'
import { type Columns, flag, fromRow, json, number, sealed, text, toRow } from './columns.ts'
import type { Sealed, Secrets } from './secrets.ts'
import type { Tables } from './tables.ts'

const columns: Columns<Node> = {
  name: text,
  groups: json,
  mac: json,
  ip: text,
  arch: text,
  netboot: text,
  osimage: text,
  installdisk: text,
  serialport: number,
  serialspeed: number,
  serialflow: text,
  kcmdline: text,
  addkcmdline: text,
  lock: flag,
  installretries: number,
  sshhostkey: text,
  sshuser: text,
  sshport: number,
  sshjump: text,
  sshjumphostkey: text,
  uuid: text,
  serial: text,
  mgt: text,
  bmc: text,
  bmcusername: text,
  bmcpassword: sealed,
  installnic: text,
  primarynic: text,
  os: text,
  profile: text,
  postscripts: json,
  postbootscripts: json,
  xcatmaster: text,
  tftpserver: text,
  nfsserver: text,
  protect: flag,
  exclude: json,
  usercomment: text,
  status: text,
  statustime: text,
  offline: flag,
  localLoader: json,
  cloneHostKeys: json,
}
const CHUNK = 500 // names or rows in one statement: SQLite allows 32,766 values

/** A secret goes in as a clear text and comes back encrypted: `secrets.open` reads it. */
export function openNodes(db: Kysely<Tables>, { seal }: Pick<Secrets, 'seal'>) {
  async function get(name: NodeName): Promise<Node | undefined> {
    return (await read(db, [name]))[0]
  }

  /** All nodes, or those of these names that exist; by name. */
  async function list(names?: NodeName[]): Promise<Node[]> {
    if (names) return read(db, names)
    const rows = await db.selectFrom('node').selectAll().orderBy('name').execute()
    return rows.map((row) => fromRow(columns, row))
  }

  const put = (node: Node): Promise<void> => putMany([node])
  const putMany = (nodes: Node[]): Promise<void> => atomically(db, (t) => write(t, nodes.map(withoutClear)))

  /** New nodes; refused when one of them exists. */
  function create(nodes: Node[]): Promise<void> {
    return atomically(db, async (t) => {
      const [found] = await read(
        t,
        nodes.map(({ name }) => name),
      )
      if (found) throw alreadyThere(found.name)
      await write(t, nodes.map(withoutClear))
    })
  }

  /** Reads, changes and writes as one step, so that no other change can come between. */
  function change(names: NodeName[], edit: (node: Node) => Node): Promise<void> {
    return atomically(db, async (t) => write(t, (await readAll(t, names)).map(edit).map(withoutClear)))
  }

  function remove(names: NodeName[]): Promise<void> {
    return atomically(db, async (t) => {
      await readAll(t, names)
      for (const some of chunks(names)) {
        await t.deleteFrom('deployment').where('node', 'in', some).execute()
        await t.deleteFrom('node').where('name', 'in', some).execute()
      }
    })
  }

  function withoutClear(node: Node): Node {
    const { name, bmcpassword } = node
    if (!bmcpassword || 'sealed' in bmcpassword) return node
    return { ...node, bmcpassword: { sealed: seal(placeOf(name), bmcpassword.clear) } }
  }

  return { get, list, put, putMany, create, change, remove }
}
export type Nodes = ReturnType<typeof openNodes>

/** Where a secret is kept: it can be read nowhere else. */
export const placeOf = (name: NodeName): string => `node ${name} bmcpassword`

/** Everything in the database that the key must open. */
export async function sealedIn(db: Kysely<Tables>): Promise<Sealed[]> {
  const query = db.selectFrom('node').select(['name', 'bmcpassword']).where('bmcpassword', 'is not', null)
  return (await query.orderBy('name').execute()).map(({ name, bmcpassword }) => ({
    place: placeOf(name as NodeName),
    sealed: String(bmcpassword),
  }))
}

type Db = Kysely<Tables> | Transaction<Tables>

async function read(db: Db, names: NodeName[]): Promise<Node[]> {
  const nodes: Node[] = []
  for (const some of chunks(names)) {
    const rows = await db.selectFrom('node').selectAll().where('name', 'in', some).orderBy('name').execute()
    nodes.push(...rows.map((row) => fromRow(columns, row)))
  }
  return nodes
}

async function readAll(db: Db, names: NodeName[]): Promise<Node[]> {
  const nodes = await read(db, names)
  const found = new Set(nodes.map(({ name }) => name))
  const missing = names.find((name) => !found.has(name))
  if (missing !== undefined)
    throw new UserError('no such node', { what: missing, object: missing, status: 404 })
  return nodes
}

async function write(t: Transaction<Tables>, nodes: Node[]) {
  for (const some of chunks(nodes)) {
    const rows = some.map((node) => toRow(columns, node))
    const names = some.map(({ name }) => name)
    await t
      .insertInto('node')
      .values(rows)
      .onConflict((c) =>
        c.column('name').doUpdateSet((eb) => everyColumn((name) => eb.ref(`excluded.${name}`))),
      )
      .execute()
    await t.deleteFrom('node_key').where('node', 'in', names).execute()
  }
  // After all old keys are gone, so that two nodes can swap an address in one command.
  for (const some of chunks(nodes)) await claim(t, some)
}

const everyColumn = <T>(value: (name: string) => T) =>
  Object.fromEntries(Object.keys(columns).map((name) => [name, value(name)]))

/** Takes what these nodes share with no other; a second owner of one is refused by the first one's name. */
async function claim(t: Transaction<Tables>, nodes: Node[]) {
  const keys = nodes.flatMap(keysOf)
  if (keys.length === 0) return
  for (const some of chunks(keys)) {
    const taken = await t
      .insertInto('node_key')
      .values(some)
      .onConflict((c) => c.columns(['kind', 'value']).doNothing())
      .returning(['kind', 'value', 'node'])
      .execute()
    if (taken.length === some.length) continue
    const mine = new Set(taken.map(({ kind, value, node }) => `${kind} ${value} ${node}`))
    const lost = some.find(({ kind, value, node }) => !mine.has(`${kind} ${value} ${node}`))!
    throw await ownedBy(t, lost)
  }
}

function keysOf(node: Node): Tables['node_key'][] {
  const owned = [
    ...node.mac.map((value) => ['mac', value] as const),
    ...(['ip', 'uuid', 'serial'] as const).map((kind) => [kind, node[kind]] as const),
  ]
  return owned.flatMap(([kind, value]) => (value === undefined ? [] : [{ kind, value, node: node.name }]))
}

async function ownedBy(t: Transaction<Tables>, { kind, value, node }: Tables['node_key']) {
  const owner = await t
    .selectFrom('node_key')
    .select('node')
    .where('kind', '=', kind)
    .where('value', '=', value)
    .executeTakeFirstOrThrow()
  return new UserError(`${kind}: belongs to node ${owner.node}`, { what: value, object: node, status: 409 })
}

const alreadyThere = (name: string) =>
  new UserError('the node exists already', { what: name, allowed: 'chdef', object: name, status: 409 })

function chunks<T>(list: T[]): T[][] {
  return Array.from({ length: Math.ceil(list.length / CHUNK) }, (_, i) =>
    list.slice(i * CHUNK, (i + 1) * CHUNK),
  )
}

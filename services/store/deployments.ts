// Deployments in the database: the record of every intent to install a node, the newest of a node being the one that counts.
import type { Kysely } from 'kysely'
import type { NodeName } from '../../src/address.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import { type Columns, fromRow, number, text, toRow } from './columns.ts'
import type { Tables } from './tables.ts'

const columns: Columns<Deployment> = {
  id: text,
  node: text,
  image: text,
  version: number,
  digest: text,
  state: text,
  attempt: number,
  retries: number,
  armedAt: number,
  expiresAt: number,
  heardAt: number,
  stateAt: number,
  nonce: text,
  boundTo: text,
  phase: text,
  percent: number,
  bytes: number,
  seq: number,
  reason: text,
}
const KEPT = 5 // of one node: the one that counts, and what came before it
const open = ['armed', 'booting', 'installing']

export function openDeploymentRows(db: Kysely<Tables>) {
  const all = () => db.selectFrom('deployment').selectAll()
  const records = (rows: Tables['deployment'][]) => rows.map((row) => fromRow(columns, row))

  async function get(id: string): Promise<Deployment | undefined> {
    return records(await all().where('id', '=', id).execute())[0]
  }

  /** The newest of a node. */
  async function ofNode(node: NodeName): Promise<Deployment | undefined> {
    return records(await all().where('node', '=', node).orderBy('armedAt', 'desc').limit(1).execute())[0]
  }

  /** Oldest first. */
  const list = async (): Promise<Deployment[]> => records(await all().orderBy('armedAt').execute())
  /** Those that may still install their node, oldest first. */
  const listOpen = async (): Promise<Deployment[]> =>
    records(await all().where('state', 'in', open).orderBy('armedAt').execute())

  /** Writes one, and forgets the oldest of its node: every install leaves a row. */
  async function put(deployment: Deployment): Promise<void> {
    const row = toRow(columns, deployment)
    await db
      .insertInto('deployment')
      .values(row)
      .onConflict((c) => c.column('id').doUpdateSet(row))
      .execute()
    const its = db.selectFrom('deployment').select('id').where('node', '=', deployment.node)
    const kept = its.orderBy('armedAt', 'desc').limit(KEPT)
    await db
      .deleteFrom('deployment')
      .where('node', '=', deployment.node)
      .where('id', 'not in', kept)
      .execute()
  }

  async function remove(id: string): Promise<void> {
    await db.deleteFrom('deployment').where('id', '=', id).execute()
  }

  return { get, ofNode, list, listOpen, put, remove }
}
export type DeploymentRows = ReturnType<typeof openDeploymentRows>

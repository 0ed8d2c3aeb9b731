// The steps from an empty file to the tables of today. A step that was released is never changed: a new one is added.
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

const nodeTexts =
  'groups mac ip arch netboot osimage installdisk serialflow kcmdline addkcmdline sshhostkey sshuser status statustime localLoader cloneHostKeys'
const nodeNumbers = 'serialport serialspeed lock installretries sshport offline'
const deploymentTexts = 'node image digest state nonce boundTo phase reason'
const deploymentNumbers = 'version attempt retries armedAt expiresAt heardAt stateAt percent bytes seq'

async function first(db: Kysely<any>) {
  await table(db, 'node', 'name', nodeTexts, nodeNumbers)
  await db.schema
    .createTable('node_key')
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('value', 'text', (c) => c.notNull())
    .addColumn('node', 'text', (c) => c.notNull().references('node.name').onDelete('cascade'))
    .addPrimaryKeyConstraint('node_key_once', ['kind', 'value'])
    .execute()
  await db.schema.createIndex('node_key_node').on('node_key').column('node').execute()
  await table(db, 'osimage', 'name', 'profile addkcmdline captured', '')
  await table(db, 'deployment', 'id', deploymentTexts, deploymentNumbers)
  await db.schema.createIndex('deployment_node').on('deployment').columns(['node', 'armedAt']).execute()
  await table(db, 'local', 'setting', 'value', '')
}

/** What an osimage has that is booted as given. */
async function bootOnly(db: Kysely<any>) {
  for (const column of ['provmethod', 'kernel', 'initrd', 'kcmdline', 'files'])
    await db.schema.alterTable('osimage').addColumn(column, 'text').execute()
}

/** `group` itself is a word of SQL. */
async function groups(db: Kysely<any>) {
  await table(db, 'node_group', 'name', 'where osimage usercomment', 'priority')
  await db.schema.alterTable('node').addColumn('usercomment', 'text').execute()
}

/** `id` is the server's own count: it is the only writer. */
async function audit(db: Kysely<any>) {
  await db.schema
    .createTable('audit')
    .addColumn('id', 'bigint', (c) => c.primaryKey().notNull())
    .addColumn('time', 'bigint', (c) => c.notNull())
    .addColumn('who', 'text', (c) => c.notNull())
    .addColumn('what', 'text', (c) => c.notNull())
    .addColumn('object', 'text', (c) => c.notNull())
    .addColumn('before', 'text')
    .addColumn('after', 'text')
    .execute()
  await db.schema.createIndex('audit_object').on('audit').columns(['object', 'id']).execute()
}

/** What a cluster's admin says of a node besides how it is installed. */
async function moreOfNodes(db: Kysely<any>) {
  const texts =
    'sshjump uuid serial mgt bmc bmcusername bmcpassword installnic primarynic os profile postscripts postbootscripts xcatmaster tftpserver nfsserver exclude'
  for (const column of texts.split(' '))
    await db.schema.alterTable('node').addColumn(column, 'text').execute()
  await db.schema.alterTable('node').addColumn('protect', 'bigint').execute()
}

/** What machines were sent, and what happened: the recent part of both. */
async function records(db: Kysely<any>) {
  await db.schema
    .createTable('boot_record')
    .addColumn('id', 'bigint', (c) => c.primaryKey().notNull())
    .addColumn('mac', 'text', (c) => c.notNull())
    .addColumn('node', 'text')
    .addColumn('began', 'bigint', (c) => c.notNull())
    .addColumn('last', 'bigint', (c) => c.notNull())
    .addColumn('stage', 'text', (c) => c.notNull())
    .addColumn('steps', 'bigint', (c) => c.notNull())
    .addColumn('bytes', 'bigint', (c) => c.notNull())
    .addColumn('next', 'bigint', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('boot_record_mac').on('boot_record').columns(['mac', 'id']).execute()
  await db.schema.createIndex('boot_record_node').on('boot_record').columns(['node', 'id']).execute()
  await db.schema
    .createTable('boot_step')
    .addColumn('boot', 'bigint', (c) => c.notNull())
    .addColumn('number', 'bigint', (c) => c.notNull())
    .addColumn('data', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('boot_step_once', ['boot', 'number'])
    .execute()
  await db.schema
    .createTable('event')
    .addColumn('id', 'bigint', (c) => c.primaryKey().notNull())
    .addColumn('time', 'bigint', (c) => c.notNull())
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('node', 'text')
    .addColumn('data', 'text', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('event_node').on('event').columns(['node', 'id']).execute()
}

/** What groups lay over an image, what xCAT says of osimages, and what runs in processes of their own. */
async function overridesJobs(db: Kysely<any>) {
  for (const column of ['overrides', 'exclude'])
    await db.schema.alterTable('node_group').addColumn(column, 'text').execute()
  const ofImages =
    'exclude scrub postscripts postbootscripts pkglist pkgdir otherpkglist otherpkgdir template synclists partitionfile usercomment'
  for (const column of ofImages.split(' '))
    await db.schema.alterTable('osimage').addColumn(column, 'text').execute()
  await table(db, 'job', 'id', 'kind node image state hostKey result fault', 'startedAt endedAt')
  await db.schema.createIndex('job_started').on('job').column('startedAt').execute()
}

/** The way to a golden client over another machine. */
async function jumpHosts(db: Kysely<any>) {
  await db.schema.alterTable('node').addColumn('sshjumphostkey', 'text').execute()
  await db.schema.alterTable('job').addColumn('jumpHostKey', 'text').execute()
}

/** Versions that jobs read. */
async function jobUses(db: Kysely<any>) {
  await db.schema.alterTable('job').addColumn('uses', 'text').execute()
}

function table(db: Kysely<any>, name: string, key: string, texts: string, numbers: string) {
  const start = db.schema.createTable(name).addColumn(key, 'text', (c) => c.primaryKey().notNull())
  const words = (list: string) => list.split(' ').filter(Boolean)
  const withTexts = words(texts).reduce((made, column) => made.addColumn(column, 'text'), start)
  return words(numbers)
    .reduce((made, column) => made.addColumn(column, 'bigint'), withTexts)
    .execute()
}

export const migrations: Record<string, Migration> = {
  '0001-nodes-osimages-deployments': { up: first },
  '0002-groups': { up: groups },
  '0003-boot-only-osimages': { up: bootOnly },
  '0004-audit': { up: audit },
  '0005-more-of-nodes': { up: moreOfNodes },
  '0006-records': { up: records },
  '0007-overrides-jobs': { up: overridesJobs },
  '0008-jump-hosts': { up: jumpHosts },
  '0009-job-uses': { up: jobUses },
}

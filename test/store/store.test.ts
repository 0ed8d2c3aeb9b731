import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { Kysely, sql } from 'kysely'
import { Migrator } from 'kysely/migration'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { openJobRows } from '../../services/store/jobs.ts'
import { migrations } from '../../services/store/migrations.ts'
import { sqliteDialect } from '../../services/store/sqlite.ts'
import { openStore } from '../../services/store/store.ts'
import type { Tables } from '../../services/store/tables.ts'
import type { Digest, ImageName, Ipv4, Mac, NodeName } from '../../src/address.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { ended, type Job } from '../../src/job.ts'
import type { Node } from '../../src/node/node.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-store-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
const newPath = () => join(folder, `${++files}`, 'sysclone.db')
async function newStore(path = newPath()) {
  const store = await openStore(path)
  onTestFinished(() => store.close())
  return store
}

/** A database with all tables, which nobody holds. */
async function migratedPath() {
  const path = newPath()
  await (await openStore(path)).close()
  return path
}

const mac = (n: number) => `52:54:00:00:00:${n.toString(16).padStart(2, '0')}` as Mac
const node = (name: string, more: Partial<Node> = {}): Node => ({
  name: name as NodeName,
  groups: [],
  mac: [],
  ...more,
})
const names = (...list: string[]) => list as NodeName[]
const full: Required<Node> = {
  name: 'n1' as NodeName,
  groups: ['all', 'compute'],
  mac: [mac(1), mac(2)],
  ip: '10.0.0.7' as Ipv4,
  arch: 'x86_64',
  netboot: 'grub2',
  osimage: 'img' as ImageName,
  installdisk: '/dev/sda',
  serialport: 0,
  serialspeed: 115200,
  serialflow: 'hard',
  kcmdline: 'quiet',
  addkcmdline: 'debug',
  lock: false,
  installretries: 0,
  sshhostkey: 'SHA256:x',
  sshuser: 'root',
  sshport: 22,
  sshjump: 'admin@gate:2222',
  sshjumphostkey: 'SHA256:y',
  uuid: 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6',
  serial: 'S 1',
  mgt: 'ipmi',
  bmc: 'n1-bmc',
  bmcusername: 'ADMIN',
  bmcpassword: { sealed: 'v1:kept as it is' },
  installnic: 'eth0',
  primarynic: 'mac',
  os: 'debian12',
  profile: 'compute',
  postscripts: ['a'],
  postbootscripts: ['b'],
  xcatmaster: 'mn',
  tftpserver: 'mn',
  nfsserver: '10.0.0.2',
  protect: true,
  exclude: ['/scratch/'],
  usercomment: 'left of the door',
  status: 'booted',
  statustime: '2026-01-01T00:00:00.000Z',
  offline: true,
  localLoader: { espUuid: 'A1B2-C3D4', path: '/EFI/debian/grubx64.efi' },
  cloneHostKeys: ['SHA256:a', 'SHA256:b'],
}
const deployment = (id: string, more: Partial<Deployment> = {}): Deployment => ({
  id,
  node: 'n1' as NodeName,
  image: 'img' as ImageName,
  version: 3,
  digest: `sha256:${'0'.repeat(64)}` as Digest,
  state: 'armed',
  attempt: 1,
  retries: 2,
  armedAt: 1_700_000_000_000,
  expiresAt: 1_700_000_100_000,
  heardAt: 1_700_000_000_000,
  stateAt: 1_700_000_000_000,
  ...more,
})

test('the file and its companions are for their owner alone', async () => {
  const path = newPath()
  const store = await newStore(path)
  await store.nodes.put(full)
  const modes = readdirSync(join(path, '..')).map((name) => statSync(join(path, '..', name)).mode & 0o777)
  expect(modes.length).toBeGreaterThan(1)
  expect(new Set(modes)).toEqual(new Set([0o600]))
})

test('every field of a node comes back, also after the file was closed and opened', async () => {
  const path = newPath()
  const first = await openStore(path)
  await first.nodes.put({ ...full, bmcpassword: { clear: 'hunter2' } })
  await first.nodes.put(node('n2'))
  await first.close()
  const store = await newStore(path)
  const [n1, ...others] = await store.nodes.list()
  expect(n1).toEqual({ ...full, bmcpassword: { sealed: expect.stringMatching(/^v1:/) } })
  expect(store.passwordOf(n1!)).toBe('hunter2')
  expect(others).toEqual([node('n2')])
  expect(await store.nodes.get('n3' as NodeName)).toBeUndefined()
})

test('law: a node comes back as it was put', async () => {
  const store = await newStore()
  const { name: _, mac: __, ip: ___, ...rest } = full
  const optional = fc.subarray(Object.keys(rest).filter((key) => key !== 'groups') as (keyof typeof rest)[])
  await fc.assert(
    fc.asyncProperty(optional, fc.array(fc.string()), async (keys, groups) => {
      const made = node('x', { ...Object.fromEntries(keys.map((key) => [key, full[key]])), groups })
      await store.nodes.put(made)
      expect(await store.nodes.get(made.name)).toEqual(made)
    }),
    { numRuns: 40 },
  )
})

test('a MAC, an address, a UUID and a serial number have one owner, who is named', async () => {
  const { nodes } = await newStore()
  await nodes.put(full)
  await expect(nodes.put(node('n2', { mac: [mac(9), mac(2)] }))).rejects.toThrow(
    'n2: mac: belongs to node n1 (52:54:00:00:00:02)',
  )
  await expect(nodes.put(node('n2', { ip: full.ip }))).rejects.toThrow(
    'n2: ip: belongs to node n1 (10.0.0.7)',
  )
  await expect(nodes.put(node('n2', { uuid: full.uuid }))).rejects.toThrow(
    `n2: uuid: belongs to node n1 (${full.uuid})`,
  )
  await expect(nodes.put(node('n2', { serial: full.serial }))).rejects.toThrow(
    'n2: serial: belongs to node n1 (S 1)',
  )
  await expect(nodes.putMany([node('a', { mac: [mac(5)] }), node('b', { mac: [mac(5)] })])).rejects.toThrow(
    'b: mac: belongs to node a',
  )
  expect(await nodes.list()).toEqual([full]) // nothing of the refused ones was written
})

test('what a node gives up is free, and two nodes can swap in one command', async () => {
  const { nodes } = await newStore()
  await nodes.putMany([node('a', { mac: [mac(1)] }), node('b', { mac: [mac(2)] })])
  await nodes.putMany([node('a', { mac: [mac(2)] }), node('b', { mac: [mac(1)] })])
  await nodes.remove(names('a'))
  await nodes.put(node('c', { mac: [mac(2)] }))
  expect((await nodes.list()).map(({ name, mac: [first] }) => [name, first])).toEqual([
    ['b', mac(1)],
    ['c', mac(2)],
  ])
})

test('create, change and remove are done to all named nodes or to none', async () => {
  const { nodes, deployments } = await newStore()
  await nodes.create([node('a'), node('b')])
  await deployments.put(deployment('1', { node: 'a' as NodeName }))
  await expect(nodes.create([node('c'), node('b')])).rejects.toThrow('b: the node exists already')
  await expect(nodes.change(names('a', 'c'), (n) => ({ ...n, lock: true }))).rejects.toThrow(
    'c: no such node',
  )
  await expect(nodes.remove(names('a', 'c'))).rejects.toThrow('c: no such node')
  await expect(
    nodes.change(names('a', 'b'), (n) => {
      if (n.name === 'b') throw new Error('no')
      return { ...n, lock: true }
    }),
  ).rejects.toThrow('no')
  expect(await nodes.list()).toEqual([node('a'), node('b')])
  expect(await deployments.list()).toHaveLength(1)
  await nodes.remove(names('a', 'b'))
  expect([await nodes.list(), await deployments.list()]).toEqual([[], []])
})

test('changes of one node at the same time are all kept', async () => {
  const { nodes } = await newStore()
  await nodes.put(node('a', { installretries: 0 }))
  const more = () => nodes.change(names('a'), (n) => ({ ...n, installretries: n.installretries! + 1 }))
  await Promise.all(Array.from({ length: 20 }, more))
  expect((await nodes.get('a' as NodeName))?.installretries).toBe(20)
})

test('10,000 nodes are written at once, and refused at once', { timeout: 20_000 }, async () => {
  const { nodes } = await newStore()
  const many = Array.from({ length: 10_000 }, (_, i) =>
    node(`n${i}`, {
      mac: [
        `52:54:00:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}` as Mac,
      ],
    }),
  )
  await nodes.create(many)
  expect(await nodes.list()).toHaveLength(10_000)
  const wrong = [
    ...many.map(({ name }, i) => node(`x${name}`, { ip: `10.${i >> 8}.${i & 255}.1` as Ipv4 })),
    node('y', { ip: '10.27.88.1' as Ipv4 }),
  ]
  await expect(nodes.create(wrong)).rejects.toThrow('y: ip: belongs to node xn7000')
  expect(await nodes.list()).toHaveLength(10_000)
})

test('osimages: all or none, and all fields come back', async () => {
  const { osimages } = await newStore()
  const image: Osimage = {
    name: 'img' as ImageName,
    profile: 'compute',
    addkcmdline: 'quiet',
    exclude: ['/a'],
    scrub: ['machine-id:keep'],
    postscripts: ['a'],
    postbootscripts: ['b'],
    pkglist: ['/c'],
    pkgdir: ['/d'],
    otherpkglist: ['/e'],
    otherpkgdir: ['/f'],
    template: '/g',
    synclists: ['/h'],
    partitionfile: 's:/i',
    usercomment: 'j',
    captured: {
      osarch: 'x86_64',
      osvers: 'debian12',
      osdistroname: 'debian12-x86_64',
      rootimgdir: '/x',
      version: 2,
      digest: `sha256:${'1'.repeat(64)}` as Digest,
    },
  }
  const bare: Osimage = { name: 'bare' as ImageName }
  await osimages.create([image])
  await expect(osimages.create([bare, image])).rejects.toThrow('img: the osimage exists already')
  expect(await osimages.get(bare.name)).toBeUndefined()
  await osimages.put(bare)
  expect(await osimages.list()).toEqual([bare, image])
  await osimages.change([bare.name], (each) => ({ ...each, profile: 'x' }))
  expect(await osimages.get(bare.name)).toEqual({ ...bare, profile: 'x' })
  await expect(osimages.remove([bare.name, 'gone' as ImageName])).rejects.toThrow('gone: no such osimage')
  await osimages.remove([bare.name])
  expect(await osimages.list()).toEqual([image])
})

test('deployments: every field, the newest of a node, the open ones', async () => {
  const { deployments } = await newStore()
  const old = deployment('1', { state: 'failed', reason: 'silent in disks', armedAt: 1 })
  const now = deployment('2', {
    state: 'installing',
    nonce: 'ab',
    boundTo: '10.0.0.7' as Ipv4,
    phase: 'copy',
    percent: 40,
    bytes: 2 ** 40,
    seq: 7,
  })
  for (const each of [now, old, deployment('3', { node: 'n2' as NodeName, armedAt: 2, state: 'booted' })])
    await deployments.put(each)
  expect(await deployments.get('2')).toEqual(now)
  expect(await deployments.ofNode('n1' as NodeName)).toEqual(now)
  expect((await deployments.list()).map(({ id }) => id)).toEqual(['1', '3', '2'])
  expect(await deployments.listOpen()).toEqual([now])
  await deployments.put({ ...now, percent: 41 })
  expect((await deployments.get('2'))?.percent).toBe(41)
  await deployments.remove('2')
  expect(await deployments.ofNode('n1' as NodeName)).toEqual(old)
})

test('deployments: the oldest of a node are forgotten, those of others stay', async () => {
  const { deployments } = await newStore()
  await deployments.put(deployment('other', { node: 'n2' as NodeName, armedAt: 0, state: 'booted' }))
  for (let i = 1; i <= 8; i++)
    await deployments.put(deployment(`d${i}`, { armedAt: i, state: i < 8 ? 'booted' : 'armed' }))
  expect((await deployments.list()).map(({ id }) => id)).toEqual(['other', 'd4', 'd5', 'd6', 'd7', 'd8'])
})

test('jobs: every field; of those that ended the oldest are forgotten, one that runs never', async () => {
  const db = new Kysely<Tables>({ dialect: sqliteDialect(await migratedPath()) })
  onTestFinished(() => db.destroy())
  const jobs = openJobRows(db, 3)
  const job: Job = {
    id: 'a',
    kind: 'capture',
    node: 'n1' as NodeName,
    image: 'img' as ImageName,
    hostKey: 'SHA256:x',
    state: 'running',
    startedAt: 1,
  }
  await jobs.put(job)
  for (let i = 2; i <= 6; i++)
    await jobs.put(ended({ ...job, id: `b${i}`, startedAt: i }, { result: `img:${i}` }, i + 10))
  const failed = ended({ ...job, id: 'c', startedAt: 7 }, { fault: { error: 'e', what: 'w' } }, 20)
  await jobs.put(failed)
  expect((await jobs.list(10)).map(({ id }) => id)).toEqual(['a', 'b5', 'b6', 'c'])
  expect((await jobs.list(2)).map(({ id }) => id)).toEqual(['b6', 'c'])
  expect(await jobs.listRunning()).toEqual([job])
  // Nor do those that run take the places of those that ended.
  for (const id of ['y', 'z']) await jobs.put({ ...job, id, startedAt: 30 })
  expect((await jobs.list(10)).map(({ id }) => id)).toEqual(['a', 'b5', 'b6', 'c', 'z', 'y'])
  expect(await jobs.get('c')).toEqual(failed)
  expect(await jobs.get('b6')).toEqual({
    ...job,
    id: 'b6',
    startedAt: 6,
    endedAt: 16,
    state: 'done',
    result: 'img:6',
  })
  expect(await jobs.get('b2')).toBeUndefined()
})

test('settings', async () => {
  const { settings } = await newStore()
  expect(await settings.get('server-key')).toBeUndefined()
  await settings.put('server-key', 'a')
  await settings.put('server-key', 'b')
  expect(await settings.get('server-key')).toBe('b')
})

test('a database of a newer version, and a file that is none, are refused and left as they are', async () => {
  const path = newPath()
  await (await openStore(path)).close()
  const raw = new DatabaseSync(path)
  raw.exec("insert into kysely_migration values ('9999-later', '2030-01-01')")
  raw.close()
  await expect(openStore(path)).rejects.toThrow(
    `${path}: the database was written by a newer version (9999-later`,
  )

  const other = join(folder, 'text.db')
  writeFileSync(other, 'this is a text and no database\n'.repeat(100))
  await expect(openStore(other)).rejects.toThrow(/the database can not be opened \(file is not a database/)
  expect(statSync(other).size).toBe(3100)
  const below = join(other, 'x.db')
  await expect(openStore(below)).rejects.toThrow(`${below}: the database can not be opened`)
})

test('a database of the first version is brought up to date, with what is in it', async () => {
  const path = newPath()
  mkdirSync(join(path, '..'))
  const [first] = Object.entries(migrations)
  const db = new Kysely<Tables>({ dialect: sqliteDialect(path) })
  const provider = { getMigrations: async () => Object.fromEntries([first!]) }
  expect((await new Migrator({ db, provider }).migrateToLatest()).error).toBeUndefined()
  await sql`insert into node (name, "groups", mac) values ('n1', '["a"]', '[]')`.execute(db)
  await db.destroy()
  const store = await newStore(path)
  const { nodes, groups } = store
  expect(await nodes.list()).toEqual([node('n1', { groups: ['a'] })])
  await nodes.change(names('n1'), (n1) => ({ ...n1, serial: 'S1', bmcpassword: { clear: 'x' } }))
  expect(store.passwordOf((await nodes.get('n1' as NodeName))!)).toBe('x')
  await groups.put({ name: 'a', priority: 1, where: 'arch==' })
  expect(await groups.list()).toEqual([{ name: 'a', priority: 1, where: 'arch==' }])
})

test('groups: every field comes back', async () => {
  const { groups, atomically } = await newStore()
  const whole = {
    name: 'a',
    where: 'arch==',
    priority: 0,
    osimage: 'img' as ImageName,
    usercomment: 'x',
    overrides: ['o1', 'o2'],
    exclude: ['/a'],
  }
  await groups.put({ name: 'b' })
  await groups.put(whole)
  expect(await groups.list()).toEqual([whole, { name: 'b' }])
  await groups.put({ name: 'a' })
  const failed = atomically(async (inside) => {
    await inside.groups.remove(['b'])
    await inside.nodes.create([node('n1')])
    throw new Error('no')
  })
  await expect(failed).rejects.toThrow('no')
  expect(await groups.list()).toEqual([{ name: 'a' }, { name: 'b' }])
})

// import-cluster and audit as a person types them, against a real API and database.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adminServer } from '../http/admin-server.ts'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const cluster = `<xml>
  <master>server</master><name>all</name><override>all</override>
  <group><name>compute</name><image>img</image><node>n1-n2 n7</node></group>
  <group><name>login</name><priority>5</priority><image>img-login</image><node>n2</node></group>
</xml>`

async function setUp() {
  const world = await adminServer()
  const file = join(world.folder, 'cluster.xml')
  writeFileSync(file, cluster)
  const run = (...words: string[]) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
      const env = { PATH: process.env.PATH, SYSCLONE_SERVER: world.socket, USER: 'root', SUDO_USER: 'alice' }
      const child = spawn(process.execPath, [main, ...words], { env, timeout: 20_000 })
      const read = { out: '', err: '' }
      child.stdout.on('data', (chunk) => (read.out += chunk))
      child.stderr.on('data', (chunk) => (read.err += chunk))
      child.once('close', (code) => resolve({ code, ...read }))
    })
  const state = async () => [
    await world.store.nodes.list(),
    await world.store.osimages.list(),
    await world.store.groups.list(),
  ]
  return { ...world, file, run, state }
}

const shown = [
  'Groups, the foremost first (lowest priority number, then by name):',
  '  login: priority 5, osimage img-login, decides for 1 nodes',
  '  compute: priority -, osimage img, decides for 2 nodes',
  'n2: img-login of login; compute says img',
  'osimage img-login: defined, to be captured: imgcapture NODE -o img-login',
]

test('import-cluster: shown first, then written, and again without harm', async () => {
  const { run, file, state, call, store } = await setUp()
  const before = await state()
  const dry = await run('import-cluster', '--dry-run', file)
  expect(dry).toEqual({
    code: 0,
    err: '',
    out: [...shown, '6 object definitions would be written.', ''].join('\n'),
  })
  expect(await state()).toEqual(before)

  const done = await run('import-cluster', file)
  expect(done).toMatchObject({ code: 0, err: '' })
  expect(done.out).toContain('6 object definitions have been created or modified.')
  const nodes = await store.nodes.list()
  expect(nodes.map(({ name, groups }) => `${name} ${groups}`)).toEqual([
    'n1 compute',
    'n2 compute,login',
    'n3 ',
    'n7 compute',
  ])
  expect(await store.groups.list()).toEqual([
    { name: 'compute', osimage: 'img' },
    { name: 'login', osimage: 'img-login', priority: 5 },
  ])
  const once = await state()
  expect((await run('import-cluster', file)).code).toBe(0)
  expect(await state()).toEqual(once)

  // What was shown is what nodeset does then.
  const answer = await call('POST', '/deployments', { noderange: 'n7', state: 'osimage' })
  expect(answer.body.results).toEqual([{ object: 'n7', text: 'sysclone debian12-x86_64' }])
  expect((await call('POST', '/deployments', { noderange: 'n7', state: 'stat' })).body.results[0].text).toBe(
    'img:1 armed',
  )
})

test('import-cluster: one fault, and nothing is written', async () => {
  const { run, file, state } = await setUp()
  const before = await state()
  writeFileSync(file, cluster.replace('n1-n2 n7', 'n1-n2\n n_7'))
  const bad = await run('import-cluster', file)
  expect([bad.code, bad.out]).toEqual([1, ''])
  expect(bad.err).toMatch(/cluster\.xml:3: not a node name \("n_7"/)
  writeFileSync(file, Buffer.from([0x3c, 0x61, 0xff, 0x3e]))
  expect((await run('import-cluster', file)).err).toMatch(/cluster\.xml: not UTF-8/)
  expect((await run('import-cluster', '/nowhere')).err).toMatch(
    /^\/nowhere: the file can not be read \(ENOENT/,
  )
  expect(await state()).toEqual(before)
})

test('audit: who changed what, from what to what', async () => {
  const { run } = await setUp()
  await run('chdef', 'n1,n3', '-p', 'groups=rack1')
  await run('nodeset', 'n1', 'offline')
  const { code, out } = await run('audit')
  expect(code).toBe(0)
  expect(out.split('\n').map((line) => line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}/, ''))).toEqual([
    'local:alice  chdef node       n1  groups: compute -> compute,rack1',
    'local:alice  chdef node       n3  groups: - -> rack1',
    'local:alice  nodeset offline  n1  currstate: boot -> offline',
    '',
  ])
  const one = await run('audit', '--object', 'n1', '--last', '1', '--json')
  expect(JSON.parse(one.out)).toMatchObject([
    { what: 'nodeset offline', object: 'n1', after: { currstate: 'offline' } },
  ])
  expect(await run('audit', '--last', '0')).toMatchObject({ code: 2 })
})

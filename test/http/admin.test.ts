// The admin API as its clients see it: HTTP through a real unix socket, on a real database.
import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { openStore } from '../../services/store/store.ts'
import type { Digest, ImageName, Ipv4, NodeName } from '../../src/address.ts'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Network } from '../../src/node/network.ts'
import { emptyWorld } from './empty-world.ts'
import { imageNeeds } from './image-store.ts'
import { testEvents } from './test-events.ts'

const digest = `sha256:${'1'.repeat(64)}` as Digest
const image: ImageVersion = {
  name: 'img' as ImageName,
  version: 2,
  digest,
  createdAt: '2026-01-01T00:00:00.000Z',
  source: 'golden',
  arch: 'x86_64',
  firmware: 'bios',
  os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12' },
  kernelRelease: '6.1.0-37-amd64',
  kernel: { digest, bytes: 1 },
  modules: { digest, bytes: 1 },
  layers: [{ digest, bytes: 700, diffId: digest, tarBytes: 1000, entryCount: 3, directories: true }],
  manifest: { digest, bytes: 1 },
  layout: { disks: [], fstab: '' },
  sshHostKeyTypes: ['ed25519'],
  tarBytes: 1000,
}
const network: Network = {
  interface: 'eth1',
  subnet: { base: 0x0a000000, prefix: 24 },
  address: '10.0.0.1' as Ipv4,
  pool: { from: '10.0.0.100' as Ipv4, to: '10.0.0.199' as Ipv4 },
}

/** A server with nodes n1..n3, n1 and n2 in group `compute`, and the captured osimage `img`. */
async function server(more: Partial<AdminNeeds> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-admin-'))
  const socket = join(folder, 'run', 'api.sock')
  const store = await openStore(join(folder, 'db'))
  await store.nodes.putMany(
    ['n1', 'n2', 'n3'].map((name) => ({
      name: name as NodeName,
      groups: name === 'n3' ? [] : ['compute'],
      mac: [],
    })),
  )
  await store.osimages.put({ name: 'img' as ImageName })
  const { events, emit, listeners, watchers } = await testEvents(store)
  const changed: string[] = []
  const asked: unknown[][] = []
  const admin = await startAdmin({
    socket,
    store,
    networks: [network],
    images: {
      list: () => [image],
      get: (name, version) => (name === 'img' && (version ?? 2) === 2 ? image : undefined),
    },
    ...imageNeeds([image]),
    deploy: {
      async arm(...args) {
        asked.push(args)
        if (args[0] === 'n2') throw new UserError('the node is locked', { what: 'lock=1', object: 'n2' })
        return 'sysclone debian12-x86_64'
      },
      setState: async (_, state) => state,
      stat: async () => 'boot',
    },
    publicIdentity: async () => ({
      publicKey: 'ssh-ed25519 AAAA sysclone',
      fingerprint: 'SHA256:x',
      path: '/x/id_ed25519',
    }),
    capture: async (...args) => {
      asked.push(args)
      return { job: 'j1' }
    },
    keepFiles: async () => ({}),
    dryWorld: async () => emptyWorld,
    strangers: async () => [],
    leases: async () => [{ mac: '52:54:00:00:00:01', address: '10.0.0.100' }],
    nodesChanged: (names) => void changed.push(...names),
    events,
    emit,
    ...more,
  })
  onTestFinished(async () => {
    await admin.close()
    await events.close()
    await store.close()
    rmSync(folder, { recursive: true })
  })
  const call = (method: string, path: string, body?: unknown) => ask(socket, method, path, body)
  return {
    folder,
    socket,
    store,
    emit,
    changed,
    asked,
    listeners,
    watchers,
    call,
    close: () => admin.close(),
  }
}

function ask(socketPath: string, method: string, path: string, body?: unknown) {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  // Node sends the body of a DELETE unframed unless its length is said.
  const headers =
    text === undefined
      ? {}
      : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  return new Promise<{ status: number; body: any }>((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers, agent: false }, async (response) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk)
      resolve({ status: response.statusCode!, body: JSON.parse(Buffer.concat(chunks).toString()) })
    })
    sent.on('error', reject)
    sent.end(text)
  })
}

test('the socket is its owner’s alone and goes with the server', async () => {
  const { socket, close } = await server()
  expect(statSync(socket).mode & 0o777).toBe(0o600)
  await close()
  expect(() => statSync(socket)).toThrow(/ENOENT/)
})

test('a socket of a dead server is taken over; a live one, or another file, is not', async () => {
  const { socket, folder } = await server()
  const needs = (path: string) => ({ socket: path }) as AdminNeeds
  await expect(startAdmin(needs(socket))).rejects.toThrow('a server answers there already')
  const file = join(folder, 'file')
  writeFileSync(file, 'x')
  await expect(startAdmin(needs(file))).rejects.toThrow('not a socket')

  const stale = join(folder, 'stale.sock')
  const dead = createServer().listen(stale)
  await new Promise((done) => dead.once('listening', done))
  renameSync(stale, `${stale}.kept`) // closing removes only the name it was made under
  await new Promise((done) => dead.close(done))
  renameSync(`${stale}.kept`, stale)
  expect(statSync(stale).isSocket()).toBe(true)
  await server({ socket: stale })
  expect((await ask(stale, 'GET', '/images')).status).toBe(200)
})

test('nodes are defined, shown, changed and removed', async () => {
  const { call, changed } = await server()
  const attrs = {
    groups: 'all,compute',
    mac: '52-54-00-00-00-0A',
    ip: '10.0.0.7',
    serialport: '0',
    serialspeed: '115200',
  }
  expect(await call('POST', '/nodes', { objects: ['golden'], attrs })).toEqual({
    status: 200,
    body: { objects: ['golden'] },
  })
  const shown = await call('GET', '/nodes?objects=golden')
  expect(shown.body).toEqual({
    objects: [{ name: 'golden', attrs: { ...attrs, mac: '52:54:00:00:00:0a', currstate: 'boot' } }],
  })
  await call('PATCH', '/nodes', { objects: ['golden', 'n3'], op: 'add', attrs: { groups: 'rack1' } })
  const groups = await call('GET', '/nodes?objects=golden,n3&attrs=groups')
  expect(groups.body.objects).toEqual([
    { name: 'golden', attrs: { groups: 'all,compute,rack1' } },
    { name: 'n3', attrs: { groups: 'rack1' } },
  ])
  await call('PATCH', '/nodes', {
    objects: ['golden'],
    op: 'remove',
    attrs: { mac: '5254.0000.000a', groups: 'all' },
  })
  expect((await call('GET', '/nodes?objects=golden&attrs=groups,mac')).body.objects[0].attrs).toEqual({
    groups: 'compute,rack1',
    mac: '',
  })
  expect((await call('DELETE', '/nodes', { objects: ['compute,-n1'] })).body).toEqual({
    objects: ['golden', 'n2'],
  })
  expect((await call('GET', '/nodes?attrs=')).body.objects.map((o: any) => o.name)).toEqual(['n1', 'n3'])
  expect(changed).toEqual(['golden', 'golden', 'n3', 'golden', 'golden', 'n2'])
})

const refused: [what: string, method: string, path: string, body: unknown, status: number, fault: object][] =
  [
    [
      'an unknown attribute',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { color: 'red' } },
      400,
      { error: 'no such attribute', what: 'color', object: 'x' },
    ],
    [
      'a name of JavaScript’s own',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { constructor: 'red' } },
      400,
      { error: 'no such attribute' },
    ],
    [
      'a read-only attribute',
      'PATCH',
      '/nodes',
      { objects: ['n1'], op: 'set', attrs: { status: 'booted' } },
      400,
      { error: 'only the server sets this attribute' },
    ],
    [
      'a MAC that is none',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { mac: '52:54' } },
      400,
      { error: 'mac: not a MAC address', what: '52:54', object: 'x' },
    ],
    [
      'a console without speed',
      'PATCH',
      '/nodes',
      { objects: ['n1'], op: 'set', attrs: { serialport: '0' } },
      400,
      { error: 'serialport needs serialspeed', object: 'n1' },
    ],
    [
      'an address outside',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { ip: '10.0.1.7' } },
      400,
      { error: 'ip: in no configured network', what: '10.0.1.7', allowed: 'a free address of 10.0.0.0/24' },
    ],
    [
      'the server’s address',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { ip: '10.0.0.1' } },
      400,
      { error: "ip: the server's own address" },
    ],
    [
      'an address of the pool',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { ip: '10.0.0.150' } },
      400,
      { error: 'ip: in the pool 10.0.0.100-10.0.0.199' },
    ],
    [
      'one address for two nodes',
      'POST',
      '/nodes',
      { objects: ['x[1-2]'], attrs: { ip: '10.0.0.7' } },
      409,
      { error: 'ip: belongs to node x1', object: 'x2' },
    ],
    [
      'an osimage that is none',
      'PATCH',
      '/nodes',
      { objects: ['n1'], op: 'set', attrs: { osimage: 'imgg' } },
      404,
      { error: 'osimage: no such osimage', what: 'imgg', object: 'n1' },
    ],
    [
      'a node that exists',
      'POST',
      '/nodes',
      { objects: ['n9,n1'], attrs: {} },
      409,
      { error: 'the node exists already', object: 'n1' },
    ],
    [
      'a node that does not',
      'PATCH',
      '/nodes',
      { objects: ['n1,n9'], op: 'set', attrs: { lock: '1' } },
      404,
      { what: 'n9' },
    ],
    [
      'adding to what is no list',
      'PATCH',
      '/nodes',
      { objects: ['n1'], op: 'add', attrs: { ip: '10.0.0.7' } },
      400,
      { error: 'not a list', allowed: 'groups mac postscripts postbootscripts exclude' },
    ],
    [
      'a line feed in kernel arguments',
      'PATCH',
      '/nodes',
      { objects: ['n1'], op: 'set', attrs: { kcmdline: 'a\nb' } },
      400,
      { error: 'kcmdline: no loader can say this character', what: '"\\n"' },
    ],
    [
      'a node name that leaves its folder',
      'POST',
      '/nodes',
      { objects: ['../x'], attrs: {} },
      400,
      { error: 'not a node name' },
    ],
    [
      'an empty noderange',
      'DELETE',
      '/nodes',
      { objects: ['n1,-n1'] },
      400,
      { error: 'the noderange leaves no node' },
    ],
    [
      'a captured osimage removed',
      'DELETE',
      '/osimages',
      { objects: ['img'] },
      409,
      { error: 'the osimage is in use', what: 'version 2 is in the image store' },
    ],
    [
      'rootimgdir set',
      'PATCH',
      '/osimages',
      { objects: ['img'], op: 'set', attrs: { rootimgdir: '/' } },
      400,
      {
        error: 'only the server sets this attribute',
        allowed: expect.stringMatching(/^provmethod kernel initrd kcmdline profile addkcmdline /),
      },
    ],
    [
      'a field that is none',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: {}, force: true },
      400,
      { error: 'bad request' },
    ],
    [
      'a number for a text',
      'POST',
      '/nodes',
      { objects: ['x'], attrs: { ip: 7 } },
      400,
      { error: 'bad request' },
    ],
    ['half a body', 'POST', '/nodes', '{"objects": ["x"', 400, { error: 'bad request' }],
    ['an unknown path', 'GET', '/secrets', undefined, 404, { error: 'no such resource' }],
    [
      'networks written',
      'POST',
      '/networks',
      { objects: ['x'], attrs: {} },
      404,
      { error: 'no such resource' },
    ],
    [
      'an unknown image',
      'POST',
      '/deployments',
      { noderange: 'n1', state: 'osimage', image: 'im' },
      404,
      { error: 'no such osimage', what: 'im' },
    ],
    [
      'an unknown version',
      'POST',
      '/deployments',
      { noderange: 'n1', state: 'osimage', image: 'img', version: 9 },
      404,
      { what: 'img:9', allowed: '2' },
    ],
    [
      'an image with boot',
      'POST',
      '/deployments',
      { noderange: 'n1', state: 'boot', image: 'img' },
      400,
      { error: 'bad request' },
    ],
    [
      'a state that is not built',
      'POST',
      '/deployments',
      { noderange: 'n1', state: 'shell' },
      400,
      { error: 'bad request' },
    ],
    [
      'a capture of nobody',
      'POST',
      '/captures',
      { node: 'n9', image: 'img' },
      404,
      { error: 'no such node' },
    ],
    [
      'an image name with a slash',
      'POST',
      '/captures',
      { node: 'n1', image: '../img' },
      400,
      { error: 'not an osimage name' },
    ],
    [
      'half a fingerprint',
      'POST',
      '/captures',
      { node: 'n1', image: 'img', acceptHostkey: 'SHA256:x' },
      400,
      { error: 'bad request' },
    ],
  ]
test('what is refused names the fault and changes nothing', async () => {
  const { call, store, changed, asked } = await server()
  const before = [await store.nodes.list(), await store.osimages.list()]
  for (const [what, method, path, body, status, fault] of refused) {
    const answer = await call(method, path, body)
    expect({ what, ...answer }).toMatchObject({ what, status, body: fault })
  }
  expect([await store.nodes.list(), await store.osimages.list(), changed, asked]).toEqual([...before, [], []])
})

test('a node that is to be installed is not removed', async () => {
  const { call, store } = await server()
  const at = { attempt: 1, retries: 2, armedAt: 1, expiresAt: 9, heardAt: 1, stateAt: 1 }
  await store.deployments.put({
    id: 'd',
    node: 'n1' as NodeName,
    image: image.name,
    version: 2,
    digest,
    state: 'booting',
    ...at,
  })
  const answer = await call('DELETE', '/nodes', { objects: ['compute'] })
  expect(answer).toMatchObject({
    status: 409,
    body: { object: 'n1', what: 'img:2 booting', allowed: 'nodeset n1 boot first' },
  })
  expect(await store.nodes.list()).toHaveLength(3)
})

test('nodeset answers for each node, and one fault does not stop the others', async () => {
  const { call, asked } = await server()
  const answer = await call('POST', '/deployments', {
    noderange: 'n[1-3]',
    state: 'osimage',
    image: 'img',
    version: 2,
  })
  expect(answer.body.results).toEqual([
    { object: 'n1', text: 'sysclone debian12-x86_64' },
    { object: 'n2', fault: { error: 'the node is locked', what: 'lock=1', object: 'n2' } },
    { object: 'n3', text: 'sysclone debian12-x86_64' },
  ])
  expect(asked).toEqual([
    ['n1', 'img', 2],
    ['n2', 'img', 2],
    ['n3', 'img', 2],
  ])
  const own = await call('POST', '/deployments', { noderange: 'n1', state: 'osimage' })
  expect(own.body.results[0].fault.error).toBe('the node has no osimage')
  const off = await call('POST', '/deployments', { noderange: 'compute', state: 'offline' })
  expect(off.body.results.map((r: any) => r.text)).toEqual(['offline', 'offline'])
})

test('osimages, images, networks, leases, noderange and captures', async () => {
  const { call, asked, changed, store } = await server()
  await store.nodes.change(['n3' as NodeName], (node) => ({ ...node, osimage: image.name }))
  await call('POST', '/osimages', { objects: ['new'], attrs: { profile: 'login' } })
  await call('PATCH', '/osimages', { objects: ['img'], op: 'set', attrs: { addkcmdline: 'quiet' } })
  expect(changed).toEqual(['n3']) // its kernel arguments are others now
  expect((await call('GET', '/osimages')).body.objects).toMatchObject([
    { name: 'img', attrs: { addkcmdline: 'quiet', imagetype: 'linux', provmethod: 'sysclone' } },
    { name: 'new', attrs: { profile: 'login' } },
  ])
  expect((await call('DELETE', '/osimages', { objects: ['new'] })).status).toBe(200)
  expect((await call('GET', '/images')).body.images).toMatchObject([
    { name: 'img', version: 2, bytes: 700, tarBytes: 1000 },
  ])
  expect((await call('GET', '/networks')).body.objects).toEqual([
    {
      name: '10_0_0_0-255_255_255_0',
      attrs: {
        net: '10.0.0.0',
        mask: '255.255.255.0',
        mgtifname: 'eth1',
        dhcpserver: '10.0.0.1',
        tftpserver: '10.0.0.1',
        dynamicrange: '10.0.0.100-10.0.0.199',
      },
    },
  ])
  expect((await call('GET', '/leases')).body.leases).toHaveLength(1)
  expect((await call('GET', '/noderange?expr=compute,-n1')).body).toEqual({
    names: ['n2'],
    readings: [
      { text: 'compute', how: 'a group', depth: 0, count: 2 },
      { text: 'n1', how: 'left out: a node', depth: 0, count: 1 },
    ],
  })
  const acceptHostkey = `SHA256:${'a'.repeat(43)}`
  expect((await call('POST', '/captures', { node: 'n1', image: 'img', acceptHostkey })).body).toEqual({
    job: 'j1',
  })
  expect(asked).toEqual([[{ node: 'n1', image: 'img', type: 'sysclone', acceptHostkey }]])
})

test('a boot-only osimage: defined with its files, booted, not captured into, not removed while it is used', async () => {
  const kept: string[][] = []
  const { call, store, asked, changed } = await server({
    async keepFiles(paths) {
      if (paths.includes('/none'))
        throw new UserError('the file can not be read', { what: '/none: ENOENT', status: 400 })
      kept.push(paths)
      return Object.fromEntries(paths.map((path) => [path, { digest, bytes: 1 }]))
    },
  })
  const attrs = { provmethod: 'boot', kernel: '/k', initrd: '/i' }
  const bad = await call('POST', '/osimages', { objects: ['rescue'], attrs: { ...attrs, initrd: '/none' } })
  expect(bad).toMatchObject({ status: 400, body: { what: '/none: ENOENT' } })
  expect(await store.osimages.get('rescue' as ImageName)).toBeUndefined()
  expect((await call('POST', '/osimages', { objects: ['rescue'], attrs })).status).toBe(200)
  await call('PATCH', '/osimages', { objects: ['rescue'], op: 'set', attrs: { kcmdline: 'nofb' } })
  expect(kept).toEqual([['/k', '/i'], []])
  expect((await call('GET', '/osimages?objects=rescue')).body.objects[0].attrs).toEqual({
    ...attrs,
    kcmdline: 'nofb',
    imagetype: 'linux',
    osname: 'Linux',
  })
  const nodeset = (more: object) =>
    call('POST', '/deployments', { noderange: 'n1', state: 'osimage', image: 'rescue', ...more })
  expect((await nodeset({})).status).toBe(200)
  expect(asked).toEqual([['n1', 'rescue', undefined]])
  expect(await nodeset({ version: 1 })).toMatchObject({
    status: 400,
    body: { error: 'a boot-only osimage has no versions', allowed: 'rescue' },
  })
  expect(await call('POST', '/captures', { node: 'n1', image: 'rescue' })).toMatchObject({
    status: 409,
    body: { error: 'the osimage is boot-only' },
  })
  const at = { attempt: 1, retries: 2, armedAt: 1, expiresAt: 9, heardAt: 1, stateAt: 1 }
  const d = { id: 'd', node: 'n1' as NodeName, image: 'rescue' as ImageName, digest, ...at }
  await store.deployments.put({ ...d, state: 'booting' })
  expect(await store.deployments.get('d')).toEqual({ ...d, state: 'booting' })
  const inUse = { status: 409, body: { error: 'the osimage is in use' } }
  expect(await call('DELETE', '/osimages', { objects: ['rescue'] })).toMatchObject(inUse)
  // A file that is put in again changes what its nodes boot, whatever osimage they have by now.
  const entries = [{ type: 'osimage', name: 'rescue', attrs: { kcmdline: 'nofb ro' } }]
  expect((await call('POST', '/definitions', { mode: 'change', entries })).status).toBe(200)
  expect(changed.at(-1)).toBe('n1')
  await store.deployments.remove('d')
  await store.groups.put({ name: 'compute', osimage: 'rescue' as ImageName })
  expect(await call('DELETE', '/osimages', { objects: ['rescue'] })).toMatchObject({
    ...inUse,
    body: { what: 'osimage of group compute' },
  })
  await store.groups.put({ name: 'compute' })
  expect((await call('DELETE', '/osimages', { objects: ['rescue'] })).status).toBe(200)
})

test('a bug is an internal error without a stack, and an event', async () => {
  const events: Event[] = []
  const { call, listeners } = await server({
    leases: () => {
      throw new TypeError('x is undefined')
    },
  })
  listeners.add((event) => events.push(event))
  expect(await call('GET', '/leases')).toEqual({
    status: 500,
    body: { error: 'internal error', what: 'x is undefined' },
  })
  expect(events).toMatchObject([{ type: 'http.fail', file: '/leases', why: 'x is undefined' }])
})

test('events arrive as they happen, filtered, until the server or the watcher goes', async () => {
  const { socket, emit, watchers, close } = await server()
  const watcher = connect(socket)
  let text = ''
  watcher.on('data', (chunk) => {
    text += chunk
  })
  watcher.write('GET /events?job=j1&things=capture,job HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => text.includes(': watching'))
  emit('capture.progress', { job: 'j2', percent: 1 })
  emit('capture.progress', { job: 'j1', percent: 2, text: 'a\nb' })
  emit('node.progress', { job: 'j1', percent: 3 })
  emit('job.done', { job: 'j1', kind: 'capture' })
  await until(() => text.includes('job.done'))
  const data = [...text.matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1]!))
  expect(data.map(({ type, percent }) => [type, percent])).toEqual([
    ['capture.progress', 2],
    ['job.done', undefined],
  ])
  expect(watchers.size).toBe(1)
  watcher.destroy()
  await until(() => watchers.size === 0)

  const other = connect(socket)
  other.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n')
  await until(() => watchers.size === 1)
  const ended = new Promise((done) => other.once('close', done))
  other.resume()
  await close() // does not wait for the watcher
  await ended
})

async function until(holds: () => boolean) {
  for (let tries = 0; tries < 300 && !holds(); tries++) await sleep(10)
  expect(holds()).toBe(true)
}

test('groups: members and the nodes’ groups are one truth; dynamic ones are computed', async () => {
  const { call, changed } = await server()
  const attrs = async (path: string) => {
    const { status, body } = await call('GET', path)
    return status === 200 ? Object.fromEntries(body.objects.map((o: any) => [o.name, o.attrs])) : body
  }
  const make = (name: string, more: object) => call('POST', '/groups', { objects: [name], attrs: more })
  const set = (type: string, name: string, more: object, op = 'set') =>
    call('PATCH', `/${type}s`, { objects: [name], op, attrs: more })

  expect(await attrs('/groups')).toEqual({ compute: { members: 'n1,n2' } })
  expect(await make('compute', {})).toMatchObject({ status: 409, body: { allowed: 'chdef -t group' } })
  expect(await set('group', 'compute', { osimage: 'img', priority: '5' })).toMatchObject({ status: 200 })
  await make('rack1', { members: 'n[2-3]', usercomment: 'left' })
  expect(await attrs('/nodes?attrs=groups')).toEqual({
    n1: { groups: 'compute' },
    n2: { groups: 'compute,rack1' },
    n3: { groups: 'rack1' },
  })
  expect(changed).toEqual(['n2', 'n3'])
  await set('group', 'rack1', { members: 'compute,-n2' }, 'add')
  await set('group', 'rack1', { members: 'n3' }, 'remove')
  expect(await attrs('/groups')).toEqual({
    compute: { members: 'n1,n2', osimage: 'img', priority: '5' },
    rack1: { members: 'n1,n2', usercomment: 'left' },
  })

  await set('node', 'n[1,3]', { arch: 'x86_64' })
  await make('intel', { where: 'arch==x86_64' })
  expect((await attrs('/groups?objects=intel')).intel).toEqual({ members: 'n1,n3', where: 'arch==x86_64' })
  expect(Object.keys(await attrs('/nodes?objects=intel,-compute'))).toEqual(['n3'])
  await set('node', 'n1', { arch: '' })
  expect((await attrs('/groups?objects=intel')).intel.members).toBe('n3')
  expect(Object.keys(await attrs('/nodes?where=groups%3D%3Drack1%3A%3Aarch%3D%3D'))).toEqual(['n1', 'n2'])

  const gone = await call('DELETE', '/groups', { objects: ['rack1'] })
  expect(gone.body).toEqual({ objects: ['rack1'] })
  expect((await attrs('/nodes?objects=n2&attrs=groups')).n2).toEqual({ groups: 'compute' })
})

const refusedGroups: [method: string, path: string, body: unknown, status: number, fault: object][] = [
  ['PATCH', '/groups', { objects: ['none'], op: 'set', attrs: {} }, 404, { error: 'no such group' }],
  ['POST', '/groups', { objects: ['a/b'], attrs: {} }, 400, { error: 'not a group name' }],
  ['POST', '/groups', { objects: ['g'], attrs: { members: 'n9' } }, 404, { what: 'n9' }],
  ['POST', '/groups', { objects: ['g'], attrs: { osimage: 'none' } }, 404, { object: 'g', what: 'none' }],
  ['POST', '/groups', { objects: ['g'], attrs: { where: 'color==red' } }, 400, { what: 'color' }],
  ['POST', '/groups', { objects: ['g'], attrs: { where: 'arch=~(' } }, 400, { object: 'g' }],
  [
    'POST',
    '/groups',
    { objects: ['g'], attrs: { where: 'arch==x86_64', members: 'n1' } },
    400,
    { object: 'g' },
  ],
  ['PATCH', '/groups', { objects: ['compute'], op: 'set', attrs: { where: 'arch==x86_64' } }, 400, {}],
  [
    'PATCH',
    '/nodes',
    { objects: ['n1'], op: 'add', attrs: { groups: 'dyn' } },
    400,
    { object: 'n1', what: 'dyn' },
  ],
  ['PATCH', '/nodes', { op: 'set', attrs: { lock: '1' } }, 400, { what: 'neither objects nor where' }],
  ['PATCH', '/nodes', { where: 'arch==aarch64', op: 'set', attrs: {} }, 404, { error: 'no node is so' }],
  ['DELETE', '/nodes', { where: 'arch==arm' }, 400, { error: 'arch: not a known word' }],
]
test('groups and selections that are refused', async () => {
  const { call, store } = await server()
  await call('POST', '/groups', { objects: ['dyn'], attrs: { where: 'arch==x86_64' } })
  const before = [await store.nodes.list(), await store.groups.list()]
  for (const [method, path, body, status, fault] of refusedGroups)
    expect({ body, answer: await call(method, path, body) }).toMatchObject({
      body,
      answer: { status, body: fault },
    })
  expect([await store.nodes.list(), await store.groups.list()]).toEqual(before)
})

test('an osimage that a group has is not removed', async () => {
  const { call, store } = await server()
  await store.osimages.put({ name: 'other' as ImageName })
  await call('POST', '/groups', { objects: ['g'], attrs: { osimage: 'other' } })
  const answer = await call('DELETE', '/osimages', { objects: ['other'] })
  expect(answer).toMatchObject({ status: 409, body: { object: 'other', what: 'osimage of group g' } })
})

test('nodeset osimage takes the image of the foremost group when the node has none', async () => {
  const { call, asked, store } = await server()
  for (const name of ['alpha', 'beta', 'img2']) await store.osimages.put({ name: name as ImageName })
  await call('POST', '/groups', { objects: ['a'], attrs: { members: 'n1,n3', osimage: 'alpha' } })
  await call('POST', '/groups', { objects: ['b'], attrs: { members: 'n1', osimage: 'beta', priority: '1' } })
  await call('PATCH', '/nodes', { objects: ['n3'], op: 'set', attrs: { osimage: 'img2' } })
  await call('POST', '/deployments', { noderange: 'n1,n3', state: 'osimage' })
  expect(asked.map(([node, name]) => [node, name])).toEqual([
    ['n1', 'beta'],
    ['n3', 'img2'],
  ])
})

test('definitions of all types are written together, or none of them', async () => {
  const { call, store } = await server()
  const entries = [
    { type: 'group', name: 'rack1', attrs: { members: 'x1,n1', priority: '2' } },
    { type: 'node', name: 'x1', attrs: { groups: 'rack1', osimage: 'new' } },
    { type: 'osimage', name: 'new', attrs: { profile: 'login' } },
  ]
  const before = [await store.nodes.list(), await store.groups.list(), await store.osimages.list()]
  const now = async () => [await store.nodes.list(), await store.groups.list(), await store.osimages.list()]
  const wrong = { type: 'node', name: 'x2', attrs: { mac: 'no' } }
  for (const more of [wrong, entries[1]!, { ...wrong, attrs: { groups: 'dyn' } }]) {
    const dynamic = { type: 'group', name: 'dyn', attrs: { where: 'arch==x86_64' } }
    const answer = await call('POST', '/definitions', { mode: 'make', entries: [...entries, dynamic, more] })
    expect(answer).toMatchObject({ status: 400, body: { object: expect.stringMatching(/x1|x2|dyn/) } })
    expect(await now()).toEqual(before)
  }
  expect((await call('POST', '/definitions', { mode: 'make', entries })).status).toBe(200)
  expect(await store.nodes.get('x1' as NodeName)).toMatchObject({ groups: ['rack1'], osimage: 'new' })
  expect((await call('POST', '/definitions', { mode: 'make', entries })).status).toBe(409)
  const put = [
    { type: 'node', name: 'x1', attrs: { lock: '1' } },
    { type: 'node', name: 'x3', attrs: {} },
  ]
  expect((await call('POST', '/definitions', { mode: 'change', entries: put })).body).toMatchObject({
    error: 'no such node',
    object: 'x3',
  })
  expect((await call('POST', '/definitions', { mode: 'put', entries: put })).body).toEqual({
    objects: ['x1', 'x3'],
  })
  expect(await store.nodes.get('x1' as NodeName)).toMatchObject({ groups: ['rack1'], lock: true })
})

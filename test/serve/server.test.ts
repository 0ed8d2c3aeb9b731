// The real processes, spoken to as machines and admins do. Installing itself is tested in QEMU (test/vm).
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore } from '../../services/store/store.ts'
import type { NodeName } from '../../src/address.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { disk, factsWith, GIB, MIB } from '../install/sample-image.ts'
import { addresses, mac, openWorld, until, type World } from './world.ts'

const { n1, thief } = addresses
const nonce = 'a'.repeat(32)
const script = `/boot/ipxe/${mac.replaceAll(':', '-')}`
const facts = factsWith([disk('/dev/vda', 8 * GIB)])
const receipt = {
  hostKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl root@n1'],
  bytes: 5,
  seconds: 9,
}

let world: World
let image: ImageVersion
beforeAll(async () => {
  world = await openWorld({ preload: 'last-word.mjs' })
  image = await world.publish()
  await world.start()
}, 240_000)
afterAll(() => world?.close())

const status = () => world.sysclone('nodeset', 'n1', 'stat').out.trim()
function bootToken(): string {
  const { body } = world.curl(n1, script)
  return /sysclone\.token=([0-9a-f]{64})/.exec(body)?.[1] ?? `no token in: ${body}`
}
/** Arms n1 and starts the install as its ramdisk does; answers with the session. */
function begin(): string {
  expect(world.sysclone('nodeset', 'n1', 'osimage=img')).toMatchObject({ code: 0, err: '' })
  const answer = world.post(n1, '/node/start', { token: bootToken(), nonce, facts })
  expect(answer.status).toBe(200)
  return /^session (\S+)$/m.exec(answer.body)![1]!
}
const progress = (session: string, seq: number, percent: number) =>
  world.post(n1, '/node/progress', { session, seq, phase: 'copy', percent, bytes: 5 })

describe('one clone, from nodeset to its own disk', () => {
  test('a node that nobody defined gets nothing; the image that was captured is known', () => {
    expect(world.curl(n1, script).status).toBe(404)
    expect(world.sysclone('lsimage').out).toMatch(/^img:1\b/m)
    expect(world.sysclone('mkdef', '-t', 'node', '-o', 'n1', `mac=${mac}`, `ip=${n1}`).code).toBe(0)
    expect(world.curl(n1, script).body).toMatch(/^exit/m) // its own disk
  })

  test('nodeset: the loader text carries kernel, ramdisk and token, twice the same', async () => {
    expect(world.sysclone('nodeset', 'n1', 'osimage=img')).toMatchObject({
      code: 0,
      out: 'n1: sysclone debian12-x86_64\n',
    })
    const first = world.curl(n1, script)
    expect(first.body).toContain(`:8081/blobs/sha256/${image.kernel.digest.slice(7)}`)
    expect(first.body).toContain('ramdisk_size=200000')
    expect(world.curl(n1, script).body).toBe(first.body)
    await until('the node is booting', () => status() === 'n1: img:1 booting')
    expect(world.sysclone('lsdef', 'n1', '-i', 'status').out).toContain('status=netbooting')
  })

  test('start, progress, finish', () => {
    const answer = world.post(n1, '/node/start', { token: bootToken(), nonce, facts })
    expect(answer.status).toBe(200)
    expect(answer.body).toContain('disk /dev/vda')
    const session = /^session (\S+)$/m.exec(answer.body)![1]!
    expect(progress(session, 1, 42).status).toBe(204)
    expect(status()).toBe('n1: img:1 installing copy 42%')
    expect(world.post(n1, '/node/finish', { session, result: 'ok', receipt }).status).toBe(204)
    expect(status()).toBe('n1: img:1 installed')
    expect(world.curl(n1, script).body).toMatch(/^exit/m)
    expect(world.output()).not.toContain(session)
  })
})

test('a second machine that replays the boot token is refused, and it is an event', async () => {
  const session = begin()
  const token = bootToken()
  const answer = world.post(thief, '/node/start', { token, nonce: 'b'.repeat(32), facts })
  expect(answer.status).toBe(409)
  expect(JSON.parse(answer.body)).toMatchObject({ error: 'refused', what: `the token is bound to ${n1}` })
  await until('the event is logged', () => world.events('node.refuse').some((e) => e.peer === thief))
  expect(progress(session, 1, 5).status).toBe(204)
  // The peer is stamped by the server; a machine that claims another address is not believed.
  const claim = ['-H', `X-Sysclone-Peer: ${n1}`, '-H', 'Content-Type: application/json', '-d', '{}']
  expect(world.curl(thief, '/node/start', ...claim).status).toBe(400)
})

test('a disk that is too small is refused with numbers before any script that writes', () => {
  world.sysclone('nodeset', 'n1', 'osimage=img')
  const small = factsWith([disk('/dev/vda', 500 * MIB)])
  const answer = world.post(n1, '/node/start', { token: bootToken(), nonce, facts: small })
  expect(answer.status).toBe(200)
  expect(answer.body).not.toMatch(/sfdisk|mkfs/)
  expect(status()).toMatch(/^n1: img:1 failed: .*needs .*\/dev\/vda/)
  expect(world.curl(n1, script).body).toContain('needs') // the hold screen says why
})

test('main killed -9 during a clone: machines are still answered, the clone goes on and finishes', async () => {
  const session = begin()
  expect(progress(session, 1, 30).status).toBe(204)
  const [main] = world.pids('main')
  process.kill(main!, 'SIGKILL')
  const text = world.curl(n1, script)
  expect([text.status, text.body]).toEqual([200, expect.stringContaining('sysclone.token=')])
  const refused = progress(session, 2, 31)
  if (refused.status !== 204) {
    expect(refused.status).toBe(503)
    expect(refused.headers).toMatch(/^Retry-After: \d+\r$/m)
  }
  await until('main is back', () => progress(session, 3, 60).status === 204)
  expect(world.pids('main')).not.toContain(main)
  expect(world.post(n1, '/node/finish', { session, result: 'ok', receipt }).status).toBe(204)
  expect(status()).toBe('n1: img:1 installed')
})

test('main killed -9 after it stored what it had not told yet: the boot process learns it all the same', async () => {
  begin()
  const main = world.pids('main')[0]!
  process.kill(main, 'SIGSTOP')
  const store = await openStore(join(world.stateDir, 'sysclone.db'))
  const installing = (await store.deployments.listOpen())[0]!
  await store.deployments.put({ ...installing, state: 'installed', stateAt: Date.now() })
  await store.close()
  expect(world.curl(n1, script).body).toContain('sysclone.token=')
  process.kill(main, 'SIGKILL')
  await until('n1 boots from its own disk', () => /^exit/m.test(world.curl(n1, script).body))
})

test('boot killed -9: it comes back knowing its nodes', async () => {
  process.kill(world.pids('boot')[0]!, 'SIGKILL')
  await until('it answers again', () => world.curl(n1, script).status === 200)
  expect(world.curl(n1, script).body).toMatch(/^exit/m)
})

test('a boot-only osimage: its own kernel and initrd, as they were when it was defined, until nodeset boot', async () => {
  const [kernel, initrd] = [join(world.folder, 'vmlinuz'), join(world.folder, 'initrd')]
  const attrs = ['provmethod=boot', `kernel=${kernel}`, `initrd=${initrd}`, 'kcmdline=nofb']
  const define = () => world.sysclone('mkdef', '-t', 'osimage', '-o', 'rescue', ...attrs)
  writeFileSync(kernel, 'rescue kernel')
  expect(define()).toMatchObject({ code: 1, err: expect.stringContaining(`${initrd}: ENOENT`) })
  writeFileSync(initrd, 'rescue initrd')
  expect(define()).toMatchObject({ code: 0, err: '' })
  expect(world.sysclone('nodeset', 'n1', 'osimage=rescue')).toMatchObject({
    code: 0,
    out: 'n1: netboot rescue\n',
  })
  writeFileSync(kernel, 'another')
  const { body } = world.curl(n1, script)
  const urls = [...body.matchAll(/http:\S+\/blobs\/sha256\/[0-9a-f]{64}/g)].map(([url]) => url)
  expect(urls.map((url) => world.curl(n1, url).body)).toEqual(['rescue kernel', 'rescue initrd'])
  expect(body).toMatch(/ sysclone\.node=n1 sysclone\.token=[0-9a-f]{64} nofb /)
  await until('the node is booting', () => status() === 'n1: rescue booting')
  expect(world.curl(n1, script).body).toBe(body) // and the next time, and the time after
  const start = world.post(n1, '/node/start', { token: bootToken(), nonce, facts })
  expect([start.status, status()]).toEqual([403, 'n1: rescue booting'])
  expect(world.sysclone('lsdef', 'n1', '-i', 'osimage').out).toContain('osimage=rescue')
  expect(world.sysclone('rmdef', '-t', 'osimage', 'rescue')).toMatchObject({
    code: 1,
    err: expect.stringContaining('the osimage is in use'),
  })
  world.sysclone('nodeset', 'n1', 'boot')
  expect([world.curl(n1, script).body, status()]).toEqual([expect.stringMatching(/^exit/m), 'n1: boot'])
})

test('blobs by digest, with ranges; nothing else', () => {
  const url = `http://${addresses.server}:8081/blobs/sha256/${image.kernel.digest.slice(7)}`
  expect(world.curl(n1, url).body).toBe('kernel')
  expect(world.curl(n1, url, '-r', '2-3')).toMatchObject({ status: 206, body: 'rn' })
  for (const path of ['/', '/blobs/sha256/', '/blobs/sha256/../../../sysclone.db', '/../sysclone.db'])
    expect(world.curl(n1, `http://${addresses.server}:8081${path}`, '--path-as-is').status).toBeGreaterThan(
      399,
    )
})

test('a golden client that does not answer: named, and no image appears', () => {
  world.sysclone('mkdef', '-o', 'golden', `ip=${thief}`)
  const { code, err } = world.sysclone('imgcapture', 'golden', '-t', 'sysclone', '-o', 'other')
  expect(code).toBe(1)
  expect(err).toMatch(/^golden: .*10\.99\.0\.66:22/m)
  expect(err).not.toContain('internal error')
  expect(world.sysclone('lsimage').out).not.toContain('other')
  world.sysclone('rmdef', 'golden') // its address is another's in tests that follow
})

test('overrides: nodeset wants those that a group names; the script of a node lays them, and the blobs are there', () => {
  const fold = (name: string, file: string) => {
    mkdirSync(join(world.stateDir, 'overrides', name, 'etc'), { recursive: true })
    writeFileSync(join(world.stateDir, 'overrides', name, 'etc', file), name)
  }
  world.sysclone('mkdef', '-t', 'group', 'racks', 'members=n1', 'overrides=ntp')
  expect(world.sysclone('nodeset', 'n1', 'osimage=img').err).toMatch(
    /^n1: an override is missing \(ntp of group racks; allowed: the folder .*\/overrides\/ntp\)$/m,
  )
  for (const name of ['n1', 'ntp', 'all', 'unused']) fold(name, 'motd')
  world.sysclone('nodeset', 'n1', 'osimage=img')
  const { body } = world.post(n1, '/node/start', { token: bootToken(), nonce, facts })
  const laid = [...body.matchAll(/^override sha256:(\w+) (\d+) (\w+)$/gm)]
  expect(laid.map(([, , , name]) => name)).toEqual(['all', 'ntp', 'n1'])
  for (const [, hex, bytes] of laid) {
    const answer = world.curl(n1, `http://${addresses.server}:8081/blobs/sha256/${hex}`)
    expect([answer.status, /content-length: (\d+)/i.exec(answer.headers)?.[1]]).toEqual([200, bytes])
  }
  world.sysclone('rmdef', '-t', 'group', 'racks')
  world.sysclone('nodeset', 'n1', 'boot')
}, 60_000)

test('main killed -9 during a capture: the capture goes on, imgcapture waits for main and says how it ended', async () => {
  const machine = await world.spawnSilent(thief, 2222)
  try {
    expect(world.sysclone('mkdef', '-o', 'quiet', `ip=${thief}`, 'sshport=2222').err).toBe('')
    const capture = world.spawnSysclone('imgcapture', 'quiet', '-o', 'other')
    // Who asks before the answer is out has no job to wait for.
    await until('the capture is answered', () =>
      world.sysclone('audit', '--object', 'quiet').out.includes('imgcapture other'),
    )
    expect(world.pids('job')).toHaveLength(1)
    const [main] = world.pids('main')
    process.kill(main!, 'SIGKILL')
    await until('the command has seen it', () => capture.said.out.includes('waiting for the server'))
    machine.kill()
    expect(await capture.ended).toBe(1)
    expect(capture.said.err).toMatch(/^quiet: the capture failed \(.*10\.99\.0\.66:2222/)
    const [job] = JSON.parse(world.sysclone('jobs', '--last', '1', '--json').out)
    expect(job).toMatchObject({ node: 'quiet', image: 'other', state: 'failed' })
  } finally {
    machine.kill()
  }
}, 60_000)

test('a job that ends without a word has failed, at once', () => {
  expect(world.sysclone('chdef', 'quiet', 'sshport=2223').err).toBe('')
  expect(world.sysclone('imgcapture', 'quiet', '-o', 'lost')).toMatchObject({
    code: 1,
    err: expect.stringMatching(/^quiet: the capture failed \(the job died; exit code 0/),
  })
  const [job] = JSON.parse(world.sysclone('jobs', '--last', '1', '--json').out)
  expect(job).toMatchObject({ node: 'quiet', image: 'lost', state: 'failed' })
})

test('a second server on the same socket is refused', () => {
  const config = join(world.folder, 'second.yaml')
  const text = `stateDir: ${world.stateDir}\nnetworks: [{ interface: br0, subnet: 10.99.0.0/24, address: 10.99.0.1 }]\n`
  writeFileSync(config, `${text}api: { socket: ${join(world.folder, 'api.sock')} }\n`)
  const second = world.serveOnce(config)
  expect(second.code).toBe(1)
  expect(second.err).toMatch(/already|in use/)
  expect(second.err).not.toContain('internal error')
})

test('a damaged database: named in one line, and nothing starts', () => {
  const stateDir = join(world.folder, 'damaged')
  mkdirSync(stateDir)
  writeFileSync(join(stateDir, 'sysclone.db'), 'SQLite format 3\0'.repeat(1000))
  const config = join(world.folder, 'damaged.yaml')
  const text = `stateDir: ${stateDir}\nnetworks: [{ interface: br0, subnet: 10.99.0.0/24, address: 10.99.0.1 }]\n`
  writeFileSync(config, `${text}api: { socket: ${join(world.folder, 'damaged.sock')} }\n`)
  const { code, err } = world.serveOnce(config)
  expect(code).toBe(1)
  expect(err).toMatch(/sysclone\.db: the database (is damaged|can not be opened) /)
  expect(err.split('\n').filter((line) => line.startsWith('    at '))).toEqual([])
})

test('a password: in no file of the server but encrypted, in no log, in nothing that a machine can ask for', () => {
  const password = 'Tr0ub4dor-3-of-the-bmc'
  expect(world.sysclone('chdef', 'n1', 'bmc=n1-bmc', `bmcpassword=${password}`).code).toBe(0)
  expect(world.sysclone('lsdef', 'n1', '-i', 'bmcpassword').out).toContain('bmcpassword=********')
  const holding = (text: string) =>
    readdirSync(world.stateDir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => readFileSync(path).includes(text))
  expect(holding('n1-bmc')).not.toEqual([]) // the search itself finds
  expect(holding(password)).toEqual([])
  expect(world.output()).not.toContain(password)
  expect(world.sysclone('audit').out).not.toContain(password)
  expect(world.curl(n1, script).body).not.toMatch(/bmc/)
  expect(statSync(join(world.stateDir, 'secret.key'))).toMatchObject({ size: 32 })
})

test('secrets whose key is gone: the file is named with what can be done, and nothing starts', async () => {
  const stateDir = join(world.folder, 'keyless')
  const store = await openStore(join(stateDir, 'sysclone.db'))
  await store.nodes.put({ name: 'n1' as NodeName, groups: [], mac: [], bmcpassword: { clear: 'x' } })
  await store.close()
  rmSync(join(stateDir, 'secret.key'))
  const config = join(world.folder, 'keyless.yaml')
  const text = `stateDir: ${stateDir}\nnetworks: [{ interface: br0, subnet: 10.99.0.0/24, address: 10.99.0.1 }]\n`
  writeFileSync(config, `${text}api: { socket: ${join(world.folder, 'keyless.sock')} }\n`)
  const { code, err } = world.serveOnce(config)
  expect(code).toBe(1)
  expect(err).toMatch(
    /keyless\/secret\.key: the key file of the secrets is missing \(.*allowed: the file from a copy/,
  )
  expect(err).not.toMatch(/^ {4}at |internal error/m)
})

test('a bad configuration: file, line, key, and nothing starts', () => {
  const config = join(world.folder, 'bad.yaml')
  writeFileSync(config, 'networks:\n  - interface: br0\n    subnet: 10.99.0.0/24\n    adress: 10.99.0.1\n')
  const { code, err } = world.serveOnce(config)
  expect(code).toBe(1)
  expect(err).toContain('bad.yaml:4')
  expect(err).toContain('adress')
})

test('serve killed -9: the other processes end', async () => {
  world.sysclone('nodeset', 'n1', 'osimage=img')
  const pids = ['main', 'boot', 'blob'].flatMap((role) => world.pids(role))
  expect(pids.length).toBeGreaterThanOrEqual(3)
  process.kill(world.pids('cli/main')[0]!, 'SIGKILL')
  await until('all have ended', () => ['main', 'boot', 'blob'].every((role) => world.pids(role).length === 0))
  await world.start() // what was stored is whole
  expect(status()).toBe('n1: img:1 armed')
})

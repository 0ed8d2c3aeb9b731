// The commands as a person starts them: processes of their own, against a real server on a unix socket.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Emit } from '../../services/emit.ts'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import type { EventLog } from '../../services/record/event-log.ts'
import { openStore, type Store } from '../../services/store/store.ts'
import type { Digest, ImageName, Ipv4, NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { Job } from '../../src/job.ts'
import { emptyWorld } from '../http/empty-world.ts'
import { imageNeeds } from '../http/image-store.ts'
import { testEvents } from '../http/test-events.ts'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'sysclone-cli-'))
const socket = join(folder, 'api.sock')
const digest = `sha256:${'1'.repeat(64)}` as Digest
const image = {
  name: 'img' as ImageName,
  version: 2,
  digest,
  createdAt: '2026-01-02T03:04:05.000Z',
  source: 'golden',
  arch: 'x86_64',
  firmware: 'bios',
  os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12' },
  kernelRelease: '6.1.0',
  layers: [{ bytes: 300_000_000 }],
  tarBytes: 1_000_000_000,
  layout: {
    disks: [{ label: 'gpt', partitions: [{ filesystem: { type: 'ext4', mountpoint: '/' } }] }],
    fstab: '',
  },
} as unknown as ImageVersion

let store: Store
let admin: Awaited<ReturnType<typeof startAdmin>>
let events: EventLog
let emit: Emit
let watchers: Set<unknown>
let captureEnds: () => void = () => {}
const captureJob: Job = {
  id: 'j0',
  kind: 'capture',
  node: 'n1' as NodeName,
  image: 'img' as ImageName,
  state: 'running',
  startedAt: 1,
}

beforeAll(async () => {
  store = await openStore(join(folder, 'db'))
  await store.osimages.put({ name: 'img' as ImageName, profile: 'compute' })
  await store.osimages.put({ name: 'bare' as ImageName })
  ;({ events, emit, watchers } = await testEvents(store))
  admin = await startAdmin(needs())
})
function needs(): AdminNeeds {
  return {
    socket,
    store,
    networks: [{ interface: 'eth1', subnet: { base: 0x0a000000, prefix: 24 }, address: '10.0.0.1' as Ipv4 }],
    networksAt: '/etc/sysclone.yaml:3',
    images: {
      list: () => [image],
      get: (name, version = 2) => (name === 'img' && version === 2 ? image : undefined),
    },
    ...imageNeeds([image]),
    deploy: {
      async arm(node) {
        if (node === 'n2')
          throw new UserError('the node is locked', { what: 'lock=1', allowed: 'lock=0 first' })
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
    async capture() {
      emit('capture.progress', { job: 'other', image: 'x', phase: 'not ours', percent: 50 })
      setImmediate(captureEnds)
      return { job: 'j1' }
    },
    keepFiles: async () => ({}),
    leases: async () => [],
    dryWorld: async () => emptyWorld,
    strangers: async () => [],
    nodesChanged: () => {},
    events,
    emit,
  }
}
beforeEach(async () => {
  await store.nodes.remove((await store.nodes.list()).map(({ name }) => name))
  await store.nodes.putMany(
    ['n1', 'n2', 'n3'].map((name) => ({ name: name as NodeName, groups: ['compute'], mac: [] })),
  )
})
afterAll(async () => {
  await admin.close()
  await events.close()
  await store.close()
  rmSync(folder, { recursive: true })
})

type Run = { code: number | null; out: string; err: string }
function run(
  words: string[],
  { file = main, env = { SYSCLONE_SERVER: socket }, onStart = (_: number) => {} } = {},
) {
  return new Promise<Run>((resolve, reject) => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file, ...words], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
    })
    const read = { out: '', err: '' }
    child.stdout.on('data', (chunk) => {
      read.out += chunk
    })
    child.stderr.on('data', (chunk) => {
      read.err += chunk
    })
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...read }))
    onStart(child.pid!)
  })
}
const lines = (...all: string[]) => all.map((line) => `${line}\n`).join('')

test('a node is defined, shown, changed and removed, in xCAT’s words', async () => {
  const words = ['-t', 'node', '-o', 'golden', 'groups=all', 'mac=52:54:00:00:00:0A', 'ip=10.0.0.7']
  expect(await run(['mkdef', ...words])).toEqual({
    code: 0,
    out: '1 object definitions have been created or modified.\n',
    err: '',
  })
  expect((await run(['lsdef', 'golden'])).out).toBe(
    lines(
      'Object name: golden',
      '    currstate=boot',
      '    groups=all',
      '    ip=10.0.0.7',
      '    mac=52:54:00:00:00:0a',
    ),
  )
  expect((await run(['chdef', 'n[1-2],golden', '-p', 'groups=rack1'])).out).toMatch(/^3 object definitions/)
  expect((await run(['lsdef', '-i', 'groups,ip', '-o', 'rack1,-n2'])).out).toBe(
    lines(
      'Object name: golden',
      '    groups=all,rack1',
      '    ip=10.0.0.7',
      'Object name: n1',
      '    groups=compute,rack1',
      '    ip=',
    ),
  )
  expect((await run(['rmdef', 'golden'])).out).toBe('1 object definitions have been removed.\n')
  expect((await run(['lsdef'])).out).toBe(lines('n1  (node)', 'n2  (node)', 'n3  (node)'))
})

test('lsdef shows osimages and networks, and JSON keyed by name', async () => {
  expect((await run(['lsdef', '-t', 'osimage', 'img', '-i', 'profile,osname'])).out).toBe(
    lines('Object name: img', '    osname=Linux', '    profile=compute'),
  )
  expect((await run(['lsdef', '-t', 'network'])).out).toBe('10_0_0_0-255_255_255_0  (network)\n')
  const { out } = await run(['lsdef', 'n1,n3', '--json'])
  expect(JSON.parse(out)).toEqual({
    n1: { groups: 'compute', currstate: 'boot' },
    n3: { groups: 'compute', currstate: 'boot' },
  })
})

test('nodeset: a line a node; one that fails makes exit 1 and is named on stderr', async () => {
  expect(await run(['nodeset', 'n[1-3]', 'osimage=img:2'])).toEqual({
    code: 1,
    out: lines('n1: sysclone debian12-x86_64', 'n3: sysclone debian12-x86_64'),
    err: 'n2: the node is locked (lock=1; allowed: lock=0 first)\n',
  })
  expect(await run(['nodeset', 'n1,n3', 'stat'])).toEqual({
    code: 0,
    out: lines('n1: boot', 'n3: boot'),
    err: '',
  })
  const { code, out } = await run(['nodeset', 'n1,n2', 'osimage=img', '--json'])
  expect([code, JSON.parse(out)]).toMatchObject([
    1,
    { n1: { text: 'sysclone debian12-x86_64' }, n2: { fault: { error: 'the node is locked' } } },
  ])
})

test('a command also works under its own name through a link', async () => {
  const file = join(folder, 'nodeset')
  symlinkSync(main, file)
  expect(await run(['n1', 'boot'], { file })).toEqual({ code: 0, out: 'n1: boot\n', err: '' })
})

test('lsimage lists versions', async () => {
  const { code, out } = await run(['lsimage'])
  expect([code, out]).toEqual([
    0,
    lines(
      'IMAGE  CAPTURED          FROM    ARCH    FIRMWARE  STORED  OWN     SHARED  CONTENT  OS',
      'img:2  2026-01-02 03:04  golden  x86_64  bios      300 MB  300 MB  0.0 MB  1000 MB  Debian GNU/Linux 12',
    ),
  ])
  expect(await run(['lsimage', 'none'])).toEqual({ code: 1, out: '', err: 'none: no such osimage (none)\n' })
})

test('jobs: what runs, and how the last ones ended', async () => {
  const at = new Date(2026, 0, 2, 3, 4, 5).getTime()
  const failed = { error: 'the job died', what: 'exit code 1' }
  await store.jobs.put({
    ...captureJob,
    id: 'j7',
    startedAt: at,
    endedAt: at + 3_723_000,
    state: 'done',
    result: 'img:7',
  })
  await store.jobs.put({
    ...captureJob,
    id: 'j8',
    startedAt: at + 1,
    endedAt: at + 61_001,
    state: 'failed',
    fault: failed,
  })
  await store.jobs.put({ ...captureJob, id: 'j9', startedAt: at + 2 })
  expect((await run(['jobs'])).out).toBe(
    lines(
      'JOB  KIND     NODE  IMAGE  STATE    STARTED              TOOK     RESULT',
      'j7   capture  n1    img    done     2026-01-02 03:04:05  1:02:03  img:7',
      'j8   capture  n1    img    failed   2026-01-02 03:04:05  1:01     the job died; exit code 1',
      'j9   capture  n1    img    running  2026-01-02 03:04:05',
    ),
  )
  expect((await run(['jobs', '--last', '2', '--running', '--json'])).out).toMatch(
    /^\[\n {2}\{\n {4}"id": "j9",/,
  )
  expect(await run(['jobs', '--last', '0'])).toMatchObject({
    code: 2,
    err: expect.stringMatching(/Allowed: 1 to 100000/),
  })
  for (const id of ['j7', 'j8', 'j9']) await store.jobs.put({ ...captureJob, id, state: 'done' })
})

test('key prints the line that authorized_keys needs', async () => {
  expect(await run(['key'])).toEqual({ code: 0, out: 'ssh-ed25519 AAAA sysclone\n', err: '' })
  expect(JSON.parse((await run(['key', '--json'])).out)).toMatchObject({ fingerprint: 'SHA256:x' })
})

describe('imgcapture', () => {
  const words = ['imgcapture', 'n1', '-t', 'sysclone', '-o', 'img']
  const step = (phase: string, percent: number) => emit('capture.progress', { job: 'j1', phase, percent })

  test('says how far it is, in plain lines, and what it made', async () => {
    captureEnds = () => {
      for (const [phase, percent] of [
        ['probe', 0],
        ['copy', 1],
        ['copy', 3],
        ['copy', 12],
        ['publish', 99],
      ] as const)
        step(phase, percent)
      emit('job.done', { job: 'j1', kind: 'capture', result: 'img:2' })
    }
    expect(await run(words)).toEqual({
      code: 0,
      out: lines('probe 0%', 'copy 1%', 'copy 12%', 'publish 99%', 'n1: captured as img:2'),
      err: '',
    })
    const { out } = await run([...words, '--json'])
    expect(JSON.parse(out)).toEqual({
      ...{ job: 'j1', image: 'img', version: 2, bytes: 300_000_000, new: true },
    })
  })

  test('says that nothing has changed, and that there is no new version', async () => {
    captureEnds = () => emit('job.done', { job: 'j1', kind: 'capture', result: 'img:2 (nothing changed)' })
    expect((await run(words)).out).toContain('n1: nothing changed since img:2; no new version')
    expect(JSON.parse((await run([...words, '--json'])).out)).toMatchObject({ version: 2, new: false })
  })

  test('fails with the reason, which cannot play with the terminal', async () => {
    captureEnds = () => emit('job.fail', { job: 'j1', kind: 'capture', why: 'host key \x1b[2Jis SHA256:x' })
    expect(await run(words)).toMatchObject({
      code: 1,
      err: 'n1: the capture failed (host key ?[2Jis SHA256:x)\n',
    })
  })

  test('Ctrl-C leaves the job alone and says so', async () => {
    let pid = 0
    captureEnds = () => {
      step('copy', 5)
      setTimeout(() => process.kill(pid, 'SIGINT'), 300)
    }
    const onStart = (started: number) => {
      pid = started
    }
    expect(await run(words, { onStart })).toEqual({
      code: 1,
      out: 'copy 5%\n',
      err: 'n1: not waited for (the server goes on with job j1; allowed: sysclone jobs shows it)\n',
    })
  })

  /** As a main process that is killed: nobody says goodbye, and another one listens a second later. */
  async function restart() {
    await admin.close()
    await new Promise((done) => setTimeout(done, 1000))
    admin = await startAdmin(needs())
  }
  const job: Job = { ...captureJob, id: 'j1', state: 'running' }

  test('a server that is started again is waited for: the job goes on', async () => {
    await store.jobs.put(job)
    captureEnds = async () => {
      step('copy', 20)
      await restart()
      const end = setInterval(() => {
        if (watchers.size < 1) return // the command
        clearInterval(end)
        step('copy', 60)
        emit('job.done', { job: 'j1', kind: 'capture', result: 'img:2' })
      }, 20)
    }
    expect(await run(words)).toEqual({
      code: 0,
      out: lines('copy 20%', 'waiting for the server 20%', 'copy 60%', 'n1: captured as img:2'),
      err: '',
    })
  })

  for (const [how, end, expected] of [
    ['well', { state: 'done', result: 'img:2' }, { code: 0, out: /n1: captured as img:2\n$/, err: /^$/ }],
    [
      'badly',
      { state: 'failed', fault: { error: 'the job died', what: 'exit code 1' } },
      { code: 1, out: /^copy 20%/, err: /^n1: the capture failed \(the job died; exit code 1\)\n$/ },
    ],
  ] as const)
    test(`a job that ended ${how} while nobody answered`, async () => {
      await store.jobs.put(job)
      captureEnds = async () => {
        step('copy', 20)
        await store.jobs.put({ ...job, ...end, endedAt: 2 })
        await restart()
      }
      const { code, out, err } = await run(words)
      expect(code).toBe(expected.code)
      expect(out).toMatch(expected.out)
      expect(err).toMatch(expected.err)
    })

  test('a refusal ends it at once', async () => {
    expect(await run(['imgcapture', 'n9', '-o', 'img'])).toMatchObject({
      code: 1,
      err: 'n9: no such node (n9)\n',
    })
  })
})

const refused: [words: string[], code: number, err: RegExp][] = [
  [['lsdef', 'n[1-9]'], 1, /^no such node or group \(n4, n5, n6, n7, n8, n9\)\n$/],
  [['mkdef', 'x', 'color=red'], 1, /^x: no such attribute \(color; allowed: addkcmdline arch .*\)\n$/],
  [
    ['mkdef', 'x', 'mac=1'],
    1,
    /^x: mac: not a MAC address \(1; allowed: MAC addresses .*with commas between.*\)\n$/,
  ],
  [
    ['chdef', '-t', 'osimage', 'img', 'rootimgdir=/'],
    1,
    /^img: only the server sets this attribute \(rootimgdir; allowed: /,
  ],
  [['mkdef', 'x', 'ip=10.0.0.7', 'ip=10.0.0.8'], 2, /ip is given twice/],
  [['mkdef', 'groups=all'], 2, /names are needed/],
  [['chdef', 'n1'], 2, /attr=value is needed/],
  [['chdef', 'n1', '-p', '-m', 'groups=x'], 2, /cannot be used with/],
  [
    ['mkdef', '-t', 'network', '-o', 'x'],
    1,
    /^networks come from the configuration file alone \(x; allowed: \/etc\/sysclone.yaml:3 changed, and the server started anew\)\n$/,
  ],
  [['chdef', '-t', 'network', 'y', 'gateway='], 1, /^networks come from the configuration file alone \(y;/],
  [['rmdef', '-t', 'network', 'z'], 1, /^networks come from the configuration file alone \(z;/],
  [
    ['nodeset', 'n1', 'osimage=bare'],
    1,
    /^bare: the osimage has no version yet \(bare; allowed: imgcapture NODE/,
  ],
  [['mkdef', '-t', 'network2', '-o', 'x'], 2, /Allowed choices are node, group, osimage, network/],
  [['nodeset', 'n1', 'shell'], 2, /Allowed: osimage/],
  [['nodeset', 'n1'], 2, /missing required argument 'state'/],
  [['imgcapture', 'n1', '-t', 'partclone', '-o', 'x'], 2, /Allowed choices are sysclone, diskless/],
  [['imgcapture', 'n1', '-t', 'sysclone'], 2, /required option '-o <image>' not specified/],
  [['imgcapture', 'n1', '-o', '../x'], 2, /argument '\.\.\/x' is invalid/],
  [['imgcapture', 'n1', '-o', 'x', '-n', 'e1000'], 2, /Not here: the ramdisk has the drivers/],
  [['imgcapture', 'n1', '-o', 'x', '--accept-hostkey', 'md5:1'], 2, /SHA256: and 43 characters/],
  [['lsdef', '--frobnicate'], 2, /unknown option/],
  [['lsdef', '--server', 'https://host/'], 1, /not the path of a socket/],
  [
    ['lsdef', '--server', '/nowhere/api.sock'],
    1,
    /^the server does not answer \(\/nowhere\/api.sock: there is no such socket; allowed: sysclone serve/,
  ],
]
test('what is refused: exit 2 for usage, 1 for the rest, and never a stack trace', async () => {
  const before = await store.nodes.list()
  const waiting = [...refused]
  async function next(): Promise<void> {
    const [words, code, err] = waiting.shift() ?? []
    if (!words) return
    const found = await run(words)
    expect({ words, code: found.code, out: found.out }).toEqual({ words, code, out: '' })
    expect(found.err).toMatch(err!)
    expect(found.err).not.toMatch(/\n\s+at /)
    return next()
  }
  await Promise.all([next(), next(), next()])
  expect(await store.nodes.list()).toEqual(before)
}, 60_000)

test('help is help', async () => {
  const { code, out } = await run(['nodeset', '--help'])
  expect(code).toBe(0)
  expect(out).toMatch(/^Usage: sysclone nodeset \[options\] <noderange> <state>/)
})

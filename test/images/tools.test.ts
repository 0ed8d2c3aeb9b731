// Other people's tools with our store: skopeo, podman and Debian's registry read it, and give back the same digests.
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startRegistry } from '../../services/http/registry.ts'
import { openCatalog } from '../../services/images/catalog.ts'
import { type Images, openImages } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { publishLayers, tarOf } from './layered.ts'

// podman makes a name of the path, and names are lower case.
const dir = join(tmpdir(), `sysclone-tools-${process.pid}`)
mkdirSync(dir)
const at = (name: string) => join(dir, name)
const token = 'a-token-of-some-length'
const run = (...argv: string[]) =>
  execFileSync(argv[0]!, argv.slice(1), {
    stdio: 'pipe',
    maxBuffer: 1 << 28,
    env: { ...process.env, HOME: dir },
  })
const execute = promisify(execFile)
/** While our own server answers in this process. */
const runBeside = async (...argv: string[]): Promise<string> =>
  (await execute(argv[0]!, argv.slice(1), { env: { ...process.env, HOME: dir } })).stdout
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

let images: Images
let base: ImageVersion
let delta: ImageVersion
let registry: Awaited<ReturnType<typeof startRegistry>>
let debian: { port: number; process: ChildProcess }

beforeAll(async () => {
  images = await openImages(at('images'))
  for (const folder of ['tree/bin', 'tree/etc', 'tree/usr/share', 'tree/tmp', 'delta/etc', 'delta/usr'])
    mkdirSync(at(folder), { recursive: true })
  run('cp', '/bin/busybox', at('tree/bin/busybox'))
  run('ln', at('tree/bin/busybox'), at('tree/bin/sh'))
  run('ln', '-s', 'busybox', at('tree/bin/cat'))
  run('setfattr', '-n', 'user.note', '-v', 'kept', at('tree/bin/busybox'))
  writeFileSync(at('tree/etc/greeting'), 'hello from version one')
  writeFileSync(at('tree/etc/gone'), 'x')
  writeFileSync(
    at('tree/usr/share/noise'),
    Buffer.from(Array.from({ length: 6_000_000 }, (_, i) => (i * i * 7919) % 251)),
  )
  writeFileSync(at('delta/etc/greeting'), 'hello from version two')
  writeFileSync(at('delta/etc/.wh.gone'), '')
  writeFileSync(at('delta/usr/.wh.share'), '')
  const first = tarOf(at('tree'))
  base = await publishLayers(images, [first])
  delta = await publishLayers(images, [first, tarOf(at('delta'))])
  writeFileSync(at('token'), `${token}\n`)
  run(
    ...[
      'openssl',
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ],
    ...[
      '-subj',
      '/CN=sysclone',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-keyout',
      at('key.pem'),
      '-out',
      at('cert.pem'),
    ],
  )
  mkdirSync(at('certs'))
  run('cp', at('cert.pem'), at('certs/ca.crt'))
  registry = await startRegistry({
    address: '127.0.0.1',
    port: 0,
    certificate: at('cert.pem'),
    key: at('key.pem'),
    token: at('token'),
    catalog: openCatalog(at('images')),
    emit: () => {},
  })
  debian = await startDebianRegistry()
})
afterAll(async () => {
  debian?.process.kill()
  await registry?.close()
  // podman's vfs store has files that only it unmounts.
  spawnSync('podman', [...podmanAt(), 'rmi', '-a', '-f'], { stdio: 'ignore' })
  rmSync(dir, { recursive: true, force: true })
})

async function startDebianRegistry() {
  const port = await freePort()
  writeFileSync(
    at('registry.yml'),
    `version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: ${at('registry')} } }\nhttp: { addr: "127.0.0.1:${port}" }\n`,
  )
  const child = spawn('docker-registry', ['serve', at('registry.yml')], { stdio: 'ignore' })
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(100)) {
    const answer = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined)
    if (answer?.ok) return { port, process: child }
  }
  throw new Error('docker-registry does not answer')
}
async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done))
  const { port } = probe.address() as { port: number }
  await new Promise((done) => probe.close(done))
  return port
}

// ---- our /v2/ as a client sees it ----

type Answer = { status: number; headers: Record<string, string | string[] | undefined>; body: Buffer }
function ask(
  path: string,
  { method = 'GET', headers = {} as Record<string, string>, auth = `Bearer ${token}` } = {},
) {
  return new Promise<Answer>((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port: registry.port,
        path,
        method,
        ca: readFileSync(at('cert.pem')),
        headers: { ...headers, ...(auth && { authorization: auth }) },
        agent: false,
      },
      async (response) => {
        const parts: Buffer[] = []
        for await (const chunk of response) parts.push(chunk)
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(parts) })
      },
    )
    sent.on('error', reject)
    sent.end()
  })
}
const json = ({ body }: Answer) => JSON.parse(body.toString())

describe('/v2/', () => {
  test('lets in who has the token, as Bearer or as password; nobody else sees anything', async () => {
    for (const auth of [
      '',
      'Bearer other',
      `Basic ${btoa('x:other')}`,
      `Basic ${btoa(token)}`,
      'Bearer',
      `Digest ${token}`,
    ])
      for (const path of ['/v2/', '/v2/_catalog', '/v2/img/manifests/1', '/']) {
        const answer = await ask(path, { auth })
        expect([answer.status, json(answer).errors[0].code]).toEqual([401, 'UNAUTHORIZED'])
        expect(answer.headers['www-authenticate']).toMatch(/^Basic realm=/)
      }
    for (const auth of [`Bearer ${token}`, `bearer ${token}`, `Basic ${btoa(`anybody:${token}`)}`]) {
      const answer = await ask('/v2/', { auth })
      expect([answer.status, answer.headers['docker-distribution-api-version']]).toEqual([
        200,
        'registry/2.0',
      ])
    }
  })

  test('the token can be changed while it runs; a short one lets nobody in', async () => {
    writeFileSync(at('token'), 'another-token-of-length')
    expect((await ask('/v2/')).status).toBe(401)
    expect((await ask('/v2/', { auth: 'Bearer another-token-of-length' })).status).toBe(200)
    writeFileSync(at('token'), 'short')
    expect((await ask('/v2/', { auth: 'Bearer short' })).status).toBe(401)
    writeFileSync(at('token'), token)
  })

  test('catalog and tags, whole and in pages', async () => {
    expect(json(await ask('/v2/_catalog'))).toEqual({ repositories: ['img'] })
    expect(json(await ask('/v2/img/tags/list'))).toEqual({ name: 'img', tags: ['1', '2', 'latest'] })
    const first = await ask('/v2/img/tags/list?n=2')
    expect(json(first).tags).toEqual(['1', '2'])
    const next = /^<(.*)>; rel="next"$/.exec(String(first.headers.link))![1]!
    expect(json(await ask(next))).toEqual({ name: 'img', tags: ['latest'] })
    expect(json(await ask('/v2/img/tags/list?n=0')).tags).toEqual([])
    expect(json(await ask('/v2/img/tags/list?n=x')).errors[0].code).toBe('PAGINATION_NUMBER_INVALID')
  })

  test('manifests by tag and by digest, with the digest that they have', async () => {
    for (const reference of ['2', 'latest', delta.digest]) {
      const answer = await ask(`/v2/img/manifests/${reference}`)
      expect(sha256(answer.body)).toBe(delta.digest)
      expect(answer.headers).toMatchObject({
        'docker-content-digest': delta.digest,
        'content-type': 'application/vnd.oci.image.manifest.v1+json',
        'content-length': String(answer.body.length),
      })
      const head = await ask(`/v2/img/manifests/${reference}`, { method: 'HEAD' })
      expect([head.status, head.body.length, head.headers['content-length']]).toEqual([
        200,
        0,
        String(answer.body.length),
      ])
    }
  })

  test('blobs, parts of them, and HEAD', async () => {
    const { digest, bytes } = base.layers[0]!
    const whole = await ask(`/v2/img/blobs/${digest}`)
    expect([whole.status, sha256(whole.body), whole.headers['docker-content-digest']]).toEqual([
      200,
      digest,
      digest,
    ])
    const part = await ask(`/v2/img/blobs/${digest}`, { headers: { range: 'bytes=1000-1999' } })
    expect([part.status, part.headers['content-range']]).toEqual([206, `bytes 1000-1999/${bytes}`])
    expect(part.body.equals(whole.body.subarray(1000, 2000))).toBe(true)
    const head = await ask(`/v2/img/blobs/${digest}`, { method: 'HEAD' })
    expect([head.status, head.headers['content-length'], head.body.length]).toEqual([200, String(bytes), 0])
    expect((await ask(`/v2/img/blobs/${digest}`, { headers: { range: `bytes=${bytes}-` } })).status).toBe(416)
  })

  test.each<[string, string, number, string]>([
    ['GET', '/v2/none/tags/list', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/none/manifests/1', 404, 'NAME_UNKNOWN'],
    ['GET', '/v2/img/manifests/9', 404, 'MANIFEST_UNKNOWN'],
    ['GET', `/v2/img/manifests/sha256:${'0'.repeat(64)}`, 404, 'MANIFEST_UNKNOWN'],
    ['GET', '/v2/img/manifests/sha256:zz', 400, 'DIGEST_INVALID'],
    ['GET', `/v2/img/blobs/sha256:${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
    ['GET', '/v2/img/blobs/sha256:../../index.json', 404, 'UNKNOWN'],
    ['GET', '/v2/img/blobs/..%2f..%2findex.json', 400, 'DIGEST_INVALID'],
    ['GET', '/v2/IMG/manifests/1', 400, 'NAME_INVALID'],
    ['GET', '/v2/../etc/blobs/x', 400, 'NAME_INVALID'],
    ['GET', '/v1/', 404, 'UNKNOWN'],
    ['GET', '/', 404, 'UNKNOWN'],
    ['PUT', '/v2/img/manifests/3', 405, 'UNSUPPORTED'],
    ['POST', '/v2/img/blobs/uploads/', 405, 'UNSUPPORTED'],
    ['DELETE', '/v2/img/manifests/1', 405, 'UNSUPPORTED'],
  ])('%s %s: %i %s', async (method, path, status, code) => {
    const answer = await ask(path, { method })
    expect([answer.status, json(answer).errors[0].code]).toEqual([status, code])
    expect(json(answer).errors[0]).toMatchObject({ message: expect.any(String), detail: expect.any(String) })
  })

  test('a blob of another image is not given out under this name', async () => {
    const secret = await publishLayers(images, [tarOf(at('delta'), '--mtime=@5')], {
      name: 'secret' as ImageName,
    })
    expect((await ask(`/v2/img/blobs/${secret.layers[0]!.digest}`)).status).toBe(404)
    expect((await ask(`/v2/secret/blobs/${secret.layers[0]!.digest}`)).status).toBe(200)
    await images.remove([secret])
    expect((await ask(`/v2/secret/blobs/${secret.layers[0]!.digest}`)).status).toBe(404)
  })

  test('plain HTTP gets nothing', async () => {
    await expect(fetch(`http://127.0.0.1:${registry.port}/v2/`)).rejects.toThrow()
  })
})

describe('skopeo', () => {
  const ours = () => ['--src-cert-dir', at('certs'), '--src-creds', `x:${token}`]
  const rawDigest = (...argv: string[]) => sha256(run('skopeo', 'inspect', '--raw', ...argv))

  test('reads the store itself, by name and version', () => {
    expect(rawDigest(`oci:${at('images')}:img:2`)).toBe(delta.digest)
    const seen = JSON.parse(run('skopeo', 'inspect', `oci:${at('images')}:img:2`).toString())
    expect(seen.Layers).toEqual(delta.layers.map(({ digest }) => digest))
    expect(seen.Labels['sysclone.source']).toBe('golden')
  })

  test("pulls over TLS, pushes to Debian's registry, and pulls it back: every digest is the same", async () => {
    const from = `docker://127.0.0.1:${registry.port}/img:2`
    const to = `docker://127.0.0.1:${debian.port}/img:2`
    await runBeside(
      'skopeo',
      'copy',
      '-q',
      '--preserve-digests',
      ...ours(),
      '--dest-tls-verify=false',
      from,
      to,
    )
    run('skopeo', 'copy', '-q', '--preserve-digests', '--src-tls-verify=false', to, `oci:${at('back')}:img`)
    expect(rawDigest(`oci:${at('back')}:img`)).toBe(delta.digest)
    expect(rawDigest('--tls-verify=false', to)).toBe(delta.digest)
    const blobs = readdirSync(at('back/blobs/sha256'))
    const { config } = JSON.parse(readFileSync(images.blobPath(delta.digest), 'utf8'))
    expect(blobs.sort()).toEqual(
      [delta.digest, config.digest, ...delta.layers.map(({ digest }) => digest)]
        .map((digest) => digest.slice(7))
        .sort(),
    )
    for (const name of blobs)
      expect(
        readFileSync(at(`back/blobs/sha256/${name}`)).equals(
          readFileSync(images.blobPath(`sha256:${name}` as never)),
        ),
      ).toBe(true)
  })

  test('logs in with the token on standard input, as README says, and pulls', async () => {
    const host = `127.0.0.1:${registry.port}`
    const files = ['--authfile', at('auth.json'), '--cert-dir', at('certs')]
    writeFileSync(at('token'), `${token}\n`, { mode: 0o600 })
    const login = 'exec skopeo login "$@" --username any --password-stdin < "$0"'
    await runBeside('sh', '-c', login, at('token'), ...files, host)
    const pull = ['-q', '--authfile', at('auth.json'), '--src-cert-dir', at('certs')]
    await runBeside('skopeo', 'copy', ...pull, `docker://${host}/img:2`, `oci:${at('pulled')}:img`)
    expect(rawDigest(`oci:${at('pulled')}:img`)).toBe(delta.digest)
  })

  test('without the token, or without knowing our certificate, gets nothing', async () => {
    const from = `docker://127.0.0.1:${registry.port}/img:2`
    const copy = (...more: string[]) => runBeside('skopeo', 'copy', '-q', ...more, from, `oci:${at('no')}`)
    await expect(copy('--src-cert-dir', at('certs'))).rejects.toThrow(/unauthorized|authentication required/i)
    await expect(copy('--src-creds', `x:${token}`)).rejects.toThrow(/certificate|x509/)
  })
})

const podmanAt = () => [
  '--root',
  at('podman'),
  '--runroot',
  at('podman-run'),
  '--storage-driver',
  'vfs',
  '--cgroup-manager',
  'cgroupfs',
]

describe('podman', () => {
  const podman = (...argv: string[]) =>
    spawnSync('podman', [...podmanAt(), ...argv], { encoding: 'utf8', env: { ...process.env, HOME: dir } })

  test('pulls from the store and lays the layers as we do: what is gone is gone, links are links', () => {
    const pulled = podman('pull', '-q', `oci:${at('images')}:img:2`)
    expect([pulled.status, pulled.stderr]).toEqual([0, expect.any(String)])
    const id = pulled.stdout.trim()
    const mounted = podman('image', 'mount', id)
    expect([mounted.status, mounted.stderr]).toEqual([0, ''])
    const root = mounted.stdout.trim()
    const found = (folder: string) =>
      run('sh', '-c', `cd ${folder} && find . -printf '%y %m %U %G %n %P %l\\n' | sort`).toString()
    const same = at('same')
    run('cp', '-a', at('tree'), same)
    run('cp', at('delta/etc/greeting'), join(same, 'etc/greeting'))
    rmSync(join(same, 'etc/gone'))
    rmSync(join(same, 'usr/share'), { recursive: true })
    expect(found(root)).toBe(found(same))
    expect(readFileSync(join(root, 'etc/greeting'), 'utf8')).toBe('hello from version two')
    expect(run('getfattr', '--only-values', '-n', 'user.note', join(root, 'bin/sh')).toString()).toBe('kept')
    podman('image', 'umount', id)
  })

  test('runs a program of it', () => {
    const id = podman('pull', '-q', `oci:${at('images')}:img:1`).stdout.trim()
    // Its runtime takes no machine with cgroups of both kinds, and raises limits that not every root may raise.
    const alone = 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec podman "$@"'
    const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024']
    const box = [
      '--cgroups=disabled',
      '--network=host',
      '--security-opt',
      'seccomp=unconfined',
      '--runtime',
      'crun',
    ]
    const ran = spawnSync(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        alone,
        'sh',
        ...podmanAt(),
        'run',
        '--rm',
        ...box,
        ...limits,
        id,
        '/bin/cat',
        '/etc/greeting',
      ],
      { encoding: 'utf8', env: { ...process.env, HOME: dir } },
    )
    expect([ran.stdout, ran.stderr, ran.status]).toEqual(['hello from version one', '', 0])
  })
})

// A hard tree: captured, and cut off midway. What is unpacked by GNU tar and
// zstd alone is what find and getfattr tell of the tree.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CaptureNeeds } from '../../services/capture/capture.ts'
import { captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import { parseImageName } from '../../src/address.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import { parsePreflight } from '../../src/image/preflight.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { goldenNeeds, makeTree, startSshd } from './golden.ts'
import { startSshServer } from './ssh-server.ts'
import { told, unpack } from './unpack.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-hard-'))
const tree = join(dir, 'tree')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>
const sh = (commands: string) => execFileSync('sh', ['-euc', commands], { cwd: tree })

beforeAll(async () => {
  mkdirSync(join(dir, 'ssh'), { recursive: true })
  mkdirSync(tree)
  makeTree(tree)
  for (const file of ['etc/machine-id', 'etc/ssh/ssh_host_ed25519_key', 'tmp/rubbish'])
    rmSync(join(tree, file))
  sh(`mkdir -p h/many; cd h; i=0; while [ $i -lt 300 ]; do echo "file $i" > many/$i; i=$((i + 1)); done
    touch "$(printf '%0255d' 7)"; echo i > immutable; chattr +i immutable; echo a > 'log of all'; chattr +a 'log of all'; setfattr -n user.u -v '"' many/1
    setfattr -n security.thing -v s many/2; setfattr -n trusted.thing -v 0x00ff0a many/3; setfacl -m u:77:rwx,u:daemon:rx,d:g:88:rx,d:g:bin:rx many; setfacl -m u:daemon:rw,g:bin:r many/7
    ln many/4 link-a; ln many/4 many/link-b; mknod c c 5 1; mkfifo p; chown 1:3000000 many/5; chmod 6755 many/6
    printf 'x' > "$(printf 'new\\nline\\ttab')"; printf y > "$(printf 'bytes\\376\\377')"; : > empty`)
  // Something to be cut off in, of files short enough that each of the streams has brought some whole by then.
  sh('for n in $(seq 36); do head -c 2000000 /dev/urandom > h/big$n; done')
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
})
afterAll(async () => {
  await sshd?.close()
  sh("chattr -i h/immutable; chattr -a 'h/log of all'")
  rmSync(dir, { recursive: true, force: true })
})

const needs = (image: string, more: Partial<CaptureNeeds> = {}): CaptureNeeds => ({
  ...goldenNeeds({ sshd, tree, images }, image),
  ...more,
})
const reportOf = (version: ImageVersion) =>
  parseCaptureReport(readFileSync(images.blobPath(version.report!.digest), 'utf8'))
const staged = () => readdirSync(join(dir, 'images/staging'))

const megabytes = (folder: string) => Number(execFileSync('du', ['-sm', folder]).toString().split('\t')[0])

/** Sockets belong to what runs, and are left out. */
function isTheTree(version: ImageVersion) {
  const out = unpack(images, version, join(dir, 'out'))
  const expected = told(tree).filter((line) => !line.startsWith('var/sock|'))
  try {
    expect(told(out)).toEqual(expected)
    expect(megabytes(out)).toBeLessThan(megabytes(tree) + 10) // holes are holes
  } finally {
    rmSync(out, { recursive: true })
  }
}

/** A golden client that has zstd without pzstd. */
const withoutPzstd = () => {
  const { scripts } = needs('any')
  const archive = scripts.archive.replaceAll('pzstd -1', 'no-pzstd -1')
  if (archive === scripts.archive) throw new Error('archive.sh does not run pzstd')
  return { scripts: { ...scripts, archive } }
}

test('of a golden client without pzstd it is the same', async () => {
  const { version } = await captureImage(needs('plain-zstd', withoutPzstd()))
  isTheTree(version)
})

test('all of it, and a sparse file of 3 GB, through sshd', async () => {
  sh('truncate -s 3G h/sparse; printf end | dd of=h/sparse bs=1 seek=2999999999 conv=notrunc status=none')
  const { version } = await captureImage(needs('whole'))
  isTheTree(version)
  expect(reportOf(version).left).toMatchObject({ sockets: 1 })
  const { flagged } = parsePreflight(readFileSync(images.blobPath(version.preflight!.digest), 'utf8'))
  expect(flagged).toEqual(['/h/immutable (i)', '/h/log of all (a)'])
  sh('rm h/sparse') // to read its zeros takes seconds
})

test('all of it, and 60,000 small files, through a server of ssh2', { timeout: 180_000 }, async () => {
  mkdirSync(join(dir, 'ssh2'))
  sh('mkdir h/small; cd h/small; seq 60000 | split -l 1 -a 4 -') // one line a file
  const server = await startSshServer(join(dir, 'ssh2'))
  const { version } = await captureImage({ ...goldenNeeds({ sshd: server, tree, images }, 'in-process') })
  await server.close()
  isTheTree(version)
  expect(reportOf(version).entries).toBeGreaterThan(60_000)
  sh('rm -r h/small')
})

test('a golden client that vanishes midway: the fault is said, and the next capture goes on', async () => {
  const cable = await cuttable(sshd.port, 25_000_000)
  const target = { ...needs('cut').target, port: cable.port }
  await expect(captureImage(needs('cut', { target }))).rejects.toThrow(/ssh connection lost|connection/)
  await cable.close()
  expect(images.get(parseImageName('cut'))).toBeUndefined()
  expect(staged()).toHaveLength(1)
  const { version } = await captureImage(needs('cut'))
  expect(reportOf(version).resumed!.bytes).toBeGreaterThan(4_000_000)
  isTheTree(version)
})

/** A cable that is cut after so many bytes from the other side. */
async function cuttable(port: number, bytes: number) {
  const sockets = new Set<Socket>()
  let passed = 0
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    near.pipe(far)
    far.on('data', (chunk) => {
      passed += chunk.length
      if (passed > bytes) for (const socket of sockets) socket.destroy()
    })
    far.pipe(near)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((done) => server.close(() => done()))
  }
  return { port: (server.address() as { port: number }).port, close }
}

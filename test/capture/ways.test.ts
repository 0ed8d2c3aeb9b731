// Captures by a user that is not root, and over a jump host: the same tree comes of them.
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type CaptureNeeds, captureImage } from '../../services/capture/capture.ts'
import { checkGolden } from '../../services/capture/check.ts'
import { openImages } from '../../services/images/store.ts'
import { freePort, goldenNeeds, makeTree, startAdminSshd, startSshd, withFiles } from './golden.ts'
import { told, unpack } from './unpack.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-ways-'))
const tree = join(dir, 'tree')
let images: Awaited<ReturnType<typeof openImages>>
let fresh = 0
const folder = () => {
  const path = join(dir, `sshd${++fresh}`)
  mkdirSync(path)
  return path
}

beforeAll(async () => {
  mkdirSync(tree)
  makeTree(tree)
  images = await openImages(join(dir, 'images'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Sshd = Awaited<ReturnType<typeof startSshd>>
function capture(sshd: Sshd, image: string, target: Partial<CaptureNeeds['target']>) {
  const needs = goldenNeeds({ sshd, tree, images }, image)
  return captureImage({ ...needs, target: { ...needs.target, ...target } })
}
// What every capture leaves out: as a path at the start of a line, or behind a sum.
const left =
  /(^|^[0-9a-f]{64} {2}\.\/)(etc\/machine-id|etc\/ssh\/ssh_host_ed25519_key|tmp\/rubbish|var\/sock)(\||$)/

async function isTheTree(captured: ReturnType<typeof capture>, name: string) {
  const { version } = await captured
  const out = unpack(images, version, join(dir, name))
  const of = (root: string) => told(root, { directoryTimes: false }).filter((line) => !left.test(line))
  expect(of(out)).toEqual(of(tree))
  expect(of(out).some((line) => line.startsWith('etc/shadow|f|640|0|0|'))).toBe(true) // root alone reads it
  expect(await images.verify(version)).toEqual([])
}

/** No version, nothing half received. */
function noTrace(image: string) {
  expect(images.list().map(({ name }) => name)).not.toContain(image)
  expect(readdirSync(join(images.path, 'staging'))).toEqual([])
}

describe('as a user with sudo', () => {
  test('all of it is read as root, to the last attribute', async () => {
    const sshd = await startAdminSshd(folder(), 'admin ALL=(root) NOPASSWD: ALL\n')
    try {
      await isTheTree(capture(sshd, 'by-sudo', { user: 'admin' }), 'by-sudo')
      expect(sshd.said()).toMatch(/Accepted publickey for admin/)
      expect(sshd.said()).not.toMatch(/Accepted publickey for root/)
    } finally {
      await sshd.close()
    }
  })

  test('whom sudo asks for a password: refused with what to do, and nothing is kept', async () => {
    const sshd = await startAdminSshd(folder(), 'admin ALL=(root) ALL\n')
    try {
      await expect(capture(sshd, 'asked', { user: 'admin' })).rejects.toMatchObject({
        fault: {
          error: 'sudo asks for a password',
          allowed: expect.stringContaining('admin ALL=(root) NOPASSWD: ALL'),
          what: expect.stringMatching(new RegExp(`^127\\.0\\.0\\.1:${sshd.port}: admin: sudo: `)),
          object: 'golden',
        },
      })
      noTrace('asked')
    } finally {
      await sshd.close()
    }
  })
})

describe('faults name the node, and where it was looked for', () => {
  let sshd: Sshd
  beforeAll(async () => {
    sshd = await startSshd(folder())
  })
  afterAll(() => sshd?.close())

  /** The same of a capture and of the look before it. */
  async function fails(
    target: Partial<CaptureNeeds['target']>,
    replaced: Partial<CaptureNeeds['scripts']> = {},
  ): Promise<string[]> {
    const needs = goldenNeeds({ sshd, tree, images }, 'fails')
    const scripts = { ...needs.scripts, ...replaced }
    const both = { ...needs, scripts, target: { ...needs.target, ...target } }
    const { privateKey, signal } = both
    const attempts = [
      captureImage(both),
      checkGolden({
        ...{ scripts, signal, scrub: [], show: () => {}, root: tree },
        target: { ...both.target, privateKey, timeoutMs: 10_000 },
      }),
    ]
    const said = await Promise.all(
      attempts.map((attempt) =>
        attempt.then(
          () => 'nothing failed',
          (error: Error) => error.message,
        ),
      ),
    )
    noTrace('fails')
    return said
  }

  test.each<[what: string, target: () => Promise<Partial<CaptureNeeds['target']>>, said: RegExp]>([
    [
      'nobody listens',
      async () => ({ port: await freePort() }),
      /^golden: not reachable by ssh \(127\.0\.0\.1:\d+: .*ECONNREFUSED/,
    ],
    [
      'its key is not known',
      async () => ({ hostKey: undefined }),
      /^golden: ssh host key is not known yet \(127\.0\.0\.1:\d+: it presents SHA256:.*--accept-hostkey/,
    ],
    [
      'nobody may log in',
      async () => ({ user: 'no-such-user' }),
      /^golden: ssh login refused \(127\.0\.0\.1:\d+: user no-such-user/,
    ],
  ])('%s', async (_, target, expected) => {
    for (const said of await fails(await target())) expect(said).toMatch(expected)
  })

  const lose = 'kill -9 $PPID; sleep 60\n'
  test.each([
    ['looks at the machine', { probe: lose }],
    ['lists its files', { list: `echo begin 1.000000000 | zstd -q -c\n${lose}` }],
  ])('the connection is lost while a script %s', async (_, scripts) => {
    for (const said of await fails({}, scripts))
      expect(said).toMatch(/^golden: ssh connection lost \(127\.0\.0\.1:\d+: /)
  })

  test('what a script says of itself comes before what its list looks like', async () => {
    const list = 'echo begin 1.000000000 | zstd -q -c; echo "sh: find: not found" >&2; exit 127\n'
    for (const said of await fails({}, { list })) expect(said).toMatch(/^golden: .*find: not found/)
  })
})

describe('over a jump host', () => {
  let golden: Sshd
  let jump: Sshd
  beforeAll(async () => {
    const own = folder()
    golden = await startSshd(own)
    const its = folder()
    // It alone knows this name: who comes there came over the jump host.
    const inside = withFiles(its, { '/etc/hosts': '127.0.0.1 localhost behind-the-jump-host\n' })
    const keys = { AuthorizedKeysFile: `${join(its, 'client.pub')} ${join(own, 'client.pub')}` }
    jump = await startSshd(its, keys, inside)
  })
  afterAll(async () => {
    await golden?.close()
    await jump?.close()
  })
  const over = (more: object = {}): Partial<CaptureNeeds['target']> => ({
    host: 'behind-the-jump-host',
    jump: { host: '127.0.0.1', port: jump.port, user: 'root', hostKey: jump.hostKey, ...more },
  })

  test('the same tree', async () => {
    await isTheTree(capture(golden, 'over', over()), 'over')
    expect(jump.said()).toMatch(/Accepted publickey for root/)
    expect(golden.said()).toMatch(/Accepted publickey for root/)
  })

  test('with another host key than the known one: refused, the golden client is not spoken to', async () => {
    const before = golden.said()
    const attempt = capture(golden, 'wrong', over({ hostKey: 'SHA256:AAAA' }))
    await expect(attempt).rejects.toThrow(
      /^golden: ssh host key of the jump host is not the known one \(127\.0\.0\.1:\d+: .*sshjumphostkey=/,
    )
    expect(golden.said()).toBe(before)
    noTrace('wrong')
  })

  test('that does not reach the golden client says so', async () => {
    await expect(capture(golden, 'lost', { ...over(), port: 1 })).rejects.toThrow(
      /^golden: not reachable from the jump host \(behind-the-jump-host:1: .*refused/,
    )
    noTrace('lost')
  })
})

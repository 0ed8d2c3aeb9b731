// Captures as a person does them: the command line, the server, its job processes, and Debian's sshd in front of a tree that
// seems to be a machine of its own. The same with a real machine is in test/vm.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import { asMachine, goldenNeeds, makeTree, probeAnswer, startSshd } from '../capture/golden.ts'
import { addresses, openWorld, until, type World } from './world.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-captures-'))
const tree = join(dir, 'tree')
const place = join(dir, 'place')
const log = join(dir, 'log')
const secret = '-----BEGIN OPENSSH PRIVATE KEY-----\nTOPSECRET\n'
vi.setConfig({ testTimeout: 120_000 }) // a dozen processes each, on a machine that may be busy
let world: World
let sshd: Awaited<ReturnType<typeof startSshd>>

beforeAll(async () => {
  for (const folder of [tree, join(dir, 'ssh'), join(dir, 'in')]) mkdirSync(folder)
  makeTree(tree)
  mkdirSync(join(tree, 'root/.ssh'), { recursive: true })
  writeFileSync(join(tree, 'root/.ssh/id_ed25519'), secret)
  world = await openWorld()
  await world.start()
  const authorized = join(dir, 'authorized_keys')
  writeFileSync(authorized, world.sysclone('key').out)
  sshd = await startSshd(
    join(dir, 'ssh'),
    {
      ListenAddress: addresses.n1,
      AuthorizedKeysFile: `${join(dir, 'ssh/client.pub')} ${authorized}`,
      ForceCommand: asMachine(dir, tree, probeAnswer(tree)),
    },
    ['ip', 'netns', 'exec', world.namespace],
  )
  said('mkdef', '-t', 'node', '-o', 'golden', `ip=${addresses.n1}`, `sshport=${sshd.port}`)
}, 240_000)
afterAll(async () => {
  await sshd?.close()
  await world?.close()
  rmSync(dir, { recursive: true, force: true })
})

function said(...words: string[]) {
  const { code, out, err } = world.sysclone(...words)
  return { code, out: out.trim(), err: err.trim() }
}
const capture = (...words: string[]) => said('imgcapture', 'golden', ...words)
const versions = (name = 'img'): any[] => JSON.parse(said('lsimage', name, '--json').out || '[]')

test('an unknown host key is shown; one that was accepted is expected from then on', () => {
  const { code, err } = capture('-o', 'img', '--check')
  expect([code, err]).toEqual([1, expect.stringContaining(`--accept-hostkey ${sshd.hostKey}`)])
  expect(capture('-o', 'img', '--check', '--accept-hostkey', sshd.hostKey)).toMatchObject({
    code: 0,
    err: '',
  })
  expect(said('lsdef', 'golden', '-i', 'sshhostkey').out).toContain(`sshhostkey=${sshd.hostKey}`)
})

test('--check says what is there and what is done with it, by the rules of the osimage; nothing is captured', () => {
  const looked = capture('-o', 'img', '--check')
  expect(looked.out).toMatch(/^identities:\n/m)
  expect(looked.out).toMatch(/machine-id.*regenerate/)
  expect(looked.out).toMatch(/root-ssh-keys.*drop/)
  expect(looked.out).toContain('/root/.ssh/id_ed25519')
  said('mkdef', '-t', 'osimage', '-o', 'keeps', 'scrub=root-ssh-keys:keep')
  expect(capture('-o', 'keeps', '--check').out).toMatch(/root-ssh-keys.*keep/)
  const { findings, refusals } = JSON.parse(capture('-o', 'img', '--check', '--json').out)
  expect(findings.find(({ name }: any) => name === 'machine-id')).toMatchObject({
    rule: 'regenerate',
    count: 1,
  })
  expect(refusals).toEqual([])
  expect(versions()).toEqual([])
})

test('a capture is a version, an osimage and a report; the next one finds nothing new', () => {
  const first = capture('-o', 'img', '-p', 'compute', '-V')
  expect(first).toMatchObject({ code: 0, err: '' })
  expect(first.out).toContain('golden: captured as img:1')
  const report = said('lsimage', 'img:1', '--report').out
  expect(report).toMatch(/captured from golden[\s\S]*left out 1: scrub: root-ssh-keys:drop/)
  expect(report).toMatch(/root-ssh-keys:drop +1 file left out/)
  expect(report).toMatch(/nfs4 from .* at \/mnt\/nfs: it is on another machine/)
  expect(first.out).toContain('root-ssh-keys:drop')
  const { out } = said('lsdef', '-t', 'osimage', 'img')
  for (const line of [
    'imagetype=linux',
    'osarch=x86_64',
    'profile=compute',
    'provmethod=sysclone',
    'version=1',
  ])
    expect(out).toContain(line)
  expect(world.sysclone('cat', 'img', '/usr/bin/-rf').out).toBe('a name like an option')
  expect(said('cat', 'img', '/root/.ssh/id_ed25519').code).toBe(1)
  expect(capture('-o', 'img').out).toContain('golden: nothing changed since img:1; no new version')
})

test('one name is of one kind, whatever makes its versions; a diskless one is looked at as it is captured', () => {
  writeFileSync(join(tree, 'tmp-of-the-installer'), 'x')
  expect(capture('-o', 'ram', '-t', 'diskless', '-p', 'x', '--accept-jump-hostkey', 'bad').code).toBe(2)
  expect(said('chdef', 'golden', 'sshhostkey=').code).toBe(0)
  expect(capture('-o', 'ram', '-t', 'diskless', '-p', 'x').err).toContain('host key is not known')
  const known = ['--accept-hostkey', sshd.hostKey]
  expect(capture('-o', 'ram', '-t', 'diskless', '-p', 'x', ...known)).toMatchObject({ code: 0, err: '' })
  expect(said('lsdef', '-t', 'osimage', 'ram', '-i', 'provmethod').out).toContain('provmethod=diskless')
  expect(capture('-o', 'ram', '-t', 'diskless', '--check').code).toBe(0)
  const other = /ram: the osimage is of another kind \(provmethod=diskless; allowed: another name/
  expect(capture('-o', 'ram').err).toMatch(other)
  expect(capture('-o', 'ram', '--check').err).toMatch(other)
  expect(said('cpimage', 'img:1', 'ram', '--next').err).toMatch(other)
  expect(said('imgexport', 'img:1', join(dir, 'img.tar')).code).toBe(0)
  expect(said('imgimport', join(dir, 'img.tar'), 'ram').err).toMatch(/of another kind; provmethod=diskless/)
  expect(said('imgexport', 'ram', join(dir, 'ram.tar')).code).toBe(0)
  expect(said('imgimport', join(dir, 'ram.tar'), 'img').err).toMatch(/of another kind; provmethod=sysclone/)
  expect(said('imgimport', join(dir, 'ram.tar'), 'ram2').code).toBe(0)
  expect(said('lsdef', '-t', 'osimage', 'ram2', '-i', 'provmethod').out).toContain('provmethod=diskless')
  rmSync(join(tree, 'tmp-of-the-installer'))
})

test('a rule that has changed is a new version: what was left there comes, and goes again', () => {
  said('chdef', '-t', 'osimage', '-o', 'img', 'scrub=root-ssh-keys:keep')
  expect(capture('-o', 'img').out).toContain('captured as img:2')
  expect(world.sysclone('cat', 'img', '/root/.ssh/id_ed25519').out).toBe(secret)
  said('chdef', '-t', 'osimage', '-o', 'img', 'scrub=')
  expect(capture('-o', 'img').out).toContain('captured as img:3')
  expect(said('diff', 'img:2', 'img:3').out).toBe('- /root/.ssh/id_ed25519')
  expect(said('diff', 'img:1', 'img:3').out).toBe('')
})

test('held still by a command for the time of the copy; what cannot be held is said, and nothing is captured', () => {
  const at = join(tree, 'etc/held')
  const hold = ['--freeze', `echo still > ${at}`, '--thaw', `rm ${at}; echo thawed >> ${log}`]
  expect(capture('-o', 'img', ...hold).out).toContain('captured as img:4')
  expect(world.sysclone('cat', 'img', '/etc/held').out).toBe('still\n')
  expect([existsSync(at), readFileSync(log, 'utf8')]).toEqual([false, 'thawed\n'])
  const failed = capture('-o', 'img', '--freeze', 'echo no way >&2; exit 3', '--thaw', `echo again >> ${log}`)
  expect(failed.code).toBe(1)
  expect(failed.err).toMatch(/golden: .*cannot be held still.*3/)
  expect(readFileSync(log, 'utf8')).toBe('thawed\nagain\n')
  const snapshot = capture('-o', 'img', '--snapshot')
  expect([snapshot.code, snapshot.err]).toEqual([
    1,
    expect.stringMatching(/golden: .*no snapshot can be made/),
  ])
  expect(versions().map(({ version }) => version)).toEqual([1, 2, 3, 4])
})

test('kept in another place: a whole image there, whose next version builds upon it', () => {
  expect(capture('-o', 'far', '-l', place)).toMatchObject({ code: 0, err: '' })
  writeFileSync(join(tree, 'etc/motd'), 'far away')
  expect(capture('-o', 'far', '-l', place).out).toContain('captured as far:2')
  expect(versions('far').map((each) => each.place)).toEqual([place, place])
  expect(said('lsdef', '-t', 'osimage', 'far', '-i', 'rootimgdir').out).toContain(`rootimgdir=${place}`)
  expect(said('diff', 'far:1', 'far:2').out).toBe('+ /etc/motd')
  expect(said('fsck', 'far:1', 'far:2').code).toBe(0)
  // What the store has is taken from there: a version in a place of its own is whole all the same.
  expect(capture('-o', 'img', '-l', place).out).toContain('captured as img:5')
  expect(said('rmimage', 'img:1', 'img:2', 'img:3', 'img:4').code).toBe(0)
  expect(said('fsck', 'img:5').out).toMatch(/sound/)
})

test('after many captures the server lays the tree anew in few layers by itself', async () => {
  mkdirSync(join(dir, 'near'))
  const near = await startSshd(join(dir, 'near')) // these need no server: only what they leave is of interest
  const images = await openImages(join(world.stateDir, 'images'))
  const needs = goldenNeeds({ sshd: near, tree, images }, 'many')
  // A file that is younger than a second is read again by the next capture, and the layer that had it goes: none is young here.
  const list = needs.scripts.list.replace('$(date +%s.%N)', "$(date -d '+5 seconds' +%s.%N)")
  expect(list).not.toBe(needs.scripts.list)
  const scripts = { ...needs.scripts, list }
  let layers = 0
  for (let i = 0; i < 30 && layers < 24; i++) {
    writeFileSync(join(tree, `etc/motd-${i}`), 'one more layer\n')
    const { version } = await captureImage({ ...needs, scripts })
    layers = version.layers.length
  }
  await near.close()
  expect(layers).toBe(24)
  const newest = () => versions('many').at(-1)
  const { version } = newest()
  writeFileSync(join(tree, 'etc/motd'), 'the last one\n')
  await sleep(1200)
  expect(capture('-o', 'many').out).toContain(`captured as many:${version + 1}`)
  await until('it is squashed', () => newest().origin === `squash of many:${version + 1}`)
  expect(newest().layerCount).toBeLessThan(5)
  expect(said('diff', `many:${version + 1}`, 'many').out).toBe('')
  expect(capture('-o', 'many').out).toContain(`nothing changed since many:${version + 2}`)
})

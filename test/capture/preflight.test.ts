// The look before a capture, and what a capture leaves there because of it: a tree of identities and secrets behind a real
// sshd; that nothing secret came is looked for in every byte that the server has.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { captureImage } from '../../services/capture/capture.ts'
import { checkGolden } from '../../services/capture/check.ts'
import { openImages } from '../../services/images/store.ts'
import { parsePreflight } from '../../src/image/preflight.ts'
import { showPreflight } from '../../src/image/preflight-text.ts'
import { parseRules } from '../../src/image/scrub.ts'
import { goldenNeeds, goldenScripts, makeTree, probeAnswer, startSshd } from './golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-preflight-'))
const tree = join(dir, 'tree')
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>

const secret = 'TOPSECRET'
const key = `-----BEGIN OPENSSH PRIVATE KEY-----\n${secret}-key\n-----END OPENSSH PRIVATE KEY-----\n`
// A key at the end of what is far larger than any key.
const bundle = `${'-----BEGIN CERTIFICATE-----\nMIIB\n'.repeat(170_000)}${key}`
const base64 = (text: string) => Buffer.from(text).toString('base64')
const files: Record<string, string> = {
  'root/.ssh/id_ed25519': key,
  'root/.ssh/id_ed25519.pub': 'ssh-ed25519 AAAA public\n',
  'root/.ssh/authorized_keys': 'ssh-ed25519 AAAA admin\n',
  'root/.bash_history': `mysql -p${secret}\n`,
  'home/ann/.ssh/odd\nname': key,
  'home/ann/.aws/credentials': `aws_secret_access_key=${secret}\n`,
  'etc/ssl/private/server.key': key,
  'etc/ssl/private/README': 'keys go here\n',
  'etc/ssl/certs/ca.pem': '-----BEGIN CERTIFICATE-----\n',
  'opt/app/server.key': '-----BEGIN RSA PRIVATE KEY-----\nof the application\n',
  'etc/ssl/private/bundle.pem': bundle,
  'srv/web/.env': `PORT=80\nKEY="-----BEGIN PRIVATE KEY-----\\nMII"\n${'# more\n'.repeat(300_000)}`,
  'etc/NetworkManager/system-connections/lan': '[connection]\nuuid=1\n',
  'etc/NetworkManager/system-connections/wifi': `[wifi-security]\npsk=${secret}\n`,
  'etc/NetworkManager/system-connections/plain': '[connection]\nid=x\n',
  'etc/keys/data.key': secret,
  'srv/luks.key': secret,
  'etc/crypttab': 'data UUID=1 /srv/luks.key luks\nswap /dev/x /dev/urandom swap\n',
  'var/lib/dhcp/dhclient.leases': 'lease\n',
  'var/lib/cloud/instances/i-1/user-data': secret,
  'var/lib/systemd/random-seed': secret,
  'var/lib/mysql/ibdata1': 'rows',
  'etc/iscsi/initiatorname.iscsi': 'InitiatorName=x\n',
}

beforeAll(async () => {
  mkdirSync(tree)
  mkdirSync(join(dir, 'ssh'))
  makeTree(tree)
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(tree, path, '..'), { recursive: true })
    writeFileSync(join(tree, path), text)
  }
  execFileSync('truncate', ['-s', '1T', join(tree, 'srv/disk.key')])
  mkdirSync(join(tree, 'var/lib/dbus'))
  symlinkSync('/etc/machine-id', join(tree, 'var/lib/dbus/machine-id'))
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(join(dir, 'images'))
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})

const answer = (more: object = {}) =>
  probeAnswer(tree, {
    said: { processes: base64('mysqld\nsshd\npostgres\n') },
    files: { 'etc/crypttab': base64(files['etc/crypttab']!) },
    ...more,
  })
const needs = () => goldenNeeds({ sshd, tree, images }, 'img')
const scripts = (more: object = {}) => goldenScripts(answer(more))
const check = (scrub: string[] = [], more: object = {}) =>
  checkGolden({
    target: { ...needs().target, privateKey: sshd.privateKey, timeoutMs: 10_000 },
    ...{ scripts: scripts(more), scrub, show: () => {}, signal: new AbortController().signal, root: tree },
  })
const capture = (scrub: string[] = []) => captureImage({ ...needs(), scripts: scripts(), scrub })
const counts = ({ findings }: Awaited<ReturnType<typeof check>>) =>
  Object.fromEntries(findings.map(({ name, rule, count }) => [name, `${rule} ${count}`]))

describe('the report', () => {
  test('names what is there, by name and by content, with what is done', async () => {
    const preflight = await check()
    expect(counts(preflight)).toEqual({
      'machine-id': 'regenerate 1', // the link of dbus is none
      'ssh-host-keys': 'regenerate 1',
      'random-seed': 'regenerate 1',
      'dhcp-leases': 'drop 1',
      'network-connections': 'regenerate 1',
      'iscsi-initiator': 'regenerate 1',
      'cloud-init': 'drop 1',
      'root-ssh-keys': 'drop 1',
      'user-ssh-keys': 'drop 1',
      'tls-private-keys': 'drop 2',
      'other-private-keys': 'keep 2',
      'shell-history': 'drop 1',
      'cloud-credentials': 'drop 1',
      'wifi-passwords': 'drop 1',
      'disk-keys': 'drop 2', // one that only crypttab names
      shadow: 'keep 1',
      databases: 'keep 1',
    })
    expect(preflight.unread).toEqual({ count: 1, names: ['/srv/disk.key'] })
    expect(preflight.databases).toEqual(['mysqld', 'postgres'])
    expect(preflight.staysOut).toContainEqual({
      what: 'nfs4 from 10.0.0.9:/home at /mnt/nfs',
      why: 'it is on another machine, or made by a program',
    })
    expect(JSON.stringify(preflight)).not.toContain(secret)
  })

  test('is lines for a person, and JSON that is read again', async () => {
    const preflight = await check(['machine-id:keep'])
    const text = showPreflight(preflight).join('\n')
    expect(text).toMatch(/^identities:\n {2}machine-id:keep {2}1 file taken \(or regenerate, drop\)/)
    expect(text).toContain('    /root/.ssh/id_ed25519\n')
    expect(text).toContain('    /home/ann/.ssh/odd?name\n')
    expect(text).toContain('too large to look into for keys and passwords, 1 file:\n  /srv/disk.key\n')
    expect(text).toMatch(/running databases:\n {2}mysqld: stop it/)
    expect(parsePreflight(JSON.stringify(preflight))).toEqual(preflight)
    expect(() => parsePreflight('{}')).toThrow(/out of shape/)
  })

  test('a machine that would be refused is looked at all the same, and says why', async () => {
    const mounts = JSON.parse(answer()).findmnt.filesystems
    const zfs = { target: '/tank', source: 'tank', fstype: 'zfs', fsroot: '/', used: 1 }
    const preflight = await check([], { findmnt: { filesystems: [...mounts, zfs] } })
    expect(preflight.refusals).toEqual(['zfs from tank at /tank: this file system cannot be cloned'])
    expect(showPreflight(preflight)[0]).toMatch(/^refused/)
  })

  test('leaves nothing behind, there or here', async () => {
    const before = execFileSync('find', [tree, '-newer', join(dir, 'ssh/config')]).toString()
    await check()
    expect(execFileSync('find', [tree, '-newer', join(dir, 'ssh/config')]).toString()).toBe(before)
    expect(images.list()).toEqual([])
  })
})

/** Everything that the server keeps, layers unpacked. */
function kept(): string {
  const blobs = join(dir, 'images/blobs/sha256')
  return readdirSync(blobs)
    .map((name) => {
      const plain = spawnSync('zstd', ['-dcq', join(blobs, name)], { maxBuffer: 1 << 28 })
      return (plain.status === 0 ? plain.stdout : readFileSync(join(blobs, name))).toString('latin1')
    })
    .join('\n')
}
const namesIn = (manifest: string): string[] =>
  spawnSync('zstd', ['-dcq', manifest], { maxBuffer: 1 << 28 })
    .stdout.toString()
    .split('\n')
    .map((line) => line.split('\t')[7] ?? '')

describe('a capture', () => {
  test('leaves there what is dropped or made anew: no byte of it comes to the server', async () => {
    const { version } = await capture()
    expect(kept()).not.toContain(secret)
    const names = namesIn(images.blobPath(version.manifest.digest))
    for (const path of [
      'root/.ssh/id_ed25519.pub',
      'root/.ssh/authorized_keys',
      'etc/ssl/private/README',
      'opt/app/server.key',
      'etc/shadow',
      'var/lib/mysql/ibdata1',
    ])
      expect(names).toContain(path)
    expect(names).toContain('etc/NetworkManager/system-connections/lan') // the clone edits it
    for (const path of [
      'etc/machine-id',
      'root/.ssh/id_ed25519',
      'etc/ssl/private/bundle.pem',
      'etc/NetworkManager/system-connections/wifi',
      'var/lib/cloud/instances',
    ])
      expect(names).not.toContain(path)
  })

  test('keeps the rules and the report with the version', async () => {
    const { version } = await capture(['cloud-init:keep', 'databases:drop'])
    expect(parseRules(version.scrub!)).toMatchObject({
      'cloud-init': 'keep',
      databases: 'drop',
      'machine-id': 'regenerate',
    })
    const report = parsePreflight(readFileSync(images.blobPath(version.preflight!.digest), 'utf8'))
    expect(counts(report)).toMatchObject({ 'cloud-init': 'keep 1', databases: 'drop 1' })
    const names = namesIn(images.blobPath(version.manifest.digest))
    expect(names).toContain('var/lib/cloud/instances/i-1/user-data')
    expect(names).not.toContain('var/lib/mysql/ibdata1')
    expect(await images.verify(version)).toEqual([])
  })
})

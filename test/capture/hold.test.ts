// Freeze and thaw on a real sshd: the thaw command runs whatever ends the copy. LVM snapshots need a kernel with the
// device mapper: test/vm/storage.test.ts.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { holdStill } from '../../services/capture/hold.ts'
import { connectSsh } from '../../services/remote/ssh.ts'
import { readProbe } from '../../src/image/probe.ts'
import { startSshd } from './golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-hold-'))
const script = readFileSync(join(import.meta.dirname, '../../bootfiles/capture/hold.sh'), 'utf8')
let sshd: Awaited<ReturnType<typeof startSshd>>
beforeAll(async () => {
  sshd = await startSshd(dir)
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})
const connect = () =>
  connectSsh({
    host: '127.0.0.1',
    user: 'root',
    timeoutMs: 20_000,
    port: sshd.port,
    hostKey: sshd.hostKey,
    privateKey: sshd.privateKey,
  })
const probe = { layout: { disks: [], fstab: '' }, mountpoints: ['/'], devices: ['/dev/vda1'] }
const log = join(dir, 'log')
const said = () => (existsSync(log) ? readFileSync(log, 'utf8') : '')
const hold = { freeze: `echo "frozen 'x'" >> ${log}`, thaw: `echo thawed >> ${log}` }
const until = async (done: () => boolean) => {
  for (let i = 0; i < 400 && !done(); i++) await sleep(50)
  expect(done()).toBe(true)
}
/** Processes of the script: it has its command line from sh -c. */
const leftovers = () => spawnSync('sh', ['-c', 'ls -d /run/sysclone-capture.* 2>/dev/null']).stdout.toString()

test('frozen while it is held, thawed when it is released', async () => {
  rmSync(log, { force: true })
  const ssh = await connect()
  const still = await holdStill({ ssh, script, root: dir, hold, probe })
  expect(still.root).toBe(dir)
  expect(said()).toBe("frozen 'x'\n")
  await still.release()
  expect(said()).toBe("frozen 'x'\nthawed\n")
  ssh.close()
  expect(leftovers()).toBe('')
})

test('thawed when the connection breaks, and when the freeze command fails', async () => {
  rmSync(log, { force: true })
  const ssh = await connect()
  await holdStill({ ssh, script, root: '/', hold, probe })
  ssh.close()
  await until(() => said().endsWith('thawed\n'))
  rmSync(log)
  const again = await connect()
  const failing = holdStill({
    ssh: again,
    script,
    root: '/',
    hold: { ...hold, freeze: 'echo no >&2; exit 4' },
    probe,
  })
  await expect(failing).rejects.toThrow(/cannot be held still.*freeze command ended with 4/)
  expect(said()).toBe('thawed\n')
  again.close()
  await until(() => leftovers() === '')
})

test('thawed when the server says nothing more, though the connection stands', async () => {
  rmSync(log, { force: true })
  const ssh = await connect()
  const mute = { runScript: (text: string, lines: readonly string[]) => ssh.runScript(text, lines, silent()) }
  const impatient = script.replace('PATIENCE-60', 'PATIENCE-3')
  expect(impatient).not.toBe(script)
  await holdStill({ ssh: mute as never, script: impatient, root: '/', hold, probe })
  await until(() => said().endsWith('thawed\n'))
  ssh.close()
})

test('no snapshot of what is on no volume: said before anything is frozen', async () => {
  rmSync(log, { force: true })
  const ssh = await connect()
  const attempt = holdStill({ ssh, script, root: '/', hold: { ...hold, snapshot: true }, probe })
  await expect(attempt).rejects.toThrow(/no snapshot can be made.*on no logical volume/)
  expect(said()).toBe('')
  ssh.close()
})

test('snapshots are asked for of the volumes that a real machine has, thin ones in their pool; the rest is read as it is', async () => {
  const fixture = join(import.meta.dirname, '../fixtures/capture/probes/lvm.json')
  const machine = readProbe(readFileSync(fixture, 'utf8'))
  const ssh = await connect()
  let asked: readonly string[] = []
  const there = 'cat > /dev/null & echo root /run/snapshots; wait'
  const noted = {
    runScript: (_: string, lines: readonly string[], input?: Readable) => {
      asked = lines
      return ssh.runScript(there, [], input)
    },
  }
  const needs = { ssh: noted as never, script, root: '/', hold: { ...hold, snapshot: true }, probe: machine }
  const still = await holdStill(needs)
  expect(still.root).toBe('/run/snapshots')
  ssh.close()
  const [id, root, freeze, thaw, ...volumes] = asked
  expect(id).toMatch(/^id [0-9a-f]{12}$/)
  expect([root, freeze, thaw, volumes.pop()]).toEqual([
    ...['root /', `freeze ${hold.freeze}`, `thaw ${hold.thaw}`, 'go'],
  ])
  // As test/vm/storage/probes.sh has made them.
  expect(volumes).toEqual([
    ...['snapshot vg0 root-1 - /', 'plain /boot', 'plain /boot/efi', 'snapshot vg0 striped - /home'],
    ...['snapshot vg0 parity - /srv/with blank', 'snapshot vg0 thin pool /var/lib/data'],
  ])
})

/** An input that never says anything and never ends. */
const silent = () => new Readable({ read() {} })

test('LVM that says nothing is a fault that is said, and the machine goes on', () => {
  rmSync(log, { force: true })
  const lines = [
    ...['id nolvm', `root ${dir}`, `freeze ${hold.freeze}`, `thaw ${hold.thaw}`],
    ...['snapshot no-such-group root - /', 'snapshot no-such-group home - /home', 'go'],
  ]
  const { stdout } = spawnSync('sh', ['-c', script], { input: lines.map((line) => `${line}\n`).join('') })
  expect(stdout.toString()).toMatch(/^released\nfailed no-such-group\/root: ./)
  expect(said()).toBe("frozen 'x'\nthawed\n")
  expect(leftovers()).toBe('')
})

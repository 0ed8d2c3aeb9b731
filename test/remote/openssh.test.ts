// Scripts through OpenSSH's own client, which Debian's sshd on loopback answers.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { startAgent } from '../../services/remote/agent.ts'
import type { SshTarget } from '../../services/remote/login.ts'
import type { BulkRun } from '../../services/remote/openssh.ts'
import { openBulk } from '../../services/remote/openssh.ts'
import { connectSsh } from '../../services/remote/ssh.ts'
import { startAdminSshd, startSshd } from '../capture/golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-openssh-'))
let sshd: Awaited<ReturnType<typeof startSshd>>
beforeAll(async () => {
  vi.stubEnv('TMPDIR', mkdtempSync(join(dir, 'tmp-'))) // where the folders of bulk connections are
  sshd = await startSshd(dir)
})
afterEach(() => expect(readdirSync(tmpdir())).toEqual([]))
afterAll(async () => {
  await sshd?.close()
  vi.unstubAllEnvs()
  rmSync(dir, { recursive: true, force: true })
})

const target = (more: Partial<SshTarget> = {}): SshTarget => ({
  ...{ host: '127.0.0.1', port: sshd.port, user: 'root', timeoutMs: 5000 },
  ...{ privateKey: sshd.privateKey, hostKey: sshd.hostKey },
  ...more,
})
async function opened(more: Partial<SshTarget> = {}) {
  const notes: string[] = []
  const ssh = await connectSsh(target(more))
  const bulk = openBulk(ssh, target(more), (note) => notes.push(note))
  const close = async () => {
    await bulk.close()
    ssh.close()
  }
  return { ssh, bulk, notes, close }
}
type Bulk = Awaited<ReturnType<typeof opened>>['bulk']
const LARGE = 1 << 30 // OpenSSH's client is used from 64 MiB on
const start = (bulk: Bulk, script: string, lines: string[], input: () => Readable, bytes = LARGE) =>
  bulk.run({ script, lines, input, bytes })
async function run(bulk: Bulk, script: string, lines: string[] = [], input = '') {
  const running = await start(bulk, script, lines, () => Readable.from([Buffer.from(input)]))
  const [stdout, stderr] = await Promise.all([buffer(outputOf(running)), text(running.stderr)])
  return { stdout: ownOf(stdout, running).toString(), stderr, exit: await running.exit }
}
const outputOf = ({ pipe, handOver }: BulkRun) => createReadStream(pipe).once('open', handOver)
/** Without what comes before the script's own. */
const ownOf = (said: Buffer, { mark = '' }: BulkRun) => said.subarray(said.indexOf(mark) + mark.length)
const logins = (server = sshd) => server.said().match(/Accepted publickey/g)?.length ?? 0

describe('a script', () => {
  test('comes over a connection of its own, gets its lines, then its input, and says how it ended', async () => {
    const { bulk, notes, close } = await opened()
    const before = logins()
    const script = 'IFS= read -r a\nIFS= read -r b\nprintf "%s|%s|" "$a" "$b"\ncat\necho bad >&2\nexit 7\n'
    expect(await run(bulk, script, ["$(touch x) ' \\n `id`", '-n'], 'rest\n')).toEqual({
      stdout: "$(touch x) ' \\n `id`|-n|rest\n",
      stderr: 'bad\n',
      exit: 7,
    })
    expect([logins() - before, notes]).toEqual([1, []])
    await close()
  })

  test('gives every byte of what is large, two at once', async () => {
    const { bulk, close } = await opened()
    const content = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * i) % 251))
    const cat = async () => {
      const running = await start(bulk, 'cat\n', [], () => Readable.from([content, content]))
      const [said] = await Promise.all([buffer(outputOf(running)), text(running.stderr)])
      return [ownOf(said, running).equals(Buffer.concat([content, content])), await running.exit]
    }
    expect(await Promise.all([cat(), cat()])).toEqual([
      [true, 0],
      [true, 0],
    ])
    await close()
  })

  test('that ends before its input does says why', async () => {
    const { bulk, close } = await opened()
    const endless = function* () {
      for (;;) yield Buffer.alloc(65_536)
    }
    const running = await start(bulk, 'head -c 10 > /dev/null; exit 3\n', [], () => Readable.from(endless()))
    outputOf(running).resume()
    running.stderr.resume()
    expect(await running.exit).toBe(3)
    await close()
  })

  test('what a login shell prints before it is no part of it', async () => {
    const own = mkdtempSync(join(dir, 'noisy-'))
    const command = join(own, 'command')
    writeFileSync(command, '#!/bin/sh\necho welcome; echo motd >&2\neval "$SSH_ORIGINAL_COMMAND"\n')
    chmodSync(command, 0o755)
    const noisy = await startSshd(own, { ForceCommand: command })
    const { bulk, notes, close } = await opened({ ...noisy })
    expect(await run(bulk, 'echo out; echo err >&2\n')).toEqual({ stdout: 'out\n', stderr: 'err\n', exit: 0 })
    expect(notes).toEqual([])
    await close()
    await noisy.close()
  })

  test('runs as root by sudo', async () => {
    const own = mkdtempSync(join(dir, 'admin-'))
    const server = await startAdminSshd(own, 'admin ALL=(root) NOPASSWD: ALL\n')
    const { bulk, notes, close } = await opened({ ...server, user: 'admin' })
    expect(await run(bulk, 'id -u\n')).toMatchObject({ stdout: '0\n', exit: 0 })
    expect([logins(server), notes]).toEqual([2, []])
    await close()
    await server.close()
  })

  test('comes over the jump host where there is one', async () => {
    const own = mkdtempSync(join(dir, 'jump-'))
    const jump = await startSshd(own, {
      AuthorizedKeysFile: `${join(own, 'client.pub')} ${join(dir, 'client.pub')}`,
    })
    const by = { jump: { host: '127.0.0.1', port: jump.port, user: 'root', hostKey: jump.hostKey } }
    const { bulk, notes, close } = await opened(by)
    expect(await run(bulk, 'cat\n', [], 'through\n')).toMatchObject({ stdout: 'through\n', exit: 0 })
    expect([logins(jump), notes]).toEqual([2, []])
    await close()
    await jump.close()
  })
})

describe('a connection that is lost', () => {
  test('is a fault that names the machine', async () => {
    const { bulk, close } = await opened()
    const running = await start(bulk, 'echo $PPID; sleep 20\n', [], () => Readable.from([]))
    running.stderr.resume()
    let said = ''
    for await (const chunk of outputOf(running)) {
      said += chunk
      const [, pid] = /^(\d+)$/m.exec(said) ?? []
      if (pid) process.kill(Number(pid), 'SIGKILL') // sshd's process of this connection
    }
    await expect(running.exit).rejects.toThrow(/127\.0\.0\.1:\d+: ssh connection lost/)
    await close()
  })

  test('by us ends what runs at once', async () => {
    const { bulk, close } = await opened()
    const running = await start(bulk, 'echo; sleep 20\n', [], () => Readable.from([]))
    outputOf(running).resume()
    running.stderr.resume()
    const from = Date.now()
    await close()
    await expect(running.exit).rejects.toThrow(/connection lost/)
    expect(Date.now() - from).toBeLessThan(5000)
  })
})

test('what is small comes over the connection that is there', async () => {
  const { bulk, notes, close } = await opened()
  const before = logins()
  const running = await start(
    bulk,
    'cat; echo end >&2\n',
    [],
    () => Readable.from([Buffer.from('few')]),
    1000,
  )
  const said = await Promise.all([text(outputOf(running)), text(running.stderr), running.exit])
  expect([...said, running.mark]).toEqual(['few', 'end\n', 0, undefined])
  expect([logins() - before, notes]).toEqual([0, []])
  await close()
})

describe('ssh2 carries it where OpenSSH', () => {
  test('has no client that could be started', async () => {
    const folder = join(import.meta.dirname, '../../services/remote')
    const code = `
      import { text } from 'node:stream/consumers'
      import { createReadStream } from 'node:fs'
      import { Readable } from 'node:stream'
      import { connectSsh } from '${folder}/ssh.ts'
      import { openBulk } from '${folder}/openssh.ts'
      const target = JSON.parse(process.env.TARGET)
      const ssh = await connectSsh(target)
      const notes = []
      const bulk = openBulk(ssh, target, (note) => notes.push(note))
      const input = () => Readable.from(['all the same'])
      const { pipe, handOver, stderr, exit } = await bulk.run({ script: 'cat\\n', lines: [], input, bytes: ${LARGE} })
      stderr.resume()
      const said = await text(createReadStream(pipe).once('open', handOver))
      console.log(JSON.stringify({ said, exit: await exit, notes }))
      await bulk.close()
      ssh.close()`
    const argv = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code]
    const hidden = 'mount --bind /dev/null /usr/bin/ssh && exec "$@"'
    const { stdout } = await promisify(execFile)(
      'unshare',
      ['-m', 'sh', '-ec', hidden, 'sh', process.execPath, ...argv],
      { env: { ...process.env, TARGET: JSON.stringify(target()) } },
    )
    expect(JSON.parse(stdout)).toEqual({
      said: 'all the same',
      exit: 0,
      notes: ['the archive comes by ssh2, which is slower: spawn ssh EACCES'],
    })
  })

  test('does not get through: once, and then no more', async () => {
    const { bulk, notes, close } = await opened()
    await refuseLogins()
    const before = logins()
    for (let i = 0; i < 2; i++)
      expect(await run(bulk, 'cat\n', [], 'still\n')).toMatchObject({ stdout: 'still\n', exit: 0 })
    expect(logins() - before).toBe(0)
    expect(notes).toEqual([expect.stringMatching(/comes by ssh2, which is slower: .*Permission denied/)])
    await close()
    allowLogins()
  })
  const allowed = () => join(dir, 'client.pub')
  let kept = ''
  async function refuseLogins() {
    kept = readFileSync(allowed(), 'utf8')
    writeFileSync(allowed(), '')
  }
  const allowLogins = () => writeFileSync(allowed(), kept)
})

describe('the agent', () => {
  const kinds: [string, string[]][] = [
    ['ed25519', []],
    ['rsa', ['-b', '3072']],
    ['ecdsa', ['-b', '256']],
    ['ecdsa', ['-b', '384']],
    ['ecdsa', ['-b', '521']],
  ]
  const program = (command: string, args: string[], socket: string) =>
    new Promise<number | null>((resolve) => {
      spawn(command, args, { env: { PATH: '/usr/bin', SSH_AUTH_SOCK: socket }, stdio: 'ignore' }).once(
        'close',
        resolve,
      )
    })

  test.each(kinds)('signs by %s %j as sshd checks it', async (type, bits) => {
    const own = mkdtempSync(join(dir, 'key-'))
    const path = join(own, 'key')
    execFileSync('ssh-keygen', ['-q', '-t', type, ...bits, '-N', '', '-f', path])
    const server = await startSshd(own, { AuthorizedKeysFile: `${path}.pub` })
    const { bulk, notes, close } = await opened({ ...server, privateKey: readFileSync(path, 'utf8') })
    expect(await run(bulk, 'echo in\n')).toMatchObject({ stdout: 'in\n', exit: 0 })
    expect([logins(server), notes]).toEqual([2, []])
    await close()
    await server.close()
  })

  test('signs with its one key, and does no more than that', async () => {
    const own = mkdtempSync(join(dir, 'agent-'))
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(own, 'other')])
    const socket = join(own, 'socket')
    const agent = await startAgent(socket, sshd.privateKey)
    // -T lets the agent sign something and verifies it; -D would remove all keys, -L lists them.
    expect(await program('ssh-add', ['-T', join(dir, 'client.pub')], socket)).toBe(0)
    expect(await program('ssh-add', ['-T', join(own, 'other.pub')], socket)).not.toBe(0)
    expect(await program('ssh-add', ['-D'], socket)).not.toBe(0)
    expect(await program('ssh-add', ['-L'], socket)).toBe(0)
    agent.close()
  })

  test('ends a connection whose messages are too long', async () => {
    const own = mkdtempSync(join(dir, 'agent-'))
    const agent = await startAgent(join(own, 'socket'), sshd.privateKey)
    const client = connect(join(own, 'socket'))
    client.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 11]))
    expect(await buffer(client)).toEqual(Buffer.alloc(0))
    const cut = connect(join(own, 'socket'))
    cut.write(Buffer.from([0, 0, 0, 5, 13, 0, 0, 0, 99])) // asks for a signature, and lacks everything
    expect((await once(cut, 'data'))[0]).toEqual(Buffer.from([0, 0, 0, 1, 5]))
    cut.destroy()
    agent.close()
  })
})

test('what a killed job left is removed by the next one; what runs, or is of somebody else, stays', async () => {
  const { pid } = spawn('true').once('error', () => {})
  await vi.waitFor(() => expect(() => process.kill(pid!, 0)).toThrow())
  const folder = (name: string) => {
    const path = join(tmpdir(), name)
    mkdirSync(path)
    writeFileSync(join(path, 'known_hosts'), '')
    return path
  }
  const dead = folder(`sysclone-ssh-${pid}-left`)
  const others = [folder(`sysclone-ssh-${process.pid}-runs`), folder(`sysclone-ssh-${pid}-strange`)]
  others.push(folder('sysclone-ssh-config'))
  chownSync(others[1]!, 65_534, 65_534)
  const { bulk, close } = await opened()
  await run(bulk, 'true\n')
  await close()
  expect(existsSync(dead)).toBe(false)
  for (const path of others) {
    expect(existsSync(path), path).toBe(true)
    rmSync(path, { recursive: true })
  }
})

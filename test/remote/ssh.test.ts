import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ensureIdentity, readPublicIdentity } from '../../services/remote/identity.ts'
import type { SshTarget } from '../../services/remote/login.ts'
import { probeHostKey } from '../../services/remote/login.ts'
import { connectSsh } from '../../services/remote/ssh.ts'
import { UserError } from '../../src/fault.ts'
import { freePort, startAdminSshd, startSshd } from '../capture/golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-ssh-'))
let sshd: Awaited<ReturnType<typeof startSshd>>
beforeAll(async () => {
  sshd = await startSshd(dir)
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})

const target = (more: Partial<SshTarget> = {}): SshTarget => ({
  host: '127.0.0.1',
  port: sshd.port,
  user: 'root',
  privateKey: sshd.privateKey,
  hostKey: sshd.hostKey,
  timeoutMs: 5000,
  ...more,
})
async function run(script: string, lines: string[] = [], input?: Readable) {
  const ssh = await connectSsh(target())
  const running = await ssh.runScript(script, lines, input)
  const [stdout, stderr] = await Promise.all([text(running.stdout), text(running.stderr)])
  const exit = await running.exit
  ssh.close()
  return { stdout, stderr, exit }
}

describe('a script', () => {
  test('gets its lines, then its input, and says how it ended', async () => {
    const script = 'IFS= read -r a\nIFS= read -r b\nprintf "%s|%s|" "$a" "$b"\ncat\necho bad >&2\nexit 7\n'
    const input = Readable.from([Buffer.from('rest\n')])
    expect(await run(script, ["$(touch x) ' \\n `id`", '-n'], input)).toEqual({
      stdout: "$(touch x) ' \\n `id`|-n|rest\n",
      stderr: 'bad\n',
      exit: 7,
    })
  })

  test('longer than any buffer is read to its last byte and no further', async () => {
    const script = `${'# comment \u00e4 to make it long\n'.repeat(9000)}cat\n`
    expect(await run(script, ['echo not a command'])).toEqual({
      stdout: 'echo not a command\n',
      stderr: '',
      exit: 0,
    })
  })

  test('is not mixed with what the login shell says of its own', async () => {
    // sshd itself runs this before the command, as a .bashrc would be.
    const noisy = mkdtempSync(join(dir, 'noisy-'))
    const server = await startSshd(noisy, {
      ForceCommand: `echo welcome; echo oops >&2; eval "$SSH_ORIGINAL_COMMAND"`,
    })
    const ssh = await connectSsh(
      target({ port: server.port, hostKey: server.hostKey, privateKey: server.privateKey }),
    )
    const running = await ssh.runScript('echo out; echo err >&2\n')
    expect(await Promise.all([text(running.stdout), text(running.stderr), running.exit])).toEqual([
      'out\n',
      'err\n',
      0,
    ])
    ssh.close()
    await server.close()
  })

  test('moves megabytes in both directions', async () => {
    const chunk = Buffer.alloc(1 << 20, 'x')
    const { stdout } = await run(
      'wc -c; head -c 5000000 /dev/zero | tr "\\0" y\n',
      [],
      Readable.from(Array(8).fill(chunk)),
    )
    expect(stdout.length).toBe('8388608\n'.length + 5_000_000)
  })

  test('that ends before its input does is no error of the connection', async () => {
    const endless = Readable.from(
      (function* () {
        for (let i = 0; i < 64; i++) yield Buffer.alloc(1 << 20)
      })(),
    )
    expect(await run('exit 3\n', [], endless)).toMatchObject({ exit: 3 })
  })

  test('cut off by a closed connection fails with that reason', async () => {
    const ssh = await connectSsh(target())
    const running = await ssh.runScript('echo started; sleep 20\n')
    running.stdout.once('data', ssh.close)
    await expect(running.exit).rejects.toThrow(/ssh connection lost/)
    await expect(ssh.runScript('true\n')).rejects.toThrow(UserError)
  })
})

const failures: [string, () => Promise<Partial<SshTarget>> | Partial<SshTarget>, RegExp][] = [
  [
    'unknown host key',
    () => ({ hostKey: undefined }),
    /not known yet.*SHA256:[^ ]+.*--accept-hostkey SHA256:/,
  ],
  ['wrong host key', () => ({ hostKey: 'SHA256:AAAA' }), /presents SHA256:.* known is SHA256:AAAA/],
  ['a user it does not know', () => ({ user: 'nobody-here' }), /login refused.*nobody-here/],
  ['nobody listening', async () => ({ port: await freePort() }), /not reachable by ssh.*ECONNREFUSED/],
]
test.each(failures)('%s: said in one line', async (_, change, message) => {
  const attempt = connectSsh(target(await change()))
  await expect(attempt).rejects.toThrow(UserError)
  await expect(attempt).rejects.toThrow(message)
})

test('a listener that never speaks, or speaks something else, ends in time', async () => {
  for (const greeting of ['', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'SSH-2.0-x\r\n\0\0\0\0\0\0']) {
    const server = createServer((socket) => socket.on('error', () => {}).write(greeting)).listen(
      0,
      '127.0.0.1',
    )
    await new Promise((ready) => server.once('listening', ready))
    const { port } = server.address() as { port: number }
    await expect(connectSsh(target({ port, timeoutMs: 300 }))).rejects.toThrow(UserError)
    expect(await probeHostKey({ host: '127.0.0.1', port, timeoutMs: 300 })).toBeUndefined()
    server.close()
  }
})

describe('probeHostKey', () => {
  test('sees the fingerprint without a login', async () => {
    expect(await probeHostKey({ host: '127.0.0.1', port: sshd.port, timeoutMs: 5000 })).toBe(sshd.hostKey)
    expect(sshd.said()).not.toMatch(/Accepted .* for probe/)
  })
  test('sees nothing where nothing is', async () => {
    expect(await probeHostKey({ host: '127.0.0.1', port: await freePort(), timeoutMs: 2000 })).toBeUndefined()
  })
})

async function startWithAdmin(sudoers: string) {
  const server = await startAdminSshd(mkdtempSync(join(dir, 'admin-')), sudoers)
  const { port, hostKey, privateKey } = server
  return { ...server, target: target({ port, hostKey, privateKey, user: 'admin' }) }
}

describe('a user that is not root', () => {
  const sudoers: [string, string, RegExp | number][] = [
    ['that may do all without a password', 'admin ALL=(root) NOPASSWD: ALL\n', 0],
    ['whom sudo asks for a password', 'admin ALL=(root) ALL\n', /sudo asks for a password.*NOPASSWD/],
    ['whom sudo does not know', '', /sudo is not allowed|sudo asks for a password/],
    [
      'on a machine whose sudo wants a terminal',
      'Defaults requiretty\nadmin ALL=(root) NOPASSWD: ALL\n',
      /sudo wants a terminal/,
    ],
  ]
  test.each(sudoers)('%s', async (_, text_, expected) => {
    const server = await startWithAdmin(text_)
    try {
      const ssh = await connectSsh(server.target)
      const running = await ssh.runScript(
        'IFS= read -r line\nid -u\necho "$line"\ncat\nexit 5\n',
        ['l'],
        Readable.from(['x\n']),
      )
      const out = text(running.stdout)
      if (expected === 0) {
        expect([await out, await running.exit]).toEqual(['0\nl\nx\n', 5])
      } else {
        await out
        await expect(running.exit).rejects.toThrow(expected)
      }
      ssh.close()
    } finally {
      await server.close()
    }
  })

  test('a shell that never comes to the script says what it said instead', async () => {
    const own = mkdtempSync(join(dir, 'nologin-'))
    const server = await startSshd(own, {
      ForceCommand: 'echo This account is currently not available.; exit 1',
    })
    const ssh = await connectSsh(target({ ...server }))
    const running = await ssh.runScript('true\n')
    await expect(running.exit).rejects.toThrow(/no shell.*This account is currently not available/)
    ssh.close()
    await server.close()
  })
})

describe('over a jump host', () => {
  let jump: Awaited<ReturnType<typeof startSshd>>
  // The golden client's sshd lets in who has the jump host's key as well.
  beforeAll(async () => {
    const own = mkdtempSync(join(dir, 'jump-'))
    jump = await startSshd(own, {
      AuthorizedKeysFile: `${join(own, 'client.pub')} ${join(dir, 'client.pub')}`,
    })
  })
  afterAll(() => jump?.close())
  const by = (more: object = {}) => ({
    jump: { host: '127.0.0.1', port: jump.port, user: 'root', hostKey: jump.hostKey, ...more },
  })

  test('scripts run on the golden client, and the jump host only passes bytes on', async () => {
    const ssh = await connectSsh(target(by()))
    const running = await ssh.runScript('cat\n', [], Readable.from([Buffer.alloc(3_000_000, 'z')]))
    const [said, exit] = [await text(running.stdout), await running.exit]
    expect([said.length, exit]).toEqual([3_000_000, 0])
    // Without the jump host's end there is no way.
    const still = await ssh.runScript('sleep 20\n')
    ssh.close()
    await expect(still.exit).rejects.toThrow(/connection lost/)
    expect(jump.said()).toMatch(/Accepted publickey for root/)
  })

  const faults: [string, () => Partial<SshTarget>, RegExp][] = [
    [
      'its unknown key is shown',
      () => by({ hostKey: undefined }),
      /of the jump host is not known yet.*--accept-jump-hostkey SHA256:/,
    ],
    [
      'its wrong key is refused',
      () => by({ hostKey: 'SHA256:AAAA' }),
      /of the jump host is not the known one.*sshjumphostkey=/,
    ],
    [
      "the golden client's key is checked all the same",
      () => ({ ...by(), hostKey: undefined }),
      /ssh host key is not known yet.*then --accept-jump-hostkey SHA256:[^ ]+ --accept-hostkey SHA256:/,
    ],
    [
      'it says that the golden client does not answer',
      () => ({ ...by(), port: 1 }),
      /not reachable from the jump host.*127\.0\.0\.1/,
    ],
    ['it is away', () => by({ port: 1 }), /jump host not reachable.*ECONNREFUSED/],
  ]
  test.each(faults)('%s', async (_, change, message) => {
    await expect(connectSsh(target(change()))).rejects.toThrow(message)
  })
})

test('the public half of our key is what ssh-keygen makes of it', async () => {
  const path = join(dir, 'state/ssh/id')
  await ensureIdentity(path)
  const before = readFileSync(path, 'utf8')
  await ensureIdentity(path)
  expect(readFileSync(path, 'utf8')).toBe(before)
  const { publicKey, fingerprint } = await readPublicIdentity(path)
  const [type, blob] = publicKey.split(' ')
  const there = execFileSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' }).split(' ')
  expect([type, blob]).toEqual([there[0], there[1]!.trim()])
  expect(execFileSync('ssh-keygen', ['-lf', `${path}.pub`], { encoding: 'utf8' })).toContain(fingerprint)
  writeFileSync(join(dir, 'nonsense'), 'x')
  await expect(readPublicIdentity(join(dir, 'nonsense'))).rejects.toThrow(/not a private key/)
})

// A golden client's sshd without a process of its own: ssh2's server, which runs each command by sh.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2, { type ServerChannel } from 'ssh2'

/** On a free port of loopback, with keys made in `dir`; what it gives is as of startSshd in golden.ts. */
export async function startSshServer(dir: string) {
  const key = (name: string) => {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(dir, name)])
    return readFileSync(join(dir, name), 'utf8')
  }
  const hostKeys = [key('host')]
  const privateKey = key('client')
  const allowed = ssh2.utils.parseKey(readFileSync(join(dir, 'client.pub')))
  if (allowed instanceof Error) throw allowed
  const server = new ssh2.Server({ hostKeys }, (client) => {
    client.on('error', () => {}) // a client that goes away
    client.on('authentication', (context) => {
      const isKnown = context.method === 'publickey' && context.key.data.equals(allowed.getPublicSSH())
      if (!isKnown) return context.reject(['publickey'])
      const { signature, blob, hashAlgo } = context
      if (signature && blob && allowed.verify(blob, signature, hashAlgo) !== true) return context.reject()
      context.accept()
    })
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec, _, { command }) => execute(command, acceptExec()))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const hostKey = execFileSync('ssh-keygen', ['-lf', join(dir, 'host.pub')])
    .toString()
    .split(' ')[1]!
  const close = async () => {
    server.close()
  }
  return { port, hostKey, privateKey, said: () => '', close }
}

function execute(command: string, channel: ServerChannel) {
  const child = spawn('sh', ['-c', command], { stdio: 'pipe' })
  channel.pipe(child.stdin).on('error', () => {}) // a script that ends early
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  channel.once('close', () => child.kill())
  child.once('close', (code) => {
    channel.exit(code ?? 128)
    channel.end()
  })
}

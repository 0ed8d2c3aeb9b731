// An agent for OpenSSH's client that has one key: it is lent out for signing, and lies in no file of ours. (ssh2's own
// agent loses its place at the first message that it does not know, and OpenSSH begins with such a one.)
import { createPrivateKey } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import ssh2 from 'ssh2'
import type { AgentKey } from '../../src/ssh-agent.ts'
import { answerAgent, splitMessages } from '../../src/ssh-agent.ts'

/**
 * @param path of a unix socket, in a folder that nobody else may enter
 * @param privateKey as ssh-keygen writes it, without a passphrase
 */
export async function startAgent(path: string, privateKey: string): Promise<{ close(): void }> {
  const key = keyOf(privateKey)
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    const split = splitMessages()
    open.add(socket)
    socket.on('error', () => {}).once('close', () => open.delete(socket))
    socket.on('data', (chunk) => {
      try {
        for (const message of split(chunk)) socket.write(answerAgent(message, key))
      } catch {
        socket.destroy()
      }
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve)
  })
  return {
    close() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}

function keyOf(text: string): AgentKey {
  const key = ssh2.utils.parseKey(text)
  if (key instanceof Error) throw key
  const pem = key.getPrivatePEM()
  return { type: key.type, blob: key.getPublicSSH(), privateKey: createPrivateKey(pem) }
}

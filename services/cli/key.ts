import type { Command } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'

/** `sysclone key`: the line that a golden client's authorized_keys needs. */
export function key(program: Command, { api, print }: Needs) {
  serverCommand(
    program,
    'key',
    "print the server's public ssh key, for authorized_keys of golden clients",
  ).action(async ({ server, json }: Shared) => {
    const identity = await api(server).get('/key')
    if (json) print.json(identity)
    else print.line(identity.publicKey)
  })
}

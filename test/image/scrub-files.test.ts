import { expect, test } from 'vitest'
import { rulesOf } from '../../src/image/scrub.ts'
import { scrubFiles } from '../../src/image/scrub-files.ts'

const keys = [
  'etc/ssh/ssh_host_ed25519_key',
  'root/.ssh/id_ed25519',
  'opt/server.key',
  'etc/keys/named.key',
  'var/lib/mysql/server-key.pem',
]
const scrub = (words: string[]) =>
  scrubFiles({
    files: keys.map((path) => ({ path, type: 'f', size: 100 })),
    inspect: async (_, paths) => new Set(paths), // all of them hold a private key
    rules: rulesOf(words),
  })

test('a private key is counted once, by the row that names its place', async () => {
  const { counts } = await scrub([])
  expect([...counts].map(([name, { names }]) => [name, names]).sort()).toEqual([
    ['databases', ['/var/lib/mysql/server-key.pem']],
    ['disk-keys', ['/etc/keys/named.key']],
    ['other-private-keys', ['/opt/server.key', '/var/lib/mysql/server-key.pem']], // data says nothing of secrets
    ['root-ssh-keys', ['/root/.ssh/id_ed25519']],
    ['ssh-host-keys', ['/etc/ssh/ssh_host_ed25519_key']],
  ])
})

test('the row that names its place says whether it is taken', async () => {
  const { left } = await scrub(['ssh-host-keys:keep', 'root-ssh-keys:keep', 'other-private-keys:drop'])
  expect(keys.map((path) => left(path, 'f'))).toEqual([
    undefined,
    undefined,
    'scrub: other-private-keys:drop',
    'scrub: disk-keys:drop',
    'scrub: other-private-keys:drop',
  ])
})

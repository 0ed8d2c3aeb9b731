// Which files are looked into: by their names and sizes, and within what may be read in all.
import { expect, test } from 'vitest'
import { defaultRules, rulesOf, type ScrubRules } from '../../src/image/scrub.ts'
import { MAX_INSPECTED, type NamedFile, scrubFiles } from '../../src/image/scrub-files.ts'

const MIB = 1 << 20

/** Each file that is looked into has what is looked for in it. */
async function scrubbed(files: NamedFile[], rules: ScrubRules = defaultRules) {
  const asked: string[] = []
  const found = await scrubFiles({
    files,
    rules,
    inspect: async (_, paths) => {
      asked.push(...paths)
      return new Set(paths)
    },
  })
  const counts = Object.fromEntries([...found.counts].map(([name, { count }]) => [name, count]))
  return { ...found, asked, counts }
}
const file = (path: string, size: number): NamedFile => ({ path, type: 'f', size })

test('larger ones too, up to what no bundle of keys has; those that are not are counted and named', async () => {
  const { asked, unread, counts, left } = await scrubbed([
    file('etc/ssl/private/bundle.pem', 5 * MIB),
    file('etc/ssl/private/most.pem', MAX_INSPECTED),
    file('etc/ssl/private/more.pem', MAX_INSPECTED + 1),
    file('srv/disk.key', 2 ** 40),
    file('srv/disk.img', 2 ** 40), // nothing that may be one
  ])
  expect(asked.sort()).toEqual(['etc/ssl/private/bundle.pem', 'etc/ssl/private/most.pem'])
  expect(unread).toEqual({ count: 2, names: ['/etc/ssl/private/more.pem', '/srv/disk.key'] })
  expect(counts).toEqual({ 'tls-private-keys': 2 })
  expect(left('etc/ssl/private/bundle.pem', 'f')).toBe('scrub: tls-private-keys:drop')
  expect(left('etc/ssl/private/more.pem', 'f')).toBeUndefined()
})

test('of many large ones the smallest, half a GiB in all; all small ones', async () => {
  const large = Array.from({ length: 100 }, (_, i) => file(`srv/${i}.env`, (i + 1) * MIB + 1))
  const small = Array.from({ length: 1000 }, (_, i) => file(`srv/small/${i}.env`, MIB))
  const { asked, unread } = await scrubbed([...large, ...small])
  const bytes = [...large, ...small].filter(({ path }) => asked.includes(path) && path.endsWith('.env'))
  const largest = bytes.filter(({ size }) => size! > MIB).reduce((sum, { size }) => sum + size!, 0)
  expect(largest).toBeLessThanOrEqual(512 * MIB)
  expect(largest).toBeGreaterThan(450 * MIB)
  expect(asked.filter((path) => path.startsWith('srv/small/'))).toHaveLength(1000)
  expect(unread.count).toBe(1100 - asked.length)
  expect(unread.names).toHaveLength(50)
  expect(asked).toContain('srv/0.env')
  expect(asked).not.toContain('srv/99.env')
})

test('what its name makes a secret is not looked into; a key among the files of a database is one', async () => {
  const { asked, counts } = await scrubbed([
    file('etc/ssh/ssh_host_rsa_key', 2000),
    file('root/.bash_history', 80 * MIB),
    file('opt/app/.psql_history', 2 * MIB),
    file('var/lib/mysql/server-key.pem', 2000),
  ])
  expect(asked.sort()).toEqual(['opt/app/.psql_history', 'var/lib/mysql/server-key.pem'])
  expect(counts).toEqual({ 'ssh-host-keys': 1, 'shell-history': 1, databases: 1, 'other-private-keys': 2 })
})

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

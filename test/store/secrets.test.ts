// Secrets in the database: what the files hold, and what becomes of them without their key.
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { openSecrets } from '../../services/store/secrets.ts'
import { openStore } from '../../services/store/store.ts'
import type { NodeName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'

const password = 'Tr0ub4dor&3-not-anywhere'
const withPassword = (name: string, text = password): Node => ({
  name: name as NodeName,
  groups: [],
  mac: [],
  bmcpassword: { clear: text },
})

function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'sysclone-secrets-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return { folder, path: join(folder, 'sysclone.db'), keyFile: join(folder, 'secret.key') }
}
/** A database with one secret in it, closed. */
async function newDatabase() {
  const made = newFolder()
  const store = await openStore(made.path)
  await store.nodes.put(withPassword('n1'))
  await store.close()
  return made
}
const caught = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => undefined,
    (error) => error,
  )
  expect(error).toBeInstanceOf(UserError)
  return error as UserError
}
const rowOf = (path: string, name: string): string => {
  const raw = new DatabaseSync(path)
  const found = raw.prepare('select bmcpassword from node where name = ?').get(name)
  raw.close()
  return String(found!.bmcpassword)
}

test('no file holds the password, neither while it is open nor after; the key is whole and its owner’s alone', async () => {
  const { folder, path, keyFile } = newFolder()
  const inFiles = (text: string | Buffer) =>
    readdirSync(folder).filter((name) => readFileSync(join(folder, name)).includes(text))
  const store = await openStore(path)
  await store.nodes.create([withPassword('n1')])
  await store.nodes.putMany([withPassword('n2')])
  await store.nodes.change(['n1' as NodeName], (node) => ({
    ...node,
    usercomment: 'something to be found',
    bmcpassword: { clear: `${password}2` },
  }))
  expect(inFiles('something to be found')).toEqual(['sysclone.db-wal']) // the search itself finds
  expect(inFiles(password)).toEqual([])
  expect(inFiles(Buffer.from(password).toString('base64').slice(0, 20))).toEqual([])
  expect(JSON.stringify(await store.nodes.list())).not.toContain(password)
  const [n1, n2] = await store.nodes.list()
  expect([store.passwordOf(n1!), store.passwordOf(n2!)]).toEqual([`${password}2`, password])
  await store.close()
  expect(inFiles(password)).toEqual([])
  expect(inFiles('something to be found')).toEqual(['sysclone.db'])
  expect(statSync(keyFile)).toMatchObject({ size: 32 })
  expect(statSync(keyFile).mode & 0o777).toBe(0o600)
  expect(readdirSync(folder).sort()).toEqual(['secret.key', 'sysclone.db'])
})

test('the key stays the same over starts, and is closed to others again', async () => {
  const { path, keyFile } = await newDatabase()
  const key = readFileSync(keyFile)
  chmodSync(keyFile, 0o644)
  const store = await openStore(path)
  onTestFinished(() => store.close())
  expect(readFileSync(keyFile).equals(key)).toBe(true)
  expect(statSync(keyFile).mode & 0o777).toBe(0o600)
  expect(store.passwordOf((await store.nodes.get('n1' as NodeName))!)).toBe(password)
})

test('two that make the key at once have the same one', async () => {
  const { keyFile, folder } = newFolder()
  const all = await Promise.all(Array.from({ length: 8 }, () => openSecrets(keyFile, [])))
  const sealed = all[0]!.seal('here', password)
  expect(all.map(({ open }) => open('here', sealed))).toEqual(all.map(() => password))
  expect(readdirSync(folder)).toEqual(['secret.key'])
})

test('a missing key: said by name with what can be done, none is made, and that cure works', async () => {
  const { path, keyFile } = await newDatabase()
  rmSync(keyFile)
  const { fault } = await caught(openStore(path))
  expect(fault).toMatchObject({
    error: 'the key file of the secrets is missing',
    what: '1 secrets of the database are encrypted',
    object: keyFile,
  })
  const cure = /sqlite3 DATABASE '([^']+)'/.exec(fault.allowed!)![1]!
  expect(() => statSync(keyFile)).toThrow(/ENOENT/)
  const raw = new DatabaseSync(path)
  raw.exec(cure)
  raw.close()
  const store = await openStore(path)
  onTestFinished(() => store.close())
  expect(await store.nodes.list()).toEqual([{ name: 'n1', groups: [], mac: [] }])
})

test('another key, and a file that is none: refused by name; the right one put back opens', async () => {
  const { path, keyFile } = await newDatabase()
  copyFileSync(keyFile, `${keyFile}.copy`)
  writeFileSync(keyFile, Buffer.alloc(32, 7))
  expect((await caught(openStore(path))).fault).toMatchObject({
    error: 'not the key that the secrets were encrypted with',
    allowed: expect.stringMatching(/^the file from a copy/),
    object: keyFile,
  })
  writeFileSync(keyFile, 'short')
  expect((await caught(openStore(path))).fault).toMatchObject({ error: 'not a key file', what: '5 bytes' })
  copyFileSync(`${keyFile}.copy`, keyFile)
  await (await openStore(path)).close()
})

test('a secret can not be moved to another node, nor changed', async () => {
  const { path } = await newDatabase()
  const sealed = rowOf(path, 'n1')
  const raw = new DatabaseSync(path)
  raw.prepare("insert into node (name, groups, mac, bmcpassword) values ('n2', '[]', '[]', ?)").run(sealed)
  raw.close()
  const store = await openStore(path)
  onTestFinished(() => store.close())
  const [n1, n2] = await store.nodes.list()
  expect(store.passwordOf(n1!)).toBe(password)
  expect(() => store.passwordOf(n2!)).toThrow(/^the secret can not be decrypted \(node n2 bmcpassword: /)
})

test('law: any text comes back in its place; any other place, version or byte does not open; no two are the same', async () => {
  const { keyFile } = newFolder()
  const { seal, open } = await openSecrets(keyFile, [])
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.nat(), (text, at) => {
      const sealed = seal('a', text)
      expect(open('a', sealed)).toBe(text)
      expect(seal('a', text)).not.toBe(sealed)
      expect(() => open('b', sealed)).toThrow(UserError)
      const bytes = Buffer.from(sealed.slice(3), 'base64')
      bytes[at % bytes.length]! ^= 1
      expect(() => open('a', `v1:${bytes.toString('base64')}`)).toThrow(UserError)
      expect(() => open('a', `v2:${sealed.slice(3)}`)).toThrow(UserError)
      expect(() => open('a', `v1:${bytes.subarray(0, at % bytes.length).toString('base64')}`)).toThrow(
        UserError,
      )
    }),
    { numRuns: 200 },
  )
})

test('only main opens the database, and the key with it', () => {
  const services = join(import.meta.dirname, '../../services')
  const openers = readdirSync(services, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.startsWith('store/'))
    .filter((name) => /\bopen(Store|Secrets)\b/.test(readFileSync(join(services, name), 'utf8')))
  expect(openers).toEqual(['main.ts'])
})

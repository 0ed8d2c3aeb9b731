// What an import finds in files is what grep finds in those of a golden client: both are asked.
import { spawnSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { searchLines } from '../../src/image/line-search.ts'
import { contentOf, scrubNames } from '../../src/image/scrub.ts'

const forms = [...new Set(scrubNames.flatMap((name) => contentOf(name) ?? []))]

function grep(form: string, content: Buffer): boolean {
  const { status } = spawnSync('grep', ['-qsaE', '-e', form], { input: content, env: { LC_ALL: 'C' } })
  expect([0, 1]).toContain(status)
  return status === 0
}

function search(form: string, content: Buffer, step: number): boolean {
  const lines = searchLines(form)
  for (let at = 0; at < content.length; at += step)
    if (lines.push(content.subarray(at, at + step))) return true
  return lines.end()
}

const texts: [what: string, content: string | Buffer, count: number][] = [
  ['nothing', '', 0],
  ['a key', '-----BEGIN PRIVATE KEY-----\n', 1],
  ['a key without an end of its line', 'x\n-----BEGIN EC PRIVATE KEY-----', 1],
  ['a key within a line', 'KEY="-----BEGIN RSA PRIVATE KEY-----\\nMII"\r\n', 1],
  ['a key of PuTTY', 'PuTTY-User-Key-File-3: ssh-ed25519\r\n', 1],
  ['a certificate', '-----BEGIN CERTIFICATE-----\n', 0],
  ['a password', '[wifi-security]\n\tpsk = x\n', 1],
  ['no password', '[wifi-security]\npsk=\nother=1\n', 0],
  ['a word that ends so', 'no-psk=x\n', 0],
  ['two settings', 'HWADDR=00:11:22:33:44:55\nprivatekey = abc\n', 2],
  ['bytes that are no text', Buffer.from([0, 255, 10, 0xa0, 112, 115, 107, 61, 0xa0, 10, 0]), 0],
]
test.each(texts)('%s', (_, content, count) => {
  const bytes = Buffer.from(content)
  for (const step of [1, 7, 65_536]) {
    const found = forms.filter((form) => search(form, bytes, step))
    expect(found).toEqual(forms.filter((form) => grep(form, bytes)))
    expect(found.length).toBe(count)
  }
})

const KEY = '-----BEGIN OPENSSH PRIVATE KEY-----'
const [keys, passwords] = [forms.find((f) => f.includes('BEGIN'))!, forms.find((f) => f.includes('psk'))!]
test('a line of megabytes, as of a file without any: found at its end; what ends it begins no line', () => {
  const long = Buffer.alloc(3 << 20, 'A')
  const withKey = Buffer.concat([long, Buffer.from(KEY)])
  for (const step of [4093, 65_536, 1 << 22]) {
    expect(search(keys, withKey, step)).toBe(true)
    expect(search(keys, long, step)).toBe(false)
    // A password is one at the beginning of a line alone.
    const inside = Buffer.concat([long, Buffer.from('psk=x'), long])
    expect(search(passwords, inside, step)).toBe(false)
    expect(search(passwords, Buffer.concat([long, Buffer.from('\npsk=x')]), step)).toBe(true)
  }
  expect(grep(passwords, Buffer.concat([long, Buffer.from('psk=x')]))).toBe(false)
})

test('law: however it comes in pieces, the answer is that of the whole', () => {
  const piece = fc.constantFrom(KEY.slice(0, 20), KEY.slice(20), 'psk', '=', ' ', '\n', 'x', '\0', 'uuid=')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 1, max: 40 }), (parts, step) => {
      const content = Buffer.from(parts.join(''))
      for (const form of forms)
        expect(search(form, content, step)).toBe(search(form, content, content.length + 1))
    }),
  )
})

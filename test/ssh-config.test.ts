// What OpenSSH's own client makes of the files that it is given: ssh -G says it.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { HOST, renderKnownHosts, renderSshConfig } from '../src/ssh-config.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-ssh config-')) // with a blank
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** As it goes by the wire: the name of the key, and whatever follows. */
const keyOf = (type: string) => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(type.length)
  return Buffer.concat([length, Buffer.from(type), Buffer.from('key')])
}
const at = (name: string) => join(dir, name)
const host = { host: '10.0.0.5', port: 2222, user: 'admin', key: keyOf('ssh-rsa') }
const files = { agent: at('100% agent'), knownHosts: at('known'), timeoutMs: 1500 }

function understood(needs: Parameters<typeof renderSshConfig>[0], name = HOST): Map<string, string> {
  writeFileSync(at('config'), renderSshConfig(needs))
  const said = execFileSync('ssh', ['-G', '-F', at('config'), name], { encoding: 'utf8' })
  return new Map(said.split('\n').map((line) => line.split(/ (.*)/s, 2) as [string, string]))
}

test('who and where, with whose key, and nothing of what this machine has set', () => {
  const said = understood({ host, ...files })
  const wanted = {
    ...{ hostname: '10.0.0.5', port: '2222', user: 'admin', hostkeyalias: HOST, connecttimeout: '2' },
    ...{ stricthostkeychecking: 'true', batchmode: 'yes', identityfile: 'none', forwardagent: 'no' },
    ...{ hostkeyalgorithms: 'rsa-sha2-512,rsa-sha2-256', userknownhostsfile: at('known') },
    globalknownhostsfile: '/dev/null',
  }
  expect(Object.fromEntries(Object.keys(wanted).map((key) => [key, said.get(key)]))).toEqual(wanted)
  expect(said.get('ciphers')).toMatch(/^aes128-gcm@openssh\.com,/)
  expect(said.get('proxyjump')).toBeUndefined()
})

test('over a jump host, whose key is looked for under a name of its own', () => {
  const jump = { host: 'gate.example', port: 22, user: 'hop', key: keyOf('ssh-ed25519') }
  const needs = { host, jump, ...files }
  expect(understood(needs).get('proxyjump')).toBe('jump')
  const said = understood(needs, 'jump')
  expect([said.get('hostname'), said.get('user'), said.get('hostkeyalgorithms')]).toEqual([
    ...['gate.example', 'hop', 'ssh-ed25519'],
  ])
  expect(renderKnownHosts({ host, jump })).toBe(
    `golden ssh-rsa ${host.key.toString('base64')}\njump ssh-ed25519 ${jump.key.toString('base64')}\n`,
  )
})

test('nothing gets into the file that it was not to hold', () => {
  for (const user of ['a"b', 'a\nProxyCommand x', 'a\\b'])
    expect(() => renderSshConfig({ host: { ...host, user }, ...files })).toThrow(/not for an ssh_config/)
  expect(() => renderKnownHosts({ host: { ...host, key: Buffer.from('no key') } })).toThrow(
    /not a public key/,
  )
})

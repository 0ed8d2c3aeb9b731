// The scrub table: which files are which, what is done by default, and what an osimage may say instead.
import { describe, expect, test } from 'vitest'
import { UserError } from '../../src/fault.ts'
import {
  contentOf,
  defaultRules,
  makeClassify,
  parseRules,
  parseScrub,
  renderRules,
  rulesOf,
  scrubFacts,
  scrubNames,
  staysThere,
} from '../../src/image/scrub.ts'

const classify = makeClassify()
const files: [path: string, names: string[], type?: string][] = [
  ['etc/machine-id', ['machine-id']],
  ['var/lib/dbus/machine-id', ['machine-id']],
  ['var/lib/dbus/machine-id', [], 'l'], // to /etc/machine-id
  ['etc/ssh/ssh_host_ed25519_key', ['ssh-host-keys', 'other-private-keys']],
  ['etc/ssh/ssh_host_ed25519_key.pub', ['ssh-host-keys']],
  ['etc/ssh/sshd_config', []],
  ['var/lib/dhcp/dhclient.eth0.leases', ['dhcp-leases']],
  ['var/lib/dhcpcd/duid', ['dhcp-leases', 'dhcp-duid']],
  [
    'etc/NetworkManager/system-connections/lan.nmconnection',
    ['network-connections', 'wifi-passwords', 'wireguard'],
  ],
  ['etc/netplan/50-cloud-init.yaml', ['network-matches']],
  ['etc/udev/rules.d/70-persistent-net.rules', ['persistent-net']],
  ['etc/udev/rules.d/60-mine.rules', []],
  ['etc/lvm/devices/system.devices', ['lvm-devices']],
  ['etc/lvm/lvm.conf', []],
  ['var/lib/cloud', [], 'd'],
  ['var/lib/cloud/instances/i-1', ['cloud-init'], 'd'],
  ['var/lib/cloud/instances/i-1/user-data.txt', ['cloud-init']],
  ['etc/pki/consumer/key.pem', ['subscription', 'other-private-keys']],
  ['root/.ssh/id_rsa', ['root-ssh-keys', 'other-private-keys']],
  ['root/.ssh/authorized_keys', ['root-ssh-keys']], // and its content says that it is none
  ['home/ann/.ssh/work', ['user-ssh-keys']],
  ['home/ann/.bash_history', ['shell-history', 'other-private-keys']], // one or the other: its name is enough,
  ['root/.netrc', ['password-files']],
  ['home/ann/.aws/credentials', ['cloud-credentials']],
  ['etc/ssl/private/deep/x.key', ['tls-private-keys', 'other-private-keys']],
  ['opt/app/conf/server.key', ['other-private-keys']],
  ['opt/server.key', ['other-private-keys']],
  ['opt/app/.env', ['other-private-keys']],
  ['srv/web/.env.production', ['other-private-keys']],
  ['var/lib/app/bundle.crt', ['other-private-keys']],
  ['usr/local/etc/deep/id_ecdsa', ['other-private-keys']],
  ['usr/share/doc/server.key', []],
  ['opt/server.keys', []],
  ['opt/my_id_rsa', []],
  ['root/.psql_history', ['other-private-keys', 'shell-history']],
  ['etc/shadow', ['shadow']],
  ['etc/shadow-', ['shadow-backups']],
  ['var/lib/mysql/ibdata1', ['databases']],
  ['var/log/journal/0123/system.journal', ['journal']],
  ['usr/bin/true', []],
  ['srv/etc/machine-id', []], // only from the root
]
test.each(files)('%s is %j', (path, names, type = 'f') => {
  expect(classify({ path, type }).sort()).toEqual([...names].sort())
})

test('names that are not UTF-8, and newlines in them, are matched byte by byte', () => {
  expect(classify({ path: 'root/.ssh/\xff\xfe\n', type: 'f' })).toEqual(['root-ssh-keys'])
})

test('each row has a default, says what it is, and its content is what grep -E takes', () => {
  for (const name of scrubNames) {
    const { rules, is, kind } = scrubFacts(name)
    expect(rules[0]).toBe(defaultRules[name])
    expect([is.length > 5, kind]).toEqual([true, expect.stringMatching(/^(identity|secret|data)$/)])
    expect(contentOf(name) ?? '').not.toContain('\n')
  }
  expect(defaultRules).toMatchObject({ 'machine-id': 'regenerate', shadow: 'keep', 'root-ssh-keys': 'drop' })
})

describe('what an osimage says', () => {
  test('counts, the later of two words', () => {
    const rules = rulesOf(['machine-id:keep', 'shadow:regenerate', 'machine-id:drop'])
    expect(rules).toEqual({ ...defaultRules, 'machine-id': 'drop', shadow: 'regenerate' })
  })
  test.each([
    ['machine-id', /not a rule of machine-id, which are regenerate \| keep \| drop/],
    ['nonsense:keep', /not a scrub rule.*one of machine-id ssh-host-keys/],
    ['constructor:keep', /not a scrub rule/],
    ['machine-id:maybe', /not a rule of machine-id/],
    ['random-seed:keep', /which are regenerate \| drop/],
    ['machine-id:keep:x', /not a scrub rule/],
  ])('%s is refused', (word, message) => {
    expect(() => parseScrub(word)).toThrow(UserError)
    expect(() => parseScrub(word)).toThrow(message)
  })
  test('rules are written and read again; what another version said and we do not know is left out', () => {
    const rules = rulesOf(['databases:drop', 'munge-key:drop'])
    expect(parseRules(renderRules(rules))).toEqual(rules)
    expect(parseRules('machine-id:burn later:keep shadow:regenerate')).toEqual({
      ...defaultRules,
      shadow: 'regenerate',
    })
    expect(parseRules('')).toEqual(defaultRules)
  })
})

test('what is edited on the clone is taken; all else that is made anew, or dropped, stays', () => {
  expect(staysThere('network-connections', 'regenerate')).toBe(false)
  expect(staysThere('network-connections', 'drop')).toBe(true)
  expect(staysThere('machine-id', 'regenerate')).toBe(true)
  expect(staysThere('machine-id', 'keep')).toBe(false)
})

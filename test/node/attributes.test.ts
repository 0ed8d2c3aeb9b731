import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Ipv4, NodeName } from '../../src/address.ts'
import { printAttributes } from '../../src/attribute.ts'
import { bootNodeOf } from '../../src/boot/snapshot.ts'
import { UserError } from '../../src/fault.ts'
import { changeNode, nodeAttributes } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import type { Node } from '../../src/node/node.ts'
import { parseSelections, selectsAll } from '../../src/selection.ts'

const networks: Network[] = [
  {
    subnet: { base: 0x0a000000, prefix: 24 },
    address: '10.0.0.1' as Ipv4,
    gateway: '10.0.0.254' as Ipv4,
    pool: { from: '10.0.0.100' as Ipv4, to: '10.0.0.199' as Ipv4 },
  },
]
const empty: Node = { name: 'n1' as NodeName, groups: [], mac: [] }
const set = (attrs: Record<string, string>, node = empty) => changeNode(node, { op: 'set', attrs }, networks)

const good: [attr: string, text: string, printed: string][] = [
  ['groups', 'all, compute ,all', 'all,compute'],
  ['mac', '52-54-00-77-00-AA|5254.0077.0011', '52:54:00:77:00:aa,52:54:00:77:00:11'],
  ['ip', '10.0.0.7', '10.0.0.7'],
  ['arch', 'x86_64', 'x86_64'],
  ['netboot', 'grub2', 'grub2'],
  ['osimage', 'img-1.2_x', 'img-1.2_x'],
  ['installdisk', '/dev/sda', '/dev/sda'],
  ['installdisk', '/dev/disk/by-id/nvme-eui.0025385b71b0', '/dev/disk/by-id/nvme-eui.0025385b71b0'],
  ['serialspeed', '115200', '115200'],
  ['serialflow', 'hard', 'hard'],
  [
    'kcmdline',
    'quiet console=tty0  ip=::::n1:eth0:dhcp a=[1,2]',
    'quiet console=tty0  ip=::::n1:eth0:dhcp a=[1,2]',
  ],
  ['addkcmdline', ' nomodeset ', 'nomodeset'],
  ['lock', 'yes', '1'],
  ['lock', '0', '0'],
  ['installretries', '0', '0'],
  ['sshhostkey', `SHA256:${'aB+/'.repeat(10)}abc`, `SHA256:${'aB+/'.repeat(10)}abc`],
  ['sshuser', 'admin', 'admin'],
  ['sshport', '2222', '2222'],
  ['sshjump', 'admin@gate.example.org:2222', 'admin@gate.example.org:2222'],
  ['sshjump', 'gate', 'gate'],
  ['sshjumphostkey', `SHA256:${'aB+/'.repeat(10)}abc`, `SHA256:${'aB+/'.repeat(10)}abc`],
  ['uuid', 'F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6', 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'],
  ['serial', ' VMware-42 1d/7 ', 'VMware-42 1d/7'],
  ['mgt', 'ipmi', 'ipmi'],
  ['bmc', '192.168.7.9', '192.168.7.9'],
  ['bmc', 'n1-bmc.mgmt.example.org', 'n1-bmc.mgmt.example.org'],
  ['bmcusername', 'ADMIN', 'ADMIN'],
  ['bmcpassword', ' a "b\' $c, ü', '********'],
  ['installnic', 'enp3s0f1', 'enp3s0f1'],
  ['installnic', 'mac', 'mac'],
  ['primarynic', '52-54-00-77-00-AA', '52:54:00:77:00:aa'],
  ['os', 'rhels9.4', 'rhels9.4'],
  ['profile', 'compute', 'compute'],
  ['postscripts', 'syslog, setup-1.sh,syslog', 'syslog,setup-1.sh'],
  ['postbootscripts', 'other_pkgs', 'other_pkgs'],
  ['xcatmaster', 'mn', 'mn'],
  ['tftpserver', '10.9.0.1', '10.9.0.1'],
  ['nfsserver', 'nfs1', 'nfs1'],
  ['protect', 'yes', '1'],
  ['exclude', '/scratch/,/var/log/*.gz', '/scratch/,/var/log/*.gz'],
]
describe('what is taken comes back in its one written form, and an empty text takes it away', () => {
  for (const [attr, text, printed] of good)
    test(`${attr}=${text}`, () => {
      const node = set({ [attr]: text })
      expect(printAttributes(nodeAttributes, node, [attr])).toEqual({ [attr]: printed })
      expect(set({ [attr]: printed }, node)).toEqual(node)
      expect(set({ [attr]: '' }, node)).toEqual(empty)
    })
})

test('behind a jump host an address may be in a network that is not ours; in ours it is judged as ever', () => {
  const behind = set({ ip: '10.5.0.20', sshjump: 'gate' })
  expect(behind.ip).toBe('10.5.0.20')
  expect(() => set({ sshjump: '' }, behind)).toThrow(/^n1: ip: in no configured network \(10\.5\.0\.20/)
  expect(() => set({ ip: '10.0.0.1' }, behind)).toThrow(/the server's own address/)
})

const bad: [attr: string, text: string, message: RegExp][] = [
  ['groups', 'a b', /^n1: groups: not a group name/],
  ['groups', '-a', /not a group name/],
  ['groups', '1-3', /not a group name/],
  [
    'mac',
    '52:54:00:77:00',
    /^n1: mac: not a MAC address \(52:54:00:77:00; allowed: MAC addresses \(InfiniBand: port GUIDs\) with commas/,
  ],
  ['ip', '010.0.0.7', /^n1: ip: not an IPv4 address/],
  [
    'ip',
    '10.0.1.7',
    /^n1: ip: in no configured network \(10.0.1.7; allowed: a free address of 10.0.0.0\/24\)/,
  ],
  ['ip', '10.0.0.0', /the address of the subnet itself/],
  ['ip', '10.0.0.255', /the broadcast address/],
  ['ip', '10.0.0.1', /the server's own address/],
  ['ip', '10.0.0.254', /the gateway's address/],
  ['ip', '10.0.0.100', /in the pool 10.0.0.100-10.0.0.199/],
  ['arch', 'arm', /^n1: arch: not a known word \(arm; allowed: x86_64 \| aarch64 \| ppc64le\)/],
  ['netboot', 'toString', /not a known word/],
  ['osimage', '../x', /not an osimage name/],
  ['installdisk', 'sda', /not a path of a disk/],
  ['installdisk', '/dev/../etc/passwd', /not a path of a disk/],
  ['installdisk', '/dev/sda;reboot', /not a path of a disk/],
  ['serialport', '-1', /not a number from 0 to 255/],
  ['serialport', '0', /^n1: serialport needs serialspeed \(serialport=0; allowed: baud/],
  ['serialspeed', '115201', /not a speed/],
  ['kcmdline', 'a\nb', /no loader can say this character \("\\n"/],
  ['kcmdline', 'a="b c"', /no loader can say this character/],
  ['kcmdline', "a='b'", /no loader can say this character/],
  ['kcmdline', 'a=${net0/mac}', /no loader can say this character \("\$"/],
  ['kcmdline', 'a\\b', /no loader can say this character/],
  ['kcmdline', 'ü', /no loader can say this character/],
  ['kcmdline', 'a || reboot', /iPXE ends the command at this word \(\|\|/],
  ['kcmdline', 'a #b', /iPXE ends the command/],
  ['addkcmdline', 'x'.repeat(1001), /too long \(1001 characters/],
  ['lock', 'maybe', /not a switch/],
  ['installretries', '11', /from 0 to 10/],
  ['installretries', '1e1', /from 0 to 10/],
  ['sshhostkey', 'SHA256:abc', /not a fingerprint/],
  ['sshuser', 'root;ls', /not a user name/],
  ['sshport', '0', /from 1 to 65535/],
  ['sshjump', 'a@b@c', /not \[user@\]host/],
  ['sshjump', '-oProxyCommand=id', /not an address or a host name/],
  ['sshjump', 'gate:65536', /not \[user@\]host/],
  ['uuid', 'f81d4fae7dec11d0a76500a0c91e6bf6', /^n1: uuid: not a UUID/],
  ['uuid', 'f81d4fae-7dec-11d0-a765-00a0c91e6bfg', /not a UUID/],
  ['uuid', '00000000-0000-0000-0000-000000000000', /a UUID that many machines have/],
  ['uuid', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF', /a UUID that many machines have/],
  ['serial', 'x'.repeat(65), /not a serial number/],
  ['serial', 'a\tb', /not a serial number/],
  ['mgt', 'hmc', /^n1: mgt: not a known word \(hmc; allowed: ipmi \| redfish \| qemu \| wol/],
  ['bmc', '192.168.7.256', /^n1: bmc: not an address or a host name/],
  ['bmc', '10.0.0', /not an address or a host name/],
  ['bmc', '010.0.0.1', /not an address or a host name/],
  ['bmc', 'a..b', /not an address or a host name/],
  ['bmc', '-H', /not an address or a host name/],
  ['bmc', 'bmc;reboot', /not an address or a host name/],
  ['bmc', 'x'.repeat(64), /not an address or a host name/],
  ['bmcusername', 'a b', /not a user name/],
  ['bmcusername', '-U', /not a user name/],
  ['bmcpassword', 'a\nb', /^n1: bmcpassword: not a secret \(a character that can not be typed/],
  ['bmcpassword', 'x'.repeat(129), /not a secret \(129 characters/],
  ['installnic', 'a-name-of-16-cha', /not a network interface/],
  ['primarynic', 'eth0;id', /not a network interface/],
  ['os', 'debian 12', /not a plain word/],
  ['profile', '../x', /not a plain word/],
  ['postscripts', 'a,../b', /^n1: postscripts: not the name of a script \(\.\.\/b/],
  ['postscripts', '..', /not the name of a script/],
  ['postbootscripts', '-rf', /not the name of a script/],
  ['xcatmaster', '<xcatmaster>', /not an address or a host name/],
  ['tftpserver', '1.2.3.4.5', /not an address or a host name/],
  ['exclude', 'scratch', /not a path from the root/],
  ['exclude', '/a/../etc', /not a path from the root/],
  ['exclude', '/', /not a path from the root/],
  ['protect', '2', /not a switch/],
  ['updatestatus', 'synced', /only the server sets this attribute/],
  ['currstate', 'boot', /only the server sets this attribute/],
  ['provmethod', 'img', /only the server sets this attribute/],
  ['status', 'booted', /only the server sets this attribute/],
  ['cloneHostKeys', 'x', /no such attribute/],
  ['hasOwnProperty', 'x', /no such attribute/],
]
describe('what is refused', () => {
  for (const [attr, text, message] of bad)
    test(`${attr}=${text.slice(0, 40)}`, () => expect(() => set({ [attr]: text })).toThrow(message))
})

test('lists: adding keeps the order and says nothing twice, taking away knows every form of a MAC', () => {
  const add = (node: Node, attrs: Record<string, string>) => changeNode(node, { op: 'add', attrs }, networks)
  const take = (node: Node, attrs: Record<string, string>) =>
    changeNode(node, { op: 'remove', attrs }, networks)
  const node = add(add(empty, { groups: 'b' }), { groups: 'a,b', mac: '525400770001' })
  expect(node).toEqual({ ...empty, groups: ['b', 'a'], mac: ['52:54:00:77:00:01'] })
  expect(take(node, { mac: '52-54-0-77-0-1', groups: 'b,none' })).toEqual({ ...empty, groups: ['a'] })
  expect(() => add(empty, { ip: '10.0.0.7' })).toThrow(
    /not a list \(ip; allowed: groups mac postscripts postbootscripts exclude\)/,
  )
})

test('a secret: never printed, kept by what is printed, compared with nothing, not even in a refusal', () => {
  const node = set({ bmcpassword: 'hunter2' })
  expect(node.bmcpassword).toEqual({ clear: 'hunter2' })
  const sealed: Node = { ...empty, bmcpassword: { sealed: 'v1:x' } }
  expect(set({ bmcpassword: '********', lock: '1' }, sealed)).toEqual({ ...sealed, lock: true })
  expect(set({ bmcpassword: '********' })).toEqual(empty)
  expect(set({ bmcpassword: '' }, sealed)).toEqual(empty)
  expect(() => set({ bmcpassword: 'hunter2\x07' })).toThrow(/^(?!.*hunter2)/)
  for (const op of ['add', 'remove'] as const)
    expect(() => changeNode(sealed, { op, attrs: { bmcpassword: 'hunter2' } }, networks)).toThrow(
      /not a list \(bmcpassword;/,
    )
  for (const where of ['bmcpassword==hunter2', 'bmcpassword=~h', 'bmcpassword!='])
    expect(() => selectsAll(nodeAttributes, parseSelections(where), empty)).toThrow(
      'nothing is selected by this attribute (bmcpassword; allowed: bmcusername)',
    )
  expect(JSON.stringify(bootNodeOf(node))).not.toMatch(/hunter2|bmcpassword/)
})

test('lists that are empty leave nothing behind', () => {
  const node = set({ postscripts: 'a,b', exclude: '/x' })
  const take = { postscripts: 'b,a', exclude: '/x' }
  expect(changeNode(node, { op: 'remove', attrs: take }, networks)).toEqual(empty)
})

test('what nothing uses yet says so', () => {
  for (const name of ['mgt', 'bmc', 'bmcusername', 'bmcpassword'] as const)
    expect(nodeAttributes[name]!.describe).toContain('(kept; used by power control when that comes)')
})

test('provmethod is the osimage; a list without words is not shown', () => {
  expect(printAttributes(nodeAttributes, set({ osimage: 'img' }))).toEqual({
    osimage: 'img',
    provmethod: 'img',
  })
})

test('an address that became wrong by a new configuration does not block other changes', () => {
  const moved = { ...empty, ip: '192.168.0.9' as Ipv4 }
  expect(set({ lock: '1' }, moved)).toEqual({ ...moved, lock: true })
})

test('law: any text for any attribute is taken or refused with UserError, and what is taken prints to itself', () => {
  const names = Object.keys(nodeAttributes)
  fc.assert(
    fc.property(
      fc.constantFrom(...names),
      fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9:./-]{1,20}$/)),
      (name, text) => {
        try {
          const node = set({ [name]: text, serialspeed: '9600' })
          const printed = printAttributes(nodeAttributes, node, [name])
          expect(printAttributes(nodeAttributes, set(printed, node), [name])).toEqual(printed)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
        }
      },
    ),
    { numRuns: 500 },
  )
})

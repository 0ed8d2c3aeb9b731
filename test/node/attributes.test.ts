import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Ipv4, NodeName } from '../../src/address.ts'
import { printAttributes } from '../../src/attribute.ts'
import { UserError } from '../../src/fault.ts'
import { changeNode, nodeAttributes } from '../../src/node/attributes.ts'
import type { Network } from '../../src/node/network.ts'
import type { Node } from '../../src/node/node.ts'

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

const bad: [attr: string, text: string, message: RegExp][] = [
  ['groups', 'a b', /^n1: groups: not a group name/],
  ['groups', '-a', /not a group name/],
  ['groups', '1-3', /not a group name/],
  [
    'mac',
    '52:54:00:77:00',
    /^n1: mac: not a MAC address \(52:54:00:77:00; allowed: MAC addresses with commas/,
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
  expect(() => add(empty, { ip: '10.0.0.7' })).toThrow(/not a list \(ip; allowed: groups mac\)/)
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

// The attributes of a node: xCAT's names, their texts, and the rules that hold between them.
import type { Ipv4, Subnet } from '../address.ts'
import {
  ipv4FromNumber,
  parseCardAddress,
  parseImageName,
  parseIpv4,
  subnetBroadcast,
  subnetContains,
} from '../address.ts'
import type { Attribute, AttributeTable, Change } from '../attribute.ts'
import {
  applyChange,
  field,
  flag,
  kernelArguments,
  later,
  listOf,
  oneOf,
  optionalListOf,
  parsedBy,
  remark,
  shown,
  wholeNumber,
} from '../attribute.ts'
import { UserError } from '../fault.ts'
import { secretField } from '../secret.ts'
import { inRange, type Network } from './network.ts'
import { type Node, netboots } from './node.ts'
import {
  account,
  devicePath,
  fingerprint,
  host,
  jumpHost,
  login,
  management,
  nic,
  parseGroupName,
  parsePathPattern,
  parseScriptName,
  pathPatterns,
  scriptNames,
  serial,
  speed,
  speeds,
  uuid,
  word,
} from './values.ts'

const oneHost = 'an IPv4 address or a host name'

const table = {
  groups: field('groups', listOf(parseGroupName), 'names of groups, with commas between'),
  mac: field(
    'mac',
    listOf(parseCardAddress),
    'MAC addresses (InfiniBand: port GUIDs) with commas between, the install interface first',
  ),
  ip: field('ip', parsedBy(parseIpv4), 'an IPv4 address inside a configured network'),
  arch: field('arch', oneOf('x86_64', 'aarch64', 'ppc64le'), 'x86_64 | aarch64 | ppc64le'),
  netboot: field(
    'netboot',
    oneOf(...netboots),
    'grub2 | grub2-http | grub2-tftp (where it gets kernels) | shim (Secure Boot) | ipxe | xnba (the same) | elilo | pxe | petitboot; empty: iPXE its script, others GRUB',
  ),
  osimage: field('osimage', parsedBy(parseImageName), 'the name of an osimage'),
  installdisk: field('installdisk', devicePath, 'a disk, as /dev/sda or /dev/disk/by-id/...; empty: chosen'),
  serialport: field('serialport', wholeNumber(0, 255), 'the number N of the console ttySN'),
  serialspeed: field('serialspeed', speed, `baud: ${speeds.join(' ')}`),
  serialflow: field('serialflow', oneOf('hard', 'soft', 'none'), 'hard | soft | none'),
  kcmdline: field('kcmdline', kernelArguments, 'kernel arguments: printable ASCII without quotes, \\ ` $'),
  addkcmdline: field('addkcmdline', kernelArguments, 'further kernel arguments, as kcmdline'),
  lock: field('lock', flag, '1: nodeset osimage= is refused; 0'),
  installretries: field('installretries', wholeNumber(0, 10), 'further attempts after the first, 0 to 10'),
  sshhostkey: field('sshhostkey', fingerprint, 'SHA256:... and 43 characters, as ssh-keygen -lf prints it'),
  sshuser: field(
    'sshuser',
    login,
    'the user that captures log in as; empty: root; another one needs sudo without a password',
  ),
  sshport: field('sshport', wholeNumber(1, 65535), 'the port of sshd, 1 to 65535; empty: 22'),
  sshjump: field(
    'sshjump',
    jumpHost,
    'what captures go through: [user@]host[:port]; the user is else sshuser',
  ),
  sshjumphostkey: field('sshjumphostkey', fingerprint, 'as sshhostkey, of the host of sshjump'),
  uuid: field('uuid', uuid, later("the machine's UUID, RFC 9562; no two nodes share one", 'discovery')),
  serial: field('serial', serial, later('its serial number; no two nodes share one', 'discovery')),
  mgt: field('mgt', management, later('ipmi | redfish | qemu | wol', 'power control')),
  bmc: field('bmc', host, later(`the BMC: ${oneHost}`, 'power control')),
  bmcusername: field('bmcusername', account, later('the user to log in to the BMC as', 'power control')),
  bmcpassword: secretField('bmcpassword', later("that user's password", 'power control'), 'bmcusername'),
  installnic: field('installnic', nic, later('an interface, a MAC address or mac', 'network set-up')),
  primarynic: field('primarynic', nic, later('an interface, a MAC address or mac', 'network set-up')),
  os: field('os', word, 'the name of the system, as debian12 (kept for people; an osimage knows its own)'),
  profile: field('profile', word, 'a word, as compute (kept for people; an osimage knows its own)'),
  postscripts: field(
    'postscripts',
    optionalListOf(parseScriptName),
    later(scriptNames, 'post-install scripts'),
  ),
  postbootscripts: field(
    'postbootscripts',
    optionalListOf(parseScriptName),
    later(scriptNames, 'post-install scripts'),
  ),
  xcatmaster: field('xcatmaster', host, later(oneHost, 'service nodes')),
  tftpserver: field('tftpserver', host, later(oneHost, 'service nodes')),
  nfsserver: field('nfsserver', host, later(oneHost, 'service nodes')),
  protect: field('protect', flag, later('1: updates leave this machine alone; 0', 'updates')),
  exclude: field('exclude', optionalListOf(parsePathPattern), later(pathPatterns, 'updates')),
  usercomment: field('usercomment', remark, 'any text of one line'),
  // xCAT stores the osimage's name here; it is the same fact, so it is kept once.
  provmethod: shown((node) => node.osimage, 'the osimage of the node'),
  // Its text comes from the deployment, which the node's record does not hold.
  currstate: { ...shown(() => undefined, 'what the node boots now'), elsewhere: 'status' },
  status: shown((node) => node.status, 'what the node was last seen doing'),
  statustime: shown((node) => node.statustime, 'when that was'),
  updatestatus: shown(() => undefined, 'how its last update went (empty: no updates yet)'),
} satisfies Record<string, Attribute<Node>>
export const nodeAttributes: AttributeTable<Node> = table

/** The node after a change, with the rules between its attributes kept. */
export function changeNode(node: Node, change: Change, networks: readonly Network[]): Node {
  const changed = applyChange(nodeAttributes, node, change, node.name)
  checkSerial(changed)
  const isOther = changed.ip !== node.ip || changed.sshjump !== node.sshjump
  if (changed.ip !== undefined && isOther) checkAddress(changed, changed.ip, networks)
  return changed
}

// xCAT's rule: a console without a speed is a node that can't be installed, so it is said at once.
function checkSerial({ name, serialport, serialspeed }: Node) {
  if (serialport !== undefined && serialspeed === undefined)
    throw new UserError('serialport needs serialspeed', {
      what: `serialport=${serialport}`,
      allowed: table.serialspeed.describe,
      object: name,
    })
}

function checkAddress({ name, sshjump }: Node, ip: Ipv4, networks: readonly Network[]) {
  const network = networks.find(({ subnet }) => subnetContains(subnet, ip))
  // A golden client behind another machine lies in a network of that one; DHCP gives no node an address of another network.
  if (network === undefined && sshjump !== undefined) return
  const why = network ? whyTaken(ip, network) : 'in no configured network'
  if (why === undefined) return
  const allowed = networks.map(({ subnet }) => subnetText(subnet)).join(', ')
  throw new UserError(`ip: ${why}`, { what: ip, allowed: `a free address of ${allowed}`, object: name })
}

function whyTaken(ip: Ipv4, { subnet, address, gateway, pool }: Network): string | undefined {
  if (ip === ipv4FromNumber(subnet.base)) return 'the address of the subnet itself'
  if (ip === subnetBroadcast(subnet)) return 'the broadcast address'
  if (ip === address) return "the server's own address"
  if (ip === gateway) return "the gateway's address"
  // An address of the pool may be leased to a stranger right now.
  if (pool && inRange(pool, ip)) return `in the pool ${pool.from}-${pool.to}`
  return undefined
}

/** `10.0.0.0/24` */
export const subnetText = ({ base, prefix }: Subnet): string => `${ipv4FromNumber(base)}/${prefix}`

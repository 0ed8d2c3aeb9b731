// A node as the image database knows it. Attribute names are xCAT's; their texts are in attributes.ts.
import type { ImageName, Ipv4, Mac, NodeName } from '../address.ts'
import type { Arch } from '../image/version.ts'
import type { Secret } from '../secret.ts'

/** Which loader a node gets; absent: its own script for clients that are iPXE, GRUB for all others. */
export const netboots = [
  'grub2',
  'grub2-http',
  'grub2-tftp',
  'shim', // and the signed GRUB: for Secure Boot
  'ipxe',
  'xnba',
  'elilo',
  'pxe',
  'petitboot',
] as const
export type Netboot = (typeof netboots)[number]

/** How the clone is started from its own disk under UEFI: recorded by the installer, used by GRUB's chainloader. */
export type LocalLoader = { espUuid: string; path: string }

export type Node = {
  name: NodeName
  groups: string[]
  mac: Mac[] // the first one is the install interface
  ip?: Ipv4
  arch?: Arch
  netboot?: Netboot
  osimage?: ImageName
  installdisk?: string // '/dev/sda' | '/dev/disk/by-id/...'; absent: the server chooses
  serialport?: number // ttyS number
  serialspeed?: number // baud
  serialflow?: 'hard' | 'soft' | 'none'
  kcmdline?: string
  addkcmdline?: string
  lock?: boolean // refuses `nodeset osimage=`
  installretries?: number // further attempts after the first; default 2
  sshhostkey?: string // 'SHA256:...' of the golden client
  sshuser?: string
  sshport?: number
  sshjump?: string // '[user@]host[:port]'
  sshjumphostkey?: string // 'SHA256:...' of that host
  uuid?: string // of the machine, lower case
  serial?: string
  mgt?: 'ipmi' | 'redfish' | 'qemu' | 'wol'
  bmc?: string
  bmcusername?: string
  bmcpassword?: Secret
  installnic?: string
  primarynic?: string
  os?: string
  profile?: string
  postscripts?: string[]
  postbootscripts?: string[]
  xcatmaster?: string
  tftpserver?: string
  nfsserver?: string
  protect?: boolean
  exclude?: string[]
  usercomment?: string
  // Kept by the server, shown and never set by hand:
  status?: string // xCAT's status word
  statustime?: string
  offline?: boolean // `nodeset offline`: nothing answers this node
  localLoader?: LocalLoader
  cloneHostKeys?: string[] // 'SHA256:...' of each key that the last clone reported
}

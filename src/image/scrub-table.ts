// What a golden client has that a clone must not, or need not, have: its identity, and secrets. One row each: where it
// lies, what can be done with it, and what is done when nobody says. `keep` takes it into the image; `drop` leaves it on the
// golden client; `regenerate` leaves it there too, or takes it, and the clone makes its own (see phase 60-identity).
// Patterns are of paths from the root: `*` is any run of characters but a slash, `/**` at the end all below a folder, `{a,b}`
// one of these.

export type Rule = 'keep' | 'regenerate' | 'drop'
export type ScrubKind = 'identity' | 'secret' | 'data'
/** One kind of files. */
export type Row = {
  kind: ScrubKind
  rules: [Rule, ...Rule[]] // the first is the default
  is: string // what a person calls it
  paths: string[]
  types?: string // of files, as 'f'; absent: all
  /** Regenerated in place: the file is taken, and the clone edits it. Absent: regenerate leaves it on the golden client. */
  edited?: true
  /** Only files of this content count: an extended regular expression that grep on the golden client looks for. */
  content?: string
}

const privateKey = '-----BEGIN ([A-Z0-9]+ )?PRIVATE KEY-----|PuTTY-User-Key-File'
const homes = ['root', 'home/*']
const inHomes = (...names: string[]) => homes.flatMap((home) => names.map((name) => `${home}/${name}`))

export const scrubTable = {
  // --- identities
  'machine-id': {
    kind: 'identity',
    rules: ['regenerate', 'keep', 'drop'],
    is: 'systemd and D-Bus machine id (drop: the clone makes it at its first boot)',
    paths: ['etc/machine-id', 'var/lib/dbus/machine-id'],
    types: 'f', // dbus has a link to the other one
  },
  'ssh-host-keys': {
    kind: 'identity',
    rules: ['regenerate', 'keep'], // a clone without any would never be seen to come up
    is: 'host keys of sshd',
    paths: ['etc/ssh/ssh_host_*'],
  },
  'random-seed': {
    kind: 'identity',
    rules: ['regenerate', 'drop'],
    is: 'seed of the random numbers: equal on no two machines',
    paths: [
      ...['var/lib/systemd/random-seed', 'var/lib/urandom/random-seed'],
      ...['boot/efi/loader/random-seed', 'boot/loader/random-seed', 'efi/loader/random-seed'],
    ],
  },
  'credential-secret': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "key of systemd's credentials",
    paths: ['var/lib/systemd/credential.secret'],
  },
  'dhcp-leases': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'leases that the golden client got',
    paths: [
      ...[
        'var/lib/dhcp/*.lease*',
        'var/lib/dhclient/*.lease*',
        'var/lib/dhcpcd/**',
        'var/lib/systemd/network/**',
      ],
      ...['var/lib/NetworkManager/*.lease', 'var/lib/NetworkManager/timestamps', 'var/lib/wicked/lease-*'],
    ],
  },
  'dhcp-duid': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'DHCPv6 identifier of the machine; its DHCP client makes a new one',
    paths: [
      ...['etc/dhcpcd.duid', 'etc/dhcp/dhclient6.duid', 'var/lib/wicked/duid.xml', 'var/lib/wicked/iaid.xml'],
      ...['var/lib/dhcpv6/*duid*', 'var/db/dhcpcd/duid', 'var/lib/dhcpcd/duid'],
    ],
  },
  'nm-state': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'key and history of NetworkManager',
    paths: ['var/lib/NetworkManager/secret_key', 'var/lib/NetworkManager/seen-bssids'],
  },
  'network-connections': {
    kind: 'identity',
    rules: ['regenerate', 'keep', 'drop'],
    is: 'network configuration that names a MAC address or a UUID of its own (regenerate: a new UUID, no MAC address)',
    paths: [
      ...['etc/NetworkManager/system-connections/*', 'etc/sysconfig/network-scripts/ifcfg-*'],
      ...['etc/sysconfig/network/ifcfg-*', 'etc/network/interfaces', 'etc/network/interfaces.d/*'],
    ],
    types: 'f',
    edited: true,
    content:
      '^[[:space:]]*(HWADDR|MACADDR|LLADDR|UUID)[[:space:]]*=|^(uuid|mac-address|cloned-mac-address)=|^[[:space:]]*hwaddress[[:space:]]',
  },
  'network-matches': {
    kind: 'identity',
    rules: ['keep', 'drop'],
    is: 'network configuration that finds its interface by MAC address: on a clone it finds none',
    paths: ['etc/netplan/*', 'etc/systemd/network/*'],
    types: 'f',
    content: '^[[:space:]]*(macaddress:|MACAddress[[:space:]]*=|PermanentMACAddress[[:space:]]*=)',
  },
  'persistent-net': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'udev rules that name interfaces and drives of the golden client',
    paths: [
      ...[
        ...['70-persistent-net', '75-persistent-net-generator', '70-persistent-cd', '70-persistent-ipoib'],
        ...['z25_persistent-net', 'z25_persistent-cd'], // of Debian 4
        '30-net_persistent_names', // of SUSE 10
      ].map((name) => `etc/udev/rules.d/${name}.rules`),
      'etc/iftab', // of Ubuntu 6
    ],
  },
  'lvm-devices': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "LVM's list of this machine's disks, backups and caches of its groups",
    paths: [
      ...['etc/lvm/devices/**', 'etc/lvm/cache/**', 'etc/lvm/.cache', 'etc/lvm/backup/**'],
      'etc/lvm/archive/**',
    ],
  },
  'disk-caches': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'what tools remember of the disks',
    paths: [
      ...['etc/blkid.tab', 'etc/blkid.tab.old', 'etc/blkid/blkid.tab', 'etc/blkid/blkid.tab.old'],
      ...['etc/multipath/bindings', 'etc/multipath/wwids', 'etc/multipath/prkeys'],
    ],
  },
  'iscsi-initiator': {
    kind: 'identity',
    rules: ['regenerate', 'keep', 'drop'],
    is: 'name of the iSCSI initiator',
    paths: ['etc/iscsi/initiatorname.iscsi'],
  },
  'nvme-host': {
    kind: 'identity',
    rules: ['regenerate', 'keep', 'drop'],
    is: 'NQN and id of the NVMe host',
    paths: ['etc/nvme/hostnqn', 'etc/nvme/hostid'],
  },
  'cloud-init': {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'what cloud-init knows of this instance (without it, it takes the clone for a new one)',
    paths: ['var/lib/cloud/**'],
  },
  puppet: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "keys of puppet's agent",
    paths: ['var/lib/puppet/ssl/**', 'etc/puppet/ssl/**', 'etc/puppetlabs/puppet/ssl/**'],
  },
  salt: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "id and keys of salt's minion",
    paths: ['etc/salt/minion_id', 'etc/salt/pki/minion/minion.p*'],
  },
  chef: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'keys of chef and cfengine',
    paths: ['etc/chef/client.pem', 'var/lib/cfengine*/ppkeys/**', 'var/cfengine/ppkeys/**'],
  },
  subscription: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "registration with the distribution's maker",
    paths: [
      ...['etc/pki/consumer/**', 'etc/pki/entitlement/**', 'var/lib/rhsm/**', 'etc/sysconfig/rhn/systemid'],
      ...[
        'etc/zypp/credentials.d/**',
        'var/lib/ubuntu-advantage/private/**',
        'etc/insights-client/machine-id',
      ],
    ],
  },
  domain: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'membership in a domain: Kerberos keys, secrets of Samba, caches of sssd',
    paths: [
      'etc/krb5.keytab',
      'var/lib/samba/private/secrets.tdb',
      'var/lib/sss/db/**',
      'var/lib/sss/secrets/**',
    ],
  },
  containers: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: 'identity as a node of Kubernetes, a docker engine or an overlay network',
    paths: [
      ...['etc/kubernetes/pki/**', 'etc/kubernetes/*.conf', 'var/lib/kubelet/pki/**', 'etc/docker/key.json'],
      ...['var/lib/docker/engine-id', 'var/lib/tailscale/**', 'var/lib/zerotier-one/identity.*'],
    ],
  },
  journal: {
    kind: 'identity',
    rules: ['drop', 'keep'],
    is: "the golden client's journal and crash dumps",
    paths: ['var/log/journal/**', 'var/lib/systemd/coredump/**', 'var/crash/**'],
  },
  // --- secrets
  'root-ssh-keys': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'private ssh keys of root',
    paths: ['root/.ssh/*'],
    types: 'f',
    content: privateKey,
  },
  'user-ssh-keys': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'private ssh keys of users',
    paths: ['home/*/.ssh/*'],
    types: 'f',
    content: privateKey,
  },
  'gpg-keys': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'private keys of GnuPG',
    paths: inHomes('.gnupg/private-keys-v1.d/**', '.gnupg/secring.gpg'),
  },
  'tls-private-keys': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'private keys of TLS certificates',
    paths: [
      'etc/pki/tls/private/**',
      'etc/ssl/private/**',
      'etc/letsencrypt/archive/**',
      'etc/letsencrypt/accounts/**',
    ],
    types: 'f',
    content: privateKey,
  },
  'other-private-keys': {
    kind: 'secret',
    rules: ['keep', 'drop'],
    is: 'private keys in other places',
    // Some keep their keys among other things.
    paths: [
      '*.{pem,key,p8,ppk,crt,ovpn,env}',
      '{*_key,id_{rsa,dsa,ecdsa,ed25519},.env,.env.*,.*_history}',
    ].map((name) => `{etc,opt,srv,root,home,usr/local,var/lib}/**/${name}`),
    types: 'f',
    content: privateKey,
  },
  'shell-history': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'what was typed: shells, databases, editors',
    paths: inHomes(
      '.*_history',
      '.lesshst',
      '.viminfo',
      '.histfile',
      '.python_history',
      '.local/share/fish/fish_history',
    ),
    types: 'f',
  },
  'password-files': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'passwords and tokens of programs in home folders',
    paths: inHomes(
      ...[
        '.netrc',
        '.pgpass',
        '.my.cnf',
        '.git-credentials',
        '.docker/config.json',
        '.pypirc',
        '.vault-token',
      ],
      ...['.config/gh/hosts.yml', '.config/rclone/rclone.conf', '.config/containers/auth.json'],
    ),
    types: 'f',
  },
  'cloud-credentials': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'credentials of cloud services',
    paths: inHomes(
      ...['.aws/credentials', '.azure/**', '.config/gcloud/**', '.oci/**', '.kube/config', '.s3cfg', '.boto'],
      ...['.config/openstack/clouds.yaml', '.config/openstack/secure.yaml'],
    ),
    types: 'f',
  },
  'wifi-passwords': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'passwords of wireless networks and VPNs',
    paths: ['etc/NetworkManager/system-connections/*', 'etc/wpa_supplicant/*', 'var/lib/iwd/*'],
    types: 'f',
    content:
      '^[[:space:]]*(psk|password|wep-key[0-9]|leap-password|Passphrase|PreSharedKey)[[:space:]]*=[[:space:]]*[^[:space:]]',
  },
  wireguard: {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'private keys of WireGuard',
    paths: ['etc/wireguard/**', 'etc/systemd/network/*.netdev', 'etc/NetworkManager/system-connections/*'],
    types: 'f',
    content: '^[[:space:]]*([Pp]rivate-?[Kk]ey)[[:space:]]*=[[:space:]]*[^[:space:]]',
  },
  'disk-keys': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'keys of encrypted disks, as crypttab names them',
    paths: ['etc/cryptsetup-keys.d/**', 'etc/luks-keys/**', 'etc/keys/**'],
    types: 'f',
  },
  shadow: {
    kind: 'secret',
    rules: ['keep', 'regenerate'],
    is: 'hashes of passwords (regenerate: the clone has the users, and no password lets in)',
    paths: ['etc/shadow', 'etc/gshadow'],
    types: 'f',
  },
  'shadow-backups': {
    kind: 'secret',
    rules: ['drop', 'keep'],
    is: 'older hashes of passwords',
    paths: ['etc/shadow-', 'etc/gshadow-'],
    types: 'f',
  },
  'munge-key': {
    kind: 'secret',
    rules: ['keep', 'drop'],
    is: 'key of munge: one for the whole cluster',
    paths: ['etc/munge/munge.key'],
  },
  // --- data
  databases: {
    kind: 'data',
    rules: ['keep', 'drop'],
    is: 'files of databases; copied while they run they may not fit together: stop them, or use --freeze or --snapshot',
    paths: [
      ...[
        'var/lib/mysql/**',
        'var/lib/postgresql/**',
        'var/lib/pgsql/**',
        'var/lib/mongodb/**',
        'var/lib/mongo/**',
      ],
      ...[
        'var/lib/redis/**',
        'var/lib/ldap/**',
        'var/lib/etcd/**',
        'var/lib/influxdb/**',
        'var/lib/cassandra/**',
      ],
    ],
  },
} satisfies Record<string, Row>

export type ScrubName = keyof typeof scrubTable

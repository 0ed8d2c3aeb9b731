// What a capture leaves on the golden client: what belongs to a running system, to this one machine, or to nobody.
// Later rows never take back earlier ones. `*` is any run of characters but a slash; a trailing `/**` is everything
// below a directory, which itself is kept.
import type { ListedFile } from './compare-line.ts'

type Row = [pattern: string, why: string, types?: string]

export const defaultExcludes: readonly Row[] = [
  ['proc/**', 'made by the kernel'],
  ['sys/**', 'made by the kernel'],
  ['dev/**', 'made by the kernel and udev'],
  ['run/**', 'lives until the next boot'],
  ['tmp/**', 'temporary'],
  ['var/tmp/**', 'temporary'],
  ['lost+found', 'made by mkfs'],
  ['*/lost+found', 'made by mkfs', 'd'],
  ['swapfile', 'made anew for the size of the clone'],
  ['swap.img', 'made anew for the size of the clone'],
  ['var/cache/apt/archives/*.deb', 'can be fetched again'],
  ['var/cache/apt/archives/partial/**', 'can be fetched again'],
  ['var/cache/apt/*.bin', 'made again by apt'],
  ['var/cache/dnf/**', 'can be fetched again'],
  ['var/cache/yum/**', 'can be fetched again'],
  ['etc/machine-id', 'identity of one machine'],
  ['var/lib/dbus/machine-id', 'identity of one machine', 'f'], // a link to /etc/machine-id stays
  ['etc/ssh/ssh_host_*', 'identity of one machine; private keys never leave it'],
  ['var/lib/systemd/random-seed', 'must never be equal on two machines'],
  ['var/lib/urandom/random-seed', 'must never be equal on two machines'],
  ['boot/efi/loader/random-seed', 'must never be equal on two machines'],
  ['efi/loader/random-seed', 'must never be equal on two machines'],
  ['var/lib/systemd/credential.secret', 'secret of one machine'],
  ['var/lib/systemd/network/**', 'leases of one machine'],
  ['var/lib/dhcp/*.lease*', 'leases of one machine'],
  ['var/lib/dhclient/*.lease*', 'leases of one machine'],
  ['var/lib/dhcpcd/**', 'leases and DUID of one machine'],
  ['var/lib/NetworkManager/*.lease', 'leases of one machine'],
  ['var/lib/NetworkManager/secret_key', 'secret of one machine'],
  ['var/lib/NetworkManager/seen-bssids', 'history of one machine'],
  ['etc/udev/rules.d/70-persistent-net.rules', 'names interfaces by the MAC addresses of one machine'],
  ['etc/udev/rules.d/75-persistent-net-generator.rules', 'names interfaces by MAC address'],
  ['etc/lvm/cache/**', 'disks of one machine'],
  ['etc/lvm/backup/**', 'disks of one machine'],
  ['etc/lvm/archive/**', 'disks of one machine'],
  ['etc/lvm/devices/**', 'disks of one machine'],
  ['etc/blkid.tab', 'disks of one machine'],
  ['etc/salt/minion_id', 'identity of one machine'],
  ['etc/salt/pki/minion/minion.p*', 'identity of one machine'],
  ['etc/pki/consumer/**', 'subscription of one machine'],
]

/** A test for one listed file. `more` are paths known only on the machine, as its active swap files. */
export function makeExclude(
  more: readonly string[] = [],
): (file: Pick<ListedFile, 'path' | 'type'>) => boolean {
  const rows = defaultExcludes.map(([pattern, , types]) => ({ regex: compile(pattern), types }))
  const paths = new Set(more)
  return ({ path, type }) =>
    paths.has(path) || rows.some(({ regex, types }) => (types?.includes(type) ?? true) && regex.test(path))
}

function compile(pattern: string): RegExp {
  const below = pattern.endsWith('/**')
  const text = (below ? pattern.slice(0, -3) : pattern)
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
  return new RegExp(below ? `^${text}/` : `^${text}(/|$)`, 's')
}

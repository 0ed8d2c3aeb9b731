// What a person has who keeps no golden client: a Debian root that mmdebstrap made, with a few files of his own, packed by tar.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, recipeKey } from '../../../services/lab/cache.ts'
import { must } from '../../../services/lab/command.ts'
import { ensureDebianTar } from '../../../services/lab/golden.ts'
import { readTold, type Tree } from '../golden/compare.ts'
import { script } from '../golden/lab.ts'
import { ensureLabKey } from '../golden/machines.ts'

export type Tarball = {
  file: string
  /** Its files, as they were when they were packed. */
  tree: Tree
  /** Public halves of the host keys in it, each as `TYPE KEY`. */
  hostKeys: string[]
  machineId: string
}
type Say = (line: string) => void

const drivers = ['gpu', 'media', 'staging', 'infiniband', 'net/wireless']
const root = {
  suite: 'bookworm',
  packages: [
    ...['linux-image-amd64', 'systemd-sysv', 'udev', 'openssh-server', 'ifupdown', 'isc-dhcp-client'],
    ...['iproute2', 'grub-pc-bin', 'grub-efi-amd64-bin', 'grub2-common', 'efibootmgr', 'e2fsprogs'],
    ...['dosfstools', 'fdisk', 'zstd', 'kmod', 'initramfs-tools', 'tar'],
    ...['iputils-ping', 'attr', 'acl', 'libcap2-bin'], // capabilities, and what tells of them
  ],
  leftOut: [
    ...['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/lib/modules/*/kernel/sound/*'],
    ...drivers.map((name) => `/lib/modules/*/kernel/drivers/${name}/*`),
  ],
}
const furnish = readFileSync(join(import.meta.dirname, 'furnish.sh'), 'utf8')

/** From the cache, else built: minutes. */
export async function ensureTarball(cache: string, say: Say): Promise<Tarball> {
  const key = readFileSync(`${await ensureLabKey(cache)}.pub`, 'utf8').trim()
  const recipe = { root, key, scripts: [furnish, script('tree.sh'), script('told.sh')], version: 2 }
  const folder = await cached(cache, `tarball-${recipeKey(recipe)}`, async (path) => {
    await pack({ folder: path, root: await ensureDebianTar(cache, root, say), key })
  })
  const text = (name: string) => readFileSync(join(folder, name), 'utf8')
  return {
    file: join(folder, 'root.tar.zst'),
    tree: readTold(text('told')),
    hostKeys: text('host-keys').trim().split('\n'),
    machineId: text('machine-id').trim(),
  }
}

async function pack({ folder, root, key }: { folder: string; root: string; key: string }) {
  const tree = join(folder, 'tree')
  const whole = ['--numeric-owner', '--xattrs', '--xattrs-include=*']
  mkdirSync(tree, { recursive: true })
  await must(['tar', '-xpf', root, '-C', tree, ...whole])
  const within = (text: string, ...args: string[]) =>
    must(['chroot', tree, 'sh', '-eu', '-s', '--', ...args], { input: text })
  await within(furnish, key)
  // Not within: it has no /proc, which the mode of a FIFO is set by.
  await must(['sh', '-eu', '-s', '--', join(tree, 'opt')], { input: script('tree.sh') })
  writeFileSync(join(folder, 'host-keys'), await within('cut -d " " -f 1,2 /etc/ssh/ssh_host_*_key.pub'))
  writeFileSync(join(folder, 'machine-id'), await within('cat /etc/machine-id'))
  writeFileSync(join(folder, 'told'), await within(script('told.sh'), '/'))
  await must(['tar', '--zstd', '-cf', join(folder, 'root.tar.zst'), '-C', tree, ...whole, '.'])
  rmSync(tree, { recursive: true })
}

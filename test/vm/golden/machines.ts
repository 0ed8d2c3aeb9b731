// Golden clients of other makes than file systems on partitions, as disks from the cache: a Debian that a machine in QEMU has
// put on md, LVM, btrfs and LUKS, for the kernels of build hosts have none of these. Each boots by BIOS from its own disks.
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, recipeKey } from '../../../services/lab/cache.ts'
import { must } from '../../../services/lab/command.ts'
import { ensureDebianTar, fingerprint } from '../../../services/lab/golden.ts'
import { UserError } from '../../../src/fault.ts'
import { ensureStorageSystem, runStorage } from '../storage/system.ts'

const makes = { lvm: { disks: 2, diskMib: 1900 }, btrfs: { disks: 1, diskMib: 1840 } }
export type Make = keyof typeof makes
export type BuiltMachine = { disks: string[]; hostKey: string }

const drivers = [
  ...['accel', 'gpu', 'media', 'staging', 'infiniband', 'net/wireless', 'net/ethernet', 'iio', 'hwmon'],
  ...['usb', 'mtd', 'isdn', 'input', 'comedi', 'scsi', 'ata', 'bluetooth', 'platform'],
]
/** The Debian of them all. */
const root = {
  suite: 'bookworm',
  packages: [
    ...['linux-image-amd64', 'systemd-sysv', 'udev', 'openssh-server', 'sudo', 'ifupdown', 'isc-dhcp-client'],
    ...['iproute2', 'grub-pc-bin', 'grub2-common', 'e2fsprogs', 'fdisk', 'zstd', 'kmod', 'initramfs-tools'],
    ...['tar', 'lvm2', 'mdadm', 'cryptsetup-bin', 'btrfs-progs', 'xfsprogs', 'attr', 'acl', 'libcap2-bin'],
  ],
  leftOut: [
    ...['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/lib/modules/*/kernel/sound/*'],
    ...drivers.map((name) => `/lib/modules/*/kernel/drivers/${name}/*`),
  ],
}

const text = (path: string) => readFileSync(join(import.meta.dirname, path), 'utf8')
type Say = (line: string) => void

/** The private key that they all let in, and the server uses; its public half beside it. */
export async function ensureLabKey(cache: string): Promise<string> {
  const folder = await cached(cache, 'golden-makes-key', async (path) => {
    await must(['install', '-d', '-m', '700', path])
    await must([
      ...['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'sysclone lab'],
      ...['-f', join(path, 'lab_key')],
    ])
  })
  return join(folder, 'lab_key')
}

/** From the cache, else built: minutes. */
export async function ensureMachine(cache: string, make: Make, say: Say): Promise<BuiltMachine> {
  const labKey = readFileSync(`${await ensureLabKey(cache)}.pub`, 'utf8')
  const files = {
    init: text('../storage/init'),
    'machines.sh': text('../storage/machines.sh'),
    'build.sh': text('build.sh'),
    'main.sh': text(`${make}.sh`),
    'lab_key.pub': labKey,
  }
  const recipe = { make, root, files, ...makes[make] }
  const folder = await cached(cache, `golden-${make}-${recipeKey(recipe)}`, (path) =>
    build({ cache, make, files, folder: path, say }),
  )
  return {
    disks: diskNames(folder).map((name) => join(folder, name)),
    hostKey: fingerprint(readFileSync(join(folder, 'host_key.pub'), 'utf8')),
  }
}

const diskNames = (folder: string) =>
  readdirSync(folder)
    .filter((name) => /^disk\d+\.raw$/.test(name))
    .sort()

type Build = { cache: string; make: Make; files: Record<string, string>; folder: string; say: Say }

async function build({ cache, make, files, folder, say }: Build) {
  const tar = await ensureDebianTar(cache, root, say)
  const system = await ensureStorageSystem(cache, say)
  const from = performance.now()
  await must(['install', '-d', '-m', '700', folder])
  const hostKey = join(folder, 'host_key')
  await must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', `root@golden-${make}`, '-f', hostKey])
  const work = join(folder, 'work')
  const { console } = await runStorage({
    ...{ system, folder: work, ...makes[make], given: { root: tar }, timeoutMs: 1_800_000 },
    files: {
      ...files,
      host_key: readFileSync(hostKey, 'utf8'),
      'host_key.pub': readFileSync(`${hostKey}.pub`, 'utf8'),
    },
  })
  writeFileSync(join(folder, 'console.log'), console)
  if (!console.includes('MARK ended with 0')) {
    const log = join(cache, `golden-${make}-failed.log`)
    copyFileSync(join(folder, 'console.log'), log)
    throw new UserError('the golden client could not be built', { what: `see ${log}`, object: make })
  }
  for (const name of diskNames(work)) renameSync(join(work, name), join(folder, name))
  rmSync(work, { recursive: true })
  say(`golden client on ${make}: ${Math.round((performance.now() - from) / 1000)} s`)
}

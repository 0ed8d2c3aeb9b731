// The golden client of the lab: a small Debian with kernel, sshd and all its GRUBs on one disk that boots by BIOS and by
// UEFI. Made of plain files: no loop device, no mount, and no vfat in the host's kernel.
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { embedBiosCore } from './bios-boot.ts'
import { cached, recipeKey } from './cache.ts'
import { must } from './command.ts'

export type Golden = {
  disk: string // raw, sparse; never written to: machines run on a snapshot of it
  key: string // private key that root of the golden client and of every clone accepts
  hostKey: string // 'SHA256:...' of its only ssh host key
  machineId: string
}
export type Say = (line: string) => void

const packages = [
  'linux-image-amd64',
  'systemd-sysv',
  'udev',
  'openssh-server',
  'ifupdown',
  'isc-dhcp-client',
  'iproute2',
  'grub-pc-bin',
  'grub-efi-amd64-bin',
  'grub-efi-amd64-signed',
  'shim-signed',
  'grub2-common',
  'efibootmgr',
  'e2fsprogs',
  'dosfstools',
  'fdisk',
  'zstd',
  'kmod',
  'initramfs-tools',
  'tar',
]
// Half of a Debian root is kernel modules, most of them for things that no server of the lab has.
const leftOut = [
  '/usr/share/doc/*',
  '/usr/share/man/*',
  '/usr/share/locale/*',
  '/lib/modules/*/kernel/sound/*',
  ...['gpu', 'media', 'staging', 'infiniband', 'net/wireless'].map(
    (d) => `/lib/modules/*/kernel/drivers/${d}/*`,
  ),
]
const root = { suite: 'bookworm', packages, leftOut }
const sector = 512
const mib = 1024 * 1024
const layout = { diskBytes: 3072 * mib, bios: 1 * mib, esp: 2 * mib, espBytes: 64 * mib, root: 66 * mib }
const commandLine =
  'console=tty0 console=ttyS0,115200 net.ifnames=0 no_timer_check tsc=reliable mitigations=off quiet'
/** Raised when what is written below changes the disk: a cached disk of another recipe is not used. */
const diskRecipe = { root, layout, commandLine, version: 1 }

/** The golden client's disk and keys, from the cache or built. */
export async function ensureGolden(cache: string, say: Say): Promise<Golden> {
  const tar = await ensureRootTar(cache, say)
  const folder = await cached(cache, `golden-${recipeKey(diskRecipe)}`, (path) => buildDisk(tar, path, say))
  const hostKey = readFileSync(join(folder, 'ssh_host_ed25519_key.pub'), 'utf8')
  return {
    disk: join(folder, 'disk.raw'),
    key: join(folder, 'lab_key'),
    hostKey: fingerprint(hostKey),
    machineId: readFileSync(join(folder, 'machine-id'), 'utf8').trim(),
  }
}

/** The golden client's root as a tar archive: the dear part (mmdebstrap), shared by everything that needs a real root. */
export const ensureRootTar = (cache: string, say: Say): Promise<string> => ensureDebianTar(cache, root, say)

export type DebianRoot = { suite: string; packages: string[]; leftOut: string[] }

/** A Debian root with these packages and those they depend on, as a tar archive from the cache. */
export function ensureDebianTar(cache: string, wanted: DebianRoot, say: Say): Promise<string> {
  return cached(cache, `root-${recipeKey(wanted)}.tar`, async (path) => {
    const step = timed(say)
    await must([...mmdebstrap(wanted), wanted.suite, path, ...(await mirrors())])
    step(`Debian ${wanted.suite} root by mmdebstrap, ${megabytes(statSync(path).size)}`)
  })
}

function mmdebstrap({ packages, leftOut }: DebianRoot) {
  return [
    'mmdebstrap',
    '--variant=minbase',
    '--format=tar',
    '--aptopt=Apt::Install-Recommends "false"',
    ...leftOut.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--include=${packages.join(',')}`,
  ]
}

/** The mirrors this machine itself uses for the suite; none: mmdebstrap's own default. */
async function mirrors(): Promise<string[]> {
  const targets = await must([
    'apt-get',
    'indextargets',
    '--format',
    'deb $(SITE) $(RELEASE) $(COMPONENT)',
    'Created-By: Packages',
  ])
  const lines = [...new Set(targets.split('\n'))].filter((line) =>
    /^deb \S+\/debian(-security)?\/? bookworm(-updates|-security)? main$/.test(line),
  )
  return lines.some((line) => line.includes(' bookworm main')) ? lines : []
}

async function buildDisk(tar: string, folder: string, say: Say) {
  const tree = join(folder, 'tree')
  const disk = join(folder, 'disk.raw')
  const ids = { root: randomUUID(), esp: randomBytes(4).toString('hex').toUpperCase() }
  mkdirSync(tree, { recursive: true })
  let step = timed(say)
  await must(['tar', '-xpf', tar, '-C', tree, '--numeric-owner', '--xattrs', '--xattrs-include=*'])
  step('golden root unpacked')
  step = timed(say)
  await personalize(tree, folder, ids)
  const cores = await buildGrub(tree, folder, ids.root)
  step('golden root personalized, GRUB for BIOS and UEFI made')
  step = timed(say)
  await partition(disk)
  await makeEsp(disk, ids.esp, cores.uefi)
  embedBiosCore(disk, { at: layout.bios, bytes: layout.esp - layout.bios }, cores)
  await makeRoot(disk, tree, ids.root)
  for (const path of [tree, cores.bootSector, cores.bios, cores.uefi])
    rmSync(path, { recursive: true, force: true })
  step(`golden disk, ${megabytes(statSync(disk).blocks * 512)} of ${megabytes(layout.diskBytes)} used`)
}

type Ids = { root: string; esp: string }

/** What makes it this machine: name, keys, file systems, network. */
async function personalize(tree: string, folder: string, ids: Ids) {
  const write = (path: string, text: string, mode = 0o644) => {
    writeFileSync(join(tree, path), text)
    chmodSync(join(tree, path), mode)
  }
  const machineId = randomBytes(16).toString('hex')
  writeFileSync(join(folder, 'machine-id'), `${machineId}\n`)
  write('etc/machine-id', `${machineId}\n`, 0o444)
  write('etc/hostname', 'golden\n')
  write('etc/hosts', '127.0.0.1 localhost\n127.0.1.1 golden\n')
  write('etc/network/interfaces', 'auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n')
  // Kernel names for NICs, also where net.ifnames=0 was lost on the way.
  symlinkSync('/dev/null', join(tree, 'etc/systemd/network/99-default.link'))
  const espUuid = `${ids.esp.slice(0, 4)}-${ids.esp.slice(4)}`
  mkdirSync(join(tree, 'boot/efi'), { recursive: true, mode: 0o700 })
  write(
    'etc/fstab',
    `UUID=${ids.root} / ext4 errors=remount-ro 0 1\nUUID=${espUuid} /boot/efi vfat umask=0077 0 1\n`,
  )
  await personalizeSsh(tree, folder)
  // Without these a machine that has no way out to the Internet looks for updates right after its boot.
  for (const timer of ['apt-daily.timer', 'apt-daily-upgrade.timer'])
    symlinkSync('/dev/null', join(tree, 'etc/systemd/system', timer))
}

async function personalizeSsh(tree: string, folder: string) {
  for (const type of ['rsa', 'ecdsa', 'ed25519'])
    for (const end of ['', '.pub']) rmSync(join(tree, `etc/ssh/ssh_host_${type}_key${end}`), { force: true })
  const hostKey = join(tree, 'etc/ssh/ssh_host_ed25519_key')
  const labKey = join(folder, 'lab_key')
  // Only ed25519: making an RSA key costs 8 s on an emulated CPU.
  await must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'root@golden', '-f', hostKey])
  await must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'sysclone lab', '-f', labKey])
  cpSync(`${hostKey}.pub`, join(folder, 'ssh_host_ed25519_key.pub'))
  mkdirSync(join(tree, 'root/.ssh'), { recursive: true, mode: 0o700 })
  writeFileSync(join(tree, 'root/.ssh/authorized_keys'), readFileSync(`${labKey}.pub`), { mode: 0o600 })
}

/** GRUB's images made by the golden root's own grub-mkimage, so that core and modules are of one version. */
async function buildGrub(tree: string, folder: string, rootUuid: string) {
  const search = `search.fs_uuid ${rootUuid} root\nset prefix=($root)/boot/grub\n`
  mkdirSync(join(tree, 'boot/grub'), { recursive: true })
  writeFileSync(join(tree, 'boot/grub/early.cfg'), search)
  const common = 'part_gpt ext2 search_fs_uuid normal configfile linux echo serial'.split(' ')
  const image = (format: string, modules: string[]) =>
    must([
      'chroot',
      tree,
      ...['grub-mkimage', '-O', format, '-o', `/boot/grub/core.${format}`, '-p', '/boot/grub'],
      ...['-c', '/boot/grub/early.cfg', ...common, ...modules],
    ])
  await image('i386-pc', ['biosdisk'])
  await image('x86_64-efi', ['fat'])
  for (const platform of ['i386-pc', 'x86_64-efi'])
    cpSync(join(tree, 'usr/lib/grub', platform), join(tree, 'boot/grub', platform), {
      recursive: true,
      filter: (path) => !/\.(img|exec|image|module)$/.test(path),
    })
  writeFileSync(join(tree, 'boot/grub/grub.cfg'), grubConfig(rootUuid))
  mkdirSync(join(tree, 'etc/default'), { recursive: true })
  writeFileSync(
    join(tree, 'etc/default/grub'),
    `GRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\nGRUB_CMDLINE_LINUX="${commandLine}"\nGRUB_TERMINAL=console\n`,
  )
  const out = (name: string, from: string) => {
    cpSync(join(tree, from), join(folder, name))
    return join(folder, name)
  }
  const cores = {
    bootSector: out('boot.img', 'usr/lib/grub/i386-pc/boot.img'),
    bios: out('core.img', 'boot/grub/core.i386-pc'),
    uefi: out('grubx64.efi', 'boot/grub/core.x86_64-efi'),
  }
  for (const name of ['early.cfg', 'core.i386-pc', 'core.x86_64-efi']) rmSync(join(tree, 'boot/grub', name))
  return cores
}

function grubConfig(rootUuid: string) {
  return `# Written when the lab's disk was made; update-grub replaces it.
set timeout=0
search --no-floppy --fs-uuid --set=root ${rootUuid}
menuentry 'Debian GNU/Linux' {
  linux /vmlinuz root=UUID=${rootUuid} ro ${commandLine}
  initrd /initrd.img
}
`
}

async function partition(disk: string) {
  const at = (from: number, bytes: number | undefined, type: string, name: string) =>
    `start=${from / sector}${bytes ? `, size=${bytes / sector}` : ''}, type=${type}, name=${name}\n`
  const table = [
    'label: gpt\n',
    at(layout.bios, layout.esp - layout.bios, '21686148-6449-6E6F-744E-656564454649', 'bios'),
    at(layout.esp, layout.espBytes, 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B', 'esp'),
    at(layout.root, undefined, '4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709', 'root'),
  ]
  await must(['truncate', '-s', String(layout.diskBytes), disk])
  await must(['sfdisk', '--quiet', disk], { input: table.join('') })
}

/** mtools writes into the image at an offset; GRUB lies on the removable-media path and on Debian's own. */
async function makeEsp(disk: string, serial: string, grub: string) {
  const esp = `${disk}@@${layout.esp}`
  const sectors = String(layout.espBytes / sector)
  await must(['mformat', '-i', esp, '-T', sectors, '-h', '64', '-s', '32', '-N', serial, '-v', 'ESP', '::'])
  await must(['mmd', '-i', esp, '::/EFI', '::/EFI/BOOT', '::/EFI/debian'])
  await must(['mcopy', '-i', esp, grub, '::/EFI/BOOT/BOOTX64.EFI'])
  await must(['mcopy', '-i', esp, grub, '::/EFI/debian/grubx64.efi'])
}

/** ext4 filled from the tree by mke2fs itself. GRUB 2.06 cannot read the two features that newer ones switch on. */
async function makeRoot(disk: string, tree: string, uuid: string) {
  const backupTable = mib // the second GPT at the disk's end, rounded up
  const kib = (layout.diskBytes - layout.root - backupTable) / 1024
  await must([
    ...['mkfs.ext4', '-q', '-F', '-U', uuid, '-L', 'root', '-O', '^metadata_csum_seed,^orphan_file'],
    ...['-E', `offset=${layout.root},lazy_itable_init=1,root_owner=0:0`, '-d', tree, disk, `${kib}k`],
  ])
}

/** OpenSSH's name for a public key: 'SHA256:' and the digest of the key itself. */
export function fingerprint(publicKey: string): string {
  const blob = Buffer.from(publicKey.trim().split(/\s+/)[1] ?? '', 'base64')
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

function timed(say: Say) {
  const from = performance.now()
  return (what: string) => say(`${what}: ${((performance.now() - from) / 1000).toFixed(1)} s`)
}
const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`

// A machine in QEMU that builds LVM, md, LUKS, btrfs, xfs and swap on blank disks and runs scripts of ours there: the
// kernels of build hosts have none of these. Its whole system is the ramdisk; what it says comes back on a disk as tar.
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, recipeKey } from '../../../services/lab/cache.ts'
import { must, run } from '../../../services/lab/command.ts'
import { ensureDebianTar } from '../../../services/lab/golden.ts'

const drivers = [
  'accel',
  'gpu',
  'media',
  'staging',
  'infiniband',
  'net',
  'iio',
  'hwmon',
  'usb',
  'mtd',
  'isdn',
]
const root = {
  suite: 'bookworm',
  packages: [
    ...['linux-image-amd64', 'udev', 'kmod', 'util-linux', 'fdisk', 'tar', 'zstd', 'efibootmgr'],
    ...['lvm2', 'thin-provisioning-tools', 'mdadm', 'cryptsetup-bin'],
    ...['e2fsprogs', 'xfsprogs', 'btrfs-progs', 'dosfstools', 'jfsutils'],
  ],
  leftOut: [
    ...['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/lib/modules/*/kernel/sound/*'],
    ...drivers.map((name) => `/lib/modules/*/kernel/drivers/${name}/*`),
  ],
}

export type StorageSystem = { kernel: string; initrd: string }

/** From the cache, else built. */
export async function ensureStorageSystem(
  cache: string,
  say: (line: string) => void,
): Promise<StorageSystem> {
  const tar = await ensureDebianTar(cache, root, say)
  const folder = await cached(cache, `storage-system-${recipeKey({ root, version: 1 })}`, async (path) => {
    const tree = join(path, 'tree')
    mkdirSync(tree, { recursive: true })
    await must(['tar', '-xpf', tar, '-C', tree, '--numeric-owner', '--exclude=./dev/*'])
    const kernel = readdirSync(join(tree, 'boot')).find((name) => name.startsWith('vmlinuz-'))!
    await must(['cp', join(tree, 'boot', kernel), join(path, 'vmlinuz')])
    for (const name of readdirSync(join(tree, 'boot')))
      if (name.startsWith('initrd')) rmSync(join(tree, 'boot', name))
    rmSync(join(tree, 'var/cache'), { recursive: true, force: true })
    rmSync(join(tree, 'var/lib/apt'), { recursive: true, force: true })
    const pack = 'cd "$1" && find . | sort | cpio --quiet -o -H newc -R 0:0 | zstd -q -9 -T0 > "$2"'
    await must(['sh', '-euc', pack, 'sh', tree, join(path, 'initrd.img')])
    rmSync(tree, { recursive: true })
  })
  return { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd.img') }
}

const mib = 1024 * 1024
const answerBytes = 16 * mib

/**
 * Runs `/probes/main.sh` of these files there, with `disks` blank disks, which stay as `folder`/disk0.raw ..., and with
 * `given` files as disks by their serial numbers; what it leaves in /probes/out comes back in `folder`/out.
 */
export async function runStorage({
  system,
  folder,
  files,
  disks,
  diskMib = 1024,
  given = {},
  timeoutMs = 400_000,
}: {
  system: StorageSystem
  folder: string
  files: Record<string, string>
  disks: number
  diskMib?: number
  given?: Record<string, string>
  timeoutMs?: number
}): Promise<{ console: string; code: number }> {
  const extra = join(folder, 'extra')
  mkdirSync(join(extra, 'probes/out'), { recursive: true })
  mkdirSync(join(folder, 'out'), { recursive: true })
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(extra, name === 'init' ? name : `probes/${name}`), text, { mode: 0o755 })
  const initrd = join(folder, 'initrd.img')
  // The kernel unpacks one archive after the other.
  const pack =
    'cat "$2" > "$3"; size=$(stat -c %s "$3"); truncate -s $(((size + 3) / 4 * 4)) "$3"; cd "$1"; find . | cpio --quiet -o -H newc -R 0:0 >> "$3"'
  await must(['sh', '-euc', pack, 'sh', extra, system.initrd, initrd])
  const answer = join(folder, 'answer.raw')
  await must(['truncate', '-s', String(answerBytes), answer])
  const drive = (path: string, id: string, serial: string) => [
    ...['-drive', `file=${path},if=none,id=${id},format=raw,cache=unsafe,discard=unmap`],
    ...['-device', `virtio-blk-pci,drive=${id},serial=${serial}`],
  ]
  const blank: string[] = []
  for (let i = 0; i < disks; i++) {
    const path = join(folder, `disk${i}.raw`)
    rmSync(path, { force: true })
    await must(['truncate', '-s', String(diskMib * mib), path])
    blank.push(...drive(path, `d${i}`, `blank${i}`))
  }
  const said = await run(
    [
      ...['qemu-system-x86_64', '-machine', 'q35', '-cpu', 'max', '-m', '2048', '-smp', '2'],
      ...[
        '-accel',
        'tcg,thread=multi,tb-size=512',
        '-display',
        'none',
        '-monitor',
        'none',
        '-serial',
        'stdio',
      ],
      ...['-nic', 'none', '-no-reboot', '-kernel', system.kernel, '-initrd', initrd],
      ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable rdinit=/init'],
      ...['-object', 'rng-random,id=r0,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=r0'],
      ...blank,
      ...Object.entries(given).flatMap(([serial, path]) => drive(`${path},readonly=on`, serial, serial)),
      ...drive(answer, 'answer', 'answer'),
    ],
    { timeoutMs },
  )
  await run(['tar', '-xf', answer, '-C', join(folder, 'out')])
  rmSync(initrd)
  return { console: said.stdout.slice(-20_000), code: statSync(answer).size > 0 ? said.code : 1 }
}

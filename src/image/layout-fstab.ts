// An fstab for disks that nobody has written one for: by UUID, parents before what is mounted in them.
import type { Disk } from './disk-layout.ts'

/** @param options by mount point; without an entry the usual ones */
export function planFstabOf(disks: readonly Disk[], options: ReadonlyMap<string, string>): string {
  const filesystems = disks.flatMap((disk) => disk.partitions.flatMap(({ filesystem }) => filesystem ?? []))
  const mounted = filesystems
    .flatMap((each) => (each.mountpoint === undefined ? [] : [{ ...each, mountpoint: each.mountpoint }]))
    .sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1))
    .map(({ uuid, type, mountpoint }) => {
      const check = mountpoint === '/' ? 1 : type === 'xfs' || type === 'btrfs' ? 0 : 2
      const usual =
        type === 'vfat'
          ? 'umask=0077'
          : mountpoint === '/' && type === 'ext4'
            ? 'errors=remount-ro'
            : 'defaults'
      return `UUID=${uuid} ${mountpoint} ${type} ${options.get(mountpoint) ?? usual} 0 ${check}`
    })
  const swap = filesystems.flatMap(({ type, uuid }) =>
    type === 'swap' ? [`UUID=${uuid} none swap sw 0 0`] : [],
  )
  return [...mounted, ...swap, ''].join('\n')
}

// Which kernel modules of an image the ramdisk needs: to see disks, file systems and network cards, with everything
// that these depend on.

// Paths below lib/modules/RELEASE/kernel/; a trailing slash takes the whole folder. `updates/` and the like hold what
// was built on the golden client itself, for hardware that needs it: all of it is taken.
const wanted = [
  'drivers/ata/',
  'drivers/block/virtio_blk',
  'drivers/block/xen-blkfront',
  'drivers/block/loop',
  'drivers/char/hw_random/virtio-rng',
  'drivers/firmware/efi/',
  'drivers/firmware/qemu_fw_cfg',
  'drivers/hid/hid',
  'drivers/hid/hid-generic',
  'drivers/hid/hid-hyperv',
  'drivers/hid/usbhid/',
  'drivers/hv/',
  'drivers/md/dm-mod',
  'drivers/md/dm-mirror',
  'drivers/md/dm-snapshot',
  'drivers/md/dm-thin-pool',
  'drivers/md/dm-crypt',
  'drivers/md/dm-raid',
  'drivers/md/md-mod',
  'drivers/md/raid0',
  'drivers/md/raid1',
  'drivers/md/raid10',
  'drivers/md/raid456',
  'drivers/md/linear',
  'drivers/message/fusion/',
  'drivers/mmc/core/',
  'drivers/mmc/host/sdhci',
  'drivers/mmc/host/sdhci-acpi',
  'drivers/mmc/host/sdhci-pci',
  'drivers/net/ethernet/',
  'drivers/net/fjes/',
  'drivers/net/hyperv/',
  'drivers/net/mdio/',
  'drivers/net/net_failover',
  'drivers/net/phy/',
  'drivers/net/usb/',
  'drivers/net/virtio_net',
  'drivers/net/vmxnet3/',
  'drivers/net/xen-netfront',
  'drivers/nvme/host/',
  'drivers/nvdimm/',
  'drivers/pci/controller/',
  'drivers/scsi/',
  'drivers/usb/common/',
  'drivers/usb/core/',
  'drivers/usb/host/',
  'drivers/usb/storage/',
  'drivers/virtio/',
  'fs/btrfs/',
  'fs/efivarfs/',
  'fs/ext4/',
  'fs/fat/',
  'fs/nls/nls_ascii',
  'fs/nls/nls_cp437',
  'fs/nls/nls_iso8859-1',
  'fs/nls/nls_utf8',
  'fs/xfs/',
  // What file systems and dm-crypt ask the crypto API for by name: no dependency says it.
  'crypto/crc32c_generic',
  'crypto/crc32_generic',
  'crypto/xxhash_generic',
  'crypto/blake2b_generic',
  'crypto/sha256_generic',
  'arch/x86/crypto/crc32c-intel',
  'arch/x86/crypto/crc32-pclmul',
  'arch/arm64/crypto/crc32-ce',
  'arch/powerpc/crypto/crc32c-vpmsum',
]

// Within those folders: what no installation needs and takes room.
const unwanted = [
  'drivers/net/ethernet/qlogic/qed/', // with its storage and RDMA offloads; qede cards boot by their UEFI or option ROM
  'drivers/net/ethernet/mellanox/mlxsw/', // switch chips
  'drivers/net/ethernet/marvell/prestera/', // switch chips
  'drivers/net/ethernet/microchip/sparx5/', // switch chips
  'drivers/net/usb/hso', // modems
  'drivers/scsi/bnx2fc/',
  'drivers/scsi/pcmcia/',
  'drivers/scsi/fcoe/',
  'drivers/scsi/scsi_debug',
  'drivers/usb/host/isp1362-hcd',
]

/** Files beside the modules that depmod reads. */
export const depmodInputs = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'] as const

/** `modules.dep`: `PATH: PATH...` a line. The chosen paths and all they depend on, sorted. */
export function chooseModules(modulesDep: string): string[] {
  const needs = new Map<string, string[]>()
  for (const line of modulesDep.split('\n')) {
    const [module, rest] = line.split(':')
    if (module && rest !== undefined) needs.set(module, rest.split(' ').filter(Boolean))
  }
  const chosen = new Set<string>()
  const open = [...needs.keys()].filter(isWanted)
  for (let module = open.pop(); module !== undefined; module = open.pop()) {
    if (chosen.has(module)) continue
    chosen.add(module)
    open.push(...(needs.get(module) ?? []))
  }
  return [...chosen].sort()
}

/** 'kernel/drivers/net/virtio_net.ko.xz' by the tables above. */
function isWanted(path: string): boolean {
  const name = path.replace(/^kernel\//, '').replace(/\.ko(\.(xz|zst|gz))?$/, '')
  if (!path.startsWith('kernel/')) return true
  return matches(name, wanted) && !matches(name, unwanted)
}

const matches = (name: string, rows: readonly string[]): boolean =>
  rows.some((row) => (row.endsWith('/') ? name.startsWith(row) : name === row))

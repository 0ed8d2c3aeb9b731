// Which kernel modules of an image the ramdisk needs: to see disks, file systems and network cards, with everything
// that these depend on.
import { relativePath } from './compare-line.ts'

// Paths below lib/modules/RELEASE/kernel/; a row ending in `/`, `-` or `_` takes all that begins so. `updates/` and the like hold what
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
  'drivers/md/md-mod',
  'drivers/md/raid0',
  'drivers/md/raid1',
  'drivers/md/raid10',
  'drivers/md/linear',
  'drivers/message/fusion/',
  'drivers/mmc/core/',
  'drivers/mmc/host/sdhci',
  'drivers/mmc/host/sdhci-acpi',
  'drivers/mmc/host/sdhci-pci',
  'drivers/net/ethernet/',
  'drivers/net/hyperv/',
  'drivers/net/mdio/',
  'drivers/net/net_failover',
  'drivers/net/phy/',
  'drivers/net/usb/',
  'drivers/net/virtio_net',
  'drivers/net/vmxnet3/',
  'drivers/net/xen-netfront',
  'drivers/nvme/host/',
  'drivers/pci/controller/',
  'drivers/scsi/',
  'drivers/usb/common/',
  'drivers/usb/core/',
  'drivers/usb/host/',
  'drivers/usb/storage/',
  'drivers/virtio/',
  'fs/efivarfs/',
  'fs/ext4/',
  'fs/fat/',
  'fs/nls/nls_ascii',
  'fs/nls/nls_cp437',
  'fs/nls/nls_iso8859-1',
  'fs/nls/nls_utf8',
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

// Within those folders: what takes much room and few machines install through. A driver that runs on the golden client
// is taken all the same.
const unwanted = [
  // Fibre Channel, iSCSI and RDMA offload adapters
  'drivers/scsi/be2iscsi/',
  'drivers/scsi/bfa/',
  'drivers/scsi/bnx2fc/',
  'drivers/scsi/bnx2i/',
  'drivers/scsi/csiostor/',
  'drivers/scsi/cxgbi/',
  'drivers/scsi/elx/',
  'drivers/scsi/fcoe/',
  'drivers/scsi/fnic/',
  'drivers/scsi/libfc/',
  'drivers/scsi/lpfc/',
  'drivers/scsi/qedf/',
  'drivers/scsi/qedi/',
  'drivers/scsi/qla2xxx/',
  'drivers/scsi/qla4xxx/',
  'drivers/scsi/ibmvscsi_tgt/',
  'drivers/infiniband/',
  'drivers/nvme/host/nvme-fc',
  'drivers/nvme/host/nvme-rdma',
  'drivers/scsi/aic94xx/',
  'drivers/scsi/esas2r/',
  'drivers/scsi/isci/',
  'drivers/scsi/mvsas/',
  'drivers/scsi/pcmcia/',
  'drivers/scsi/pm8001/',
  'drivers/scsi/snic/',
  'drivers/target/',
  'drivers/scsi/scsi_debug',
  // switch chips, accelerators, cards that do nothing without a large firmware file
  'drivers/net/ethernet/brocade/',
  'drivers/net/ethernet/huawei/',
  'drivers/net/ethernet/sfc/',
  'drivers/net/ethernet/cisco/',
  'drivers/net/ethernet/emulex/',
  'drivers/net/ethernet/ti/',
  'drivers/net/ethernet/broadcom/bnx2',
  'drivers/net/ethernet/broadcom/bnx2x/',
  'drivers/net/ethernet/broadcom/cnic',
  'drivers/net/ethernet/cavium/',
  'drivers/net/ethernet/chelsio/',
  'drivers/net/ethernet/marvell/prestera/',
  'drivers/net/ethernet/mellanox/mlxsw/',
  'drivers/net/ethernet/microchip/sparx5/',
  'drivers/net/ethernet/netronome/',
  'drivers/net/ethernet/qlogic/',
  // old buses and modems
  'drivers/net/ethernet/3com/',
  'drivers/net/ethernet/8390/',
  'drivers/net/ethernet/dec/',
  'drivers/net/ethernet/sun/',
  'drivers/net/usb/hso',
  'drivers/scsi/aic7xxx/',
  'drivers/ata/pata_', // but ata_piix and ata_generic stay
  'drivers/usb/host/isp1362-hcd',
  'drivers/usb/storage/ums-',
]

/** Files beside the modules that depmod reads. */
export const depmodInputs = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'] as const

export type Choice = {
  modulesDep: string // modules.dep: a line `PATH: PATH...` each
  loaded: readonly string[] // names out of the golden client's /proc/modules
  filesystems: readonly string[] // of the layout; ext4 and vfat are always there
}

/** The chosen paths and all they depend on, sorted. Throws WireError for a path that leads out of its folder. */
export function chooseModules({ modulesDep, loaded, filesystems }: Choice): string[] {
  const needs = new Map<string, string[]>()
  for (const line of modulesDep.split('\n')) {
    const [module, rest] = line.split(':')
    // Files of these names are written on the server: a golden client must not choose their place with `..`.
    if (module && rest !== undefined)
      needs.set(relativePath(module), rest.split(' ').filter(Boolean).map(relativePath))
  }
  const chosen = new Set<string>()
  const running = new Set(loaded)
  const open = [...needs.keys()].filter(
    (path) => isWanted(path, running) || filesystems.includes(filesystemOf(path)),
  )
  for (let module = open.pop(); module !== undefined; module = open.pop()) {
    if (chosen.has(module)) continue
    chosen.add(module)
    open.push(...(needs.get(module) ?? []))
  }
  return [...chosen].sort()
}

/** 'kernel/drivers/net/virtio_net.ko.xz' by the tables above. */
function isWanted(path: string, running: ReadonlySet<string>): boolean {
  if (!path.startsWith('kernel/')) return true
  const name = path.slice('kernel/'.length).replace(/\.ko(\.(xz|zst|gz))?$/, '')
  const isRunning = running.has(name.slice(name.lastIndexOf('/') + 1).replaceAll('-', '_'))
  return matches(name, wanted) && (isRunning || !matches(name, unwanted))
}

/** 'xfs' of 'kernel/fs/xfs/xfs.ko' */
const filesystemOf = (path: string): string => /^kernel\/fs\/([^/]+)\//.exec(path)?.[1] ?? ''

/** A row ending in `/`, `-` or `_` is a beginning; others are whole names. */
const matches = (name: string, rows: readonly string[]): boolean =>
  rows.some((row) => (/[/_-]$/.test(row) ? name.startsWith(row) : name === row))

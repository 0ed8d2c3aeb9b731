// Every way that a machine can netboot: real firmware in QEMU, the real server, and a small ramdisk that reports its
// command line back by HTTP. After `nodeset boot` the same ways must end at the machine's own disk.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Boot, openWorld, type Row, type World } from './world.ts'

const abort = new AbortController()
let world: World
let failed = false

beforeAll(async () => {
  world = await openWorld(abort.signal)
})
afterAll(async () => {
  abort.abort(new Error('the test run ended'))
  const logs = (await world?.close(failed)) ?? []
  if (logs.length > 0) process.stderr.write(`logs are kept:\n${logs.map((log) => `  ${log}\n`).join('')}`)
})

/** `served`: what the server must have done for the machine, in this order; `never`: what it must not have done. */
type Path = Omit<Row, 'starts'> & { served: RegExp[]; never?: RegExp[]; report?: Partial<Boot['report']> }

const grubConfig = (protocol: string) => new RegExp(`^${protocol} /?boot/grub/grub.cfg-01-52-54-00-77-00-..$`)
const kernelAndRamdisk = (protocol: 'tftp' | 'blob') =>
  protocol === 'blob' ? [/^blob/, /^blob/] : [/^tftp .*blobs\/sha256/, /^tftp .*blobs\/sha256/]

const netboots: Record<string, Path> = {
  'BIOS, iPXE ROM -> GRUB by TFTP': {
    ...{ node: 'bios-grub', firmware: 'bios', attributes: ['netboot=grub2'] },
    served: [
      /^ack boot\/grub\/i386-pc\/core.0$/,
      /^tftp .*core.0$/,
      grubConfig('tftp'),
      ...kernelAndRamdisk('tftp'),
    ],
  },
  'BIOS, iPXE ROM -> iPXE script': {
    ...{ node: 'bios-ipxe', firmware: 'bios' },
    served: [/^ack http:.*\/boot\/ipxe\//, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
    never: [/^tftp/],
  },
  // QEMU has no PXE ROM that is not iPXE, and those get their script at once: this one is told to load it.
  'BIOS, undionly.kpxe over UNDI -> iPXE script': {
    ...{ node: 'bios-undionly', firmware: 'bios' },
    script: 'dhcp && chain tftp://${next-server}/boot/ipxe/undionly.kpxe',
    served: [/^tftp boot\/ipxe\/undionly.kpxe$/, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
  },
  'UEFI PXE -> GRUB': {
    ...{ node: 'uefi-grub', firmware: 'uefi' },
    served: [
      /^ack boot\/grub\/x86_64-efi\/core.efi$/,
      /^tftp .*core.efi$/,
      grubConfig('tftp'),
      ...kernelAndRamdisk('blob'),
    ],
    report: { firmware: 'uefi', secureboot: 'no' },
  },
  'UEFI HTTP boot -> GRUB': {
    ...{ node: 'uefi-http', firmware: 'uefi-http' },
    served: [/^ack http:.*core.efi$/, grubConfig('http'), ...kernelAndRamdisk('blob')],
    never: [/^tftp/],
    report: { firmware: 'uefi' },
  },
  'UEFI HTTP boot -> iPXE -> script by HTTP': {
    ...{ node: 'uefi-http-ipxe', firmware: 'uefi-http', attributes: ['netboot=ipxe'] },
    served: [/^ack http:.*\/snponly.efi$/, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
    never: [/^tftp/],
    report: { firmware: 'uefi' },
  },
  'BIOS, iPXE ROM -> pxelinux': {
    ...{ node: 'bios-pxelinux', firmware: 'bios', attributes: ['netboot=pxe'] },
    served: [
      /^tftp pxelinux.0$/,
      /^tftp ldlinux.c32$/,
      /^tftp pxelinux.cfg\/01-52-54-00-77-00-..$/,
      /^tftp/,
      /^tftp/,
    ],
  },
  'UEFI PXE -> GRUB, all by TFTP': {
    ...{ node: 'uefi-tftp', firmware: 'uefi', attributes: ['netboot=grub2-tftp'] },
    served: [/^tftp .*core.efi$/, grubConfig('tftp'), ...kernelAndRamdisk('tftp')],
    never: [/^blob/, /^http/],
  },
  'UEFI PXE -> iPXE -> script by HTTP': {
    ...{ node: 'uefi-ipxe', firmware: 'uefi', attributes: ['netboot=ipxe'] },
    served: [
      /^tftp boot\/ipxe\/snponly.efi$/,
      /^ack http:.*\/boot\/ipxe\//,
      /^http boot\/ipxe\//,
      ...kernelAndRamdisk('blob'),
    ],
    report: { firmware: 'uefi' },
  },
  'UEFI Secure Boot: shim -> signed GRUB': {
    ...{ node: 'uefi-secure', firmware: 'uefi-secure', attributes: ['netboot=shim'] },
    served: [
      /^ack .*shimx64.efi$/,
      /^tftp .*shimx64.efi$/,
      /^tftp .*grubx64.efi$/,
      /^tftp .*grub\/grub.cfg/,
      ...kernelAndRamdisk('tftp'),
    ],
    report: { firmware: 'uefi', secureboot: 'yes' },
  },
  'proxy mode beside dnsmasq: BIOS, iPXE ROM -> iPXE script': {
    ...{ node: 'proxy-bios', firmware: 'bios', network: 'proxy' },
    served: [/^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
  },
  'proxy mode beside dnsmasq: UEFI PXE -> iPXE -> script by HTTP': {
    ...{ node: 'proxy-uefi', firmware: 'uefi', network: 'proxy' },
    served: [/^tftp boot\/ipxe\/snponly.efi$/, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
    report: { firmware: 'uefi' },
  },
  'through a relay: BIOS, iPXE ROM -> iPXE script': {
    ...{ node: 'relay-bios', firmware: 'bios', network: 'relayed' },
    served: [/^ack http:.*\/boot\/ipxe\//, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
  },
  'through a relay: UEFI PXE -> GRUB': {
    ...{ node: 'relay-uefi', firmware: 'uefi', network: 'relayed' },
    served: [
      /^ack boot\/grub\/x86_64-efi\/core.efi$/,
      /^tftp .*core.efi$/,
      grubConfig('tftp'),
      ...kernelAndRamdisk('blob'),
    ],
    report: { firmware: 'uefi' },
  },
  'arm64, UEFI PXE -> GRUB': {
    ...{ node: 'arm64-pxe', firmware: 'arm64', processor: 'aarch64', attributes: ['arch=aarch64'] },
    served: [
      /^ack .*arm64-efi\/core.efi$/,
      /^tftp .*core.efi$/,
      grubConfig('tftp'),
      ...kernelAndRamdisk('blob'),
    ],
    report: { firmware: 'uefi' },
  },
  'arm64, UEFI HTTP boot -> GRUB': {
    ...{ node: 'arm64-http', firmware: 'arm64-http', processor: 'aarch64', attributes: ['arch=aarch64'] },
    served: [/^ack http:.*arm64-efi\/core.efi$/, grubConfig('http'), ...kernelAndRamdisk('blob')],
    never: [/^tftp/],
    report: { firmware: 'uefi' },
  },
  'arm64, UEFI PXE -> iPXE -> script by HTTP': {
    ...{ node: 'arm64-ipxe', firmware: 'arm64', processor: 'aarch64' },
    attributes: ['arch=aarch64', 'netboot=ipxe'],
    served: [/^tftp boot\/ipxe\/ipxe-arm64.efi$/, /^http boot\/ipxe\//, ...kernelAndRamdisk('blob')],
    report: { firmware: 'uefi' },
  },
  // AAVMF has no keys of Microsoft in it and lets anything start: that these two find each other is what is seen here.
  'arm64, UEFI PXE -> shim -> signed GRUB': {
    ...{ node: 'arm64-shim', firmware: 'arm64', processor: 'aarch64' },
    attributes: ['arch=aarch64', 'netboot=shim'],
    served: [
      /^ack .*shimaa64.efi$/,
      /^tftp .*grubaa64.efi$/,
      /^tftp .*grub\/grub.cfg/,
      ...kernelAndRamdisk('tftp'),
    ],
    report: { firmware: 'uefi' },
  },
  'ppc64le, SLOF -> GRUB': {
    ...{ node: 'ppc64le-slof', firmware: 'ppc64le', processor: 'ppc64le', attributes: ['arch=ppc64le'] },
    served: [/^ack .*core.elf$/, /^tftp .*core.elf$/, grubConfig('tftp'), ...kernelAndRamdisk('blob')],
  },
}

for (const [path, row] of Object.entries(netboots))
  test.concurrent(path, async ({ task }) => {
    const { report, console, node } = await boot(row, 'osimage', task.meta)
    const processor = row.processor ?? 'x86_64'
    expect(report).toMatchObject({
      machine: processor,
      mac: node.mac,
      bootif: node.mac,
      address: node.ip,
      ...row.report,
    })
    expect(report.cmdline).toContain(`sysclone.node=${row.node}`)
    expect(report.cmdline).toContain(`matrix=report-${processor}`)
    expect(console).toContain('MARK userland')
  })

/** `disk`: which of the disk's boot loaders must have started it. */
const localBoots: Record<string, Path & { disk: 'bios' | 'fallback' | 'recorded' | 'prep' }> = {
  'nodeset boot: BIOS, iPXE script -> exit -> disk': {
    ...{ node: 'bios-ipxe-disk', firmware: 'bios', disk: 'bios' },
    served: [/^http boot\/ipxe\//],
  },
  'nodeset boot: BIOS, GRUB -> exit -> disk': {
    ...{ node: 'bios-grub-disk', firmware: 'bios', attributes: ['netboot=grub2'], disk: 'bios' },
    served: [/^tftp .*core.0$/, grubConfig('tftp')],
  },
  'nodeset boot: UEFI, GRUB -> fallback loader of the disk': {
    ...{ node: 'uefi-grub-disk', firmware: 'uefi', disk: 'fallback' },
    served: [/^tftp .*core.efi$/, grubConfig('tftp')],
  },
  'nodeset boot: UEFI, GRUB -> loader that the clone recorded': {
    ...{ node: 'uefi-recorded-disk', firmware: 'uefi', recorded: true, disk: 'recorded' },
    served: [/^tftp .*core.efi$/, grubConfig('tftp')],
  },
  'nodeset boot: BIOS, pxelinux -> disk': {
    ...{ node: 'bios-pxelinux-disk', firmware: 'bios', attributes: ['netboot=pxe'], disk: 'bios' },
    served: [/^tftp pxelinux.0$/, /^tftp pxelinux.cfg/],
  },
  'nodeset boot: UEFI, iPXE -> disk': {
    ...{ node: 'uefi-ipxe-disk', firmware: 'uefi', attributes: ['netboot=ipxe'], disk: 'fallback' },
    served: [/^tftp boot\/ipxe\/snponly.efi$/, /^http boot\/ipxe\//],
  },
  'nodeset boot: UEFI HTTP boot, GRUB -> disk': {
    ...{ node: 'uefi-http-disk', firmware: 'uefi-http', disk: 'fallback' },
    served: [/^ack http:.*core.efi$/, grubConfig('http')],
    never: [/^tftp/],
  },
  'nodeset boot: arm64, UEFI PXE -> GRUB -> disk': {
    ...{ node: 'arm64-disk', firmware: 'arm64', processor: 'aarch64', attributes: ['arch=aarch64'] },
    disk: 'fallback',
    served: [/^tftp .*core.efi$/, grubConfig('tftp')],
  },
  'nodeset boot: arm64, iPXE -> disk': {
    ...{ node: 'arm64-ipxe-disk', firmware: 'arm64', processor: 'aarch64' },
    ...{ attributes: ['arch=aarch64', 'netboot=ipxe'], disk: 'fallback' },
    served: [/^tftp boot\/ipxe\/ipxe-arm64.efi$/, /^http boot\/ipxe\//],
  },
  'nodeset boot: ppc64le, SLOF -> disk': {
    ...{ node: 'ppc64le-disk', firmware: 'ppc64le', processor: 'ppc64le', attributes: ['arch=ppc64le'] },
    disk: 'prep',
    served: [/^dhcp.ignore it boots from its own disk$/], // SLOF gives up after ten requests and goes on
    never: [/^tftp/],
  },
  'nodeset boot: UEFI Secure Boot, signed GRUB -> shim of the disk': {
    ...{ node: 'uefi-secure-disk', firmware: 'uefi-secure', attributes: ['netboot=shim'], disk: 'fallback' },
    served: [/^tftp .*shimx64.efi$/, /^tftp .*grubx64.efi$/],
    report: { secureboot: 'yes' },
  },
}

for (const [path, row] of Object.entries(localBoots))
  test.concurrent(path, async ({ task }) => {
    const { report } = await boot(row, 'disk', task.meta)
    expect(report).toMatchObject(row.report ?? {})
    expect(report.cmdline).toContain(`report.disk=${row.disk}`)
    expect(report.cmdline).not.toContain('sysclone.node=')
  })

/** The boot of one row; what the matrix prints of it is told to the runner whatever the outcome. */
async function boot(path: Path, starts: Row['starts'], meta: { seconds?: number }): Promise<Boot> {
  try {
    const booted = await world.boot({ ...path, starts })
    meta.seconds = booted.seconds
    expect(firstMissing(path.served, booted.served), booted.served.join('\n')).toBeUndefined()
    for (const form of path.never ?? []) expect(booted.served.filter((line) => form.test(line))).toEqual([])
    return booted
  } catch (error) {
    failed = true
    throw error
  }
}

/** The first of the wanted lines that did not come, or not in this order. */
function firstMissing(wanted: RegExp[], lines: string[]): RegExp | undefined {
  let at = 0
  return wanted.find((form) => {
    const found = lines.findIndex((line, index) => index >= at && form.test(line))
    if (found >= 0) at = found + 1
    return found < 0
  })
}

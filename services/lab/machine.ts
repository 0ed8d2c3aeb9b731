// A QEMU machine of the lab, with the settings that were measured to be quick without KVM.
import { randomUUID } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import { must, type Running, start } from './command.ts'
import type { LabNetwork } from './network.ts'

type FirmwareKind = {
  emulator: string
  cpu?: string
  memory: number // MiB
  arguments: string[]
  /** UEFI: its code, and the variables that each machine gets a copy of. */
  flash?: { code: string; vars: string; package: string }
  /** The firmware's own driver and PXE client are used, as real machines have them, and no iPXE in the card's ROM. */
  ownPxe: boolean
}

const pc = { emulator: 'qemu-system-x86_64', cpu: 'qemu64', memory: 1024 }
const ovmf = (code: string, vars: string) => ({
  code: `/usr/share/OVMF/${code}`,
  vars: `/usr/share/OVMF/${vars}`,
  package: 'ovmf',
})
const aavmf = {
  code: '/usr/share/AAVMF/AAVMF_CODE.fd',
  vars: '/usr/share/AAVMF/AAVMF_VARS.fd',
  package: 'qemu-efi-aarch64',
}
// UEFI tries PXE first and comes to HTTP boot after about a minute of it.
const httpOnly = ['IPv4PXESupport', 'IPv6PXESupport', 'IPv6Support'].flatMap((name) => [
  '-fw_cfg',
  `name=opt/org.tianocore/${name},string=n`,
])
const arm = { emulator: 'qemu-system-aarch64', cpu: 'cortex-a57', memory: 1024, flash: aavmf, ownPxe: true }

const firmwares = {
  // graphics=off makes SeaBIOS, iPXE and GRUB talk on the serial port.
  bios: { ...pc, arguments: ['-machine', 'q35,graphics=off'], ownPxe: false },
  uefi: {
    ...pc,
    arguments: ['-machine', 'q35', '-vga', 'none'],
    flash: ovmf('OVMF_CODE_4M.fd', 'OVMF_VARS_4M.fd'),
    ownPxe: true,
  },
  'uefi-http': {
    ...pc,
    arguments: ['-machine', 'q35', '-vga', 'none', ...httpOnly],
    flash: ovmf('OVMF_CODE_4M.fd', 'OVMF_VARS_4M.fd'),
    ownPxe: true,
  },
  // Microsoft's keys are in the variables, as in the machines that are sold.
  'uefi-secure': {
    ...pc,
    arguments: [
      ...['-machine', 'q35,smm=on', '-vga', 'none', '-global', 'ICH9-LPC.disable_s3=1'],
      ...['-global', 'driver=cfi.pflash01,property=secure,value=on'],
    ],
    flash: ovmf('OVMF_CODE_4M.secboot.fd', 'OVMF_VARS_4M.ms.fd'),
    ownPxe: true,
  },
  arm64: { ...arm, arguments: ['-machine', 'virt', '-nodefaults'] },
  'arm64-http': { ...arm, arguments: ['-machine', 'virt', '-nodefaults', ...httpOnly] },
  // Its firmware is SLOF, an Open Firmware.
  ppc64le: {
    emulator: 'qemu-system-ppc64',
    memory: 2048,
    arguments: ['-machine', 'pseries', '-vga', 'none', '-nodefaults'],
    ownPxe: true,
  },
} satisfies Record<string, FirmwareKind>

export type Firmware = keyof typeof firmwares
export type Machine = {
  name: string
  firmware: Firmware
  mac: string
  /** Of a machine that has one. */
  disk: string
  /** What the machine wrote to its serial port since it was made, over all its boots. */
  console: string
  /** Throws when the machine's QEMU has ended by itself. */
  check: () => void
  powerOn: (first: 'network' | 'disk') => Promise<void>
  powerOff: () => Promise<void>
  /** Bytes that the network has brought it so far, over all its boots. */
  received: () => Promise<number>
}
export type WantedMachine = {
  name: string
  firmware: Firmware
  mac: string
  disk?: string
  /** Its other disks; they are treated as the first one is. */
  moreDisks?: string[]
  /** A machine that never netboots has no boot ROM on its NIC: iPXE's takes seconds to let the disk have its turn. */
  boots: 'network' | 'disk'
  /** Its serial number, as SMBIOS says it. */
  serial?: string
  /** QEMU's model of the network card; default virtio-net-pci. */
  card?: string
  /** The bridge that the card is plugged into; default the lab's own. */
  bridge?: string
  /** QEMU starts this itself, as a boot loader would: what else a firmware of another make would have loaded. */
  given?: { kernel: string; initrd: string }
  /** Processors; default 1. Firmware and loaders use one, a capture packs on all. */
  processors?: number
  /** The disk is left as it is; what the machine writes is lost at power off. */
  pristine?: boolean
}

/** Makes a machine in `folder`; it is powered off at first. */
export async function makeMachine(
  wanted: WantedMachine,
  network: LabNetwork,
  folder: string,
): Promise<Machine> {
  const { name } = wanted
  const firmware: FirmwareKind = firmwares[wanted.firmware]
  mkdirSync(folder, { recursive: true })
  const paths = { console: join(folder, `${name}.console.log`), vars: join(folder, `${name}.vars.fd`) }
  const uuid = randomUUID()
  const tap = await network.addTap(wanted.bridge)
  if (firmware.flash) copyVars(firmware.flash, paths.vars)
  let running: Running | undefined

  async function powerOn(first: 'network' | 'disk') {
    if (running && running.ended() === undefined) throw new UserError('machine is on already', { what: name })
    const argv = [
      firmware.emulator,
      ...['-name', name, '-uuid', uuid, '-m', String(firmware.memory)],
      ...(wanted.serial === undefined ? [] : ['-smbios', `type=1,serial=${wanted.serial}`]),
      ...['-smp', String(wanted.processors ?? 1), ...(firmware.cpu ? ['-cpu', firmware.cpu] : [])],
      ...['-accel', 'tcg,thread=multi,tb-size=256'],
      ...['-display', 'none', '-monitor', 'none', '-chardev', `file,id=s0,path=${paths.console},append=on`],
      ...['-serial', 'chardev:s0', '-object', 'rng-random,id=r0,filename=/dev/urandom'],
      ...['-device', 'virtio-rng-pci,rng=r0'],
      ...firmware.arguments,
      ...flashArguments(firmware, paths.vars),
      ...['-netdev', `tap,id=n0,ifname=${tap},script=no,downscript=no`],
      ...['-device', cardArgument(wanted, firmware, first)],
      ...diskArguments(wanted, first),
      ...(wanted.given ? ['-kernel', wanted.given.kernel, '-initrd', wanted.given.initrd] : []),
    ]
    // TMPDIR: where QEMU keeps what a machine with snapshot=on writes.
    running = await start(network.inside(argv), join(folder, `${name}.qemu.log`), { TMPDIR: folder })
  }
  return {
    ...{ name, firmware: wanted.firmware, mac: wanted.mac, disk: wanted.disk ?? '' },
    ...{ console: paths.console, powerOn },
    check: () => {
      const end = running?.ended()
      if (end !== undefined)
        throw new UserError('machine ended by itself', { what: `QEMU: ${end}`, object: name })
    },
    powerOff: async () => {
      const was = running
      running = undefined
      await was?.stop()
    },
    received: () => network.sentTo(tap),
  }
}

/** A blank disk: a sparse file. */
export const makeBlankDisk = (path: string, bytes: number) => must(['truncate', '-s', String(bytes), path])

function copyVars(flash: NonNullable<FirmwareKind['flash']>, path: string) {
  for (const file of [flash.code, flash.vars])
    if (!existsSync(file))
      throw new UserError('no UEFI firmware', { what: `${file} is missing; Debian package ${flash.package}` })
  copyFileSync(flash.vars, path)
}

function flashArguments({ flash }: FirmwareKind, vars: string) {
  if (!flash) return []
  return [
    ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${flash.code}`],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${vars}`],
  ]
}

function cardArgument({ card, mac, boots }: WantedMachine, { ownPxe }: FirmwareKind, first: string) {
  const romless = ownPxe || boots === 'disk'
  const order = first === 'network' ? 1 : 2
  return `${card ?? 'virtio-net-pci'},netdev=n0,mac=${mac},bootindex=${order}${romless ? ',romfile=' : ''}`
}

function diskArguments({ name, disk, moreDisks = [], pristine }: WantedMachine, first: string) {
  if (disk === undefined) return []
  const order = first === 'network' ? 2 : 1
  return [disk, ...moreDisks].flatMap((path, i) => [
    '-drive',
    `file=${path},if=none,id=d${i},format=raw,cache=unsafe,discard=unmap${pristine ? ',snapshot=on' : ''}`,
    '-device',
    `virtio-blk-pci,drive=d${i},serial=${name}${i === 0 ? `,bootindex=${order}` : `-${i}`}`,
  ])
}

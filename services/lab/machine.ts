// A QEMU machine of the lab, with the settings that were measured to be quick without KVM.
import { randomUUID } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../../src/fault.ts'
import { must, type Running, start } from './command.ts'
import type { LabNetwork } from './network.ts'

export type Firmware = 'bios' | 'uefi'
export type Machine = {
  name: string
  firmware: Firmware
  mac: string
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
type Wanted = {
  name: string
  firmware: Firmware
  mac: string
  disk: string
  /** A machine that never netboots has no boot ROM on its NIC: iPXE's takes seconds to let the disk have its turn. */
  boots: 'network' | 'disk'
  /** Processors; default 1. Firmware and loaders use one, a capture packs on all. */
  processors?: number
  /** The disk is left as it is; what the machine writes is lost at power off. */
  pristine?: boolean
}

const ovmf = { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', vars: '/usr/share/OVMF/OVMF_VARS_4M.fd' }

/** Makes a machine in `folder`; it is powered off at first. */
export async function makeMachine(wanted: Wanted, network: LabNetwork, folder: string): Promise<Machine> {
  const { name, firmware } = wanted
  mkdirSync(folder, { recursive: true })
  const paths = { console: join(folder, `${name}.console.log`), vars: join(folder, `${name}.vars.fd`) }
  const uuid = randomUUID()
  const tap = await network.addTap()
  // An empty romfile keeps iPXE out of UEFI machines too: OVMF's own PXE client is what real firmware resembles.
  const noRom = firmware === 'uefi' || wanted.boots === 'disk'
  if (firmware === 'uefi') copyVars(paths.vars)
  let running: Running | undefined

  async function powerOn(first: 'network' | 'disk') {
    if (running && running.ended() === undefined) throw new UserError('machine is on already', { what: name })
    const argv = [
      'qemu-system-x86_64',
      ...[
        '-name',
        name,
        '-uuid',
        uuid,
        '-m',
        '1024',
        '-smp',
        String(wanted.processors ?? 1),
        '-cpu',
        'qemu64',
      ],
      ...['-accel', 'tcg,thread=multi,tb-size=256'],
      ...['-display', 'none', '-monitor', 'none', '-chardev', `file,id=s0,path=${paths.console},append=on`],
      ...['-serial', 'chardev:s0', '-object', 'rng-random,id=r0,filename=/dev/urandom'],
      ...['-device', 'virtio-rng-pci,rng=r0'],
      ...firmwareArguments(firmware, paths.vars),
      ...['-netdev', `tap,id=n0,ifname=${tap},script=no,downscript=no`],
      '-device',
      `virtio-net-pci,netdev=n0,mac=${wanted.mac},bootindex=${first === 'network' ? 1 : 2}${noRom ? ',romfile=' : ''}`,
      ...[
        '-drive',
        `file=${wanted.disk},if=none,id=d0,format=raw,cache=unsafe,discard=unmap${wanted.pristine ? ',snapshot=on' : ''}`,
      ],
      ...['-device', `virtio-blk-pci,drive=d0,serial=${name},bootindex=${first === 'network' ? 2 : 1}`],
    ]
    // TMPDIR: where QEMU keeps what a machine with snapshot=on writes.
    running = await start(network.inside(argv), join(folder, `${name}.qemu.log`), { TMPDIR: folder })
  }
  return {
    ...{ name, firmware, mac: wanted.mac, disk: wanted.disk, console: paths.console, powerOn },
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

function copyVars(path: string) {
  if (!existsSync(ovmf.vars))
    throw new UserError('no UEFI firmware', { what: `${ovmf.vars} is missing; Debian package ovmf` })
  copyFileSync(ovmf.vars, path)
}

function firmwareArguments(firmware: Firmware, vars: string) {
  // graphics=off makes SeaBIOS, iPXE and GRUB talk on the serial port.
  if (firmware === 'bios') return ['-machine', 'q35,graphics=off']
  return [
    ...['-machine', 'q35', '-vga', 'none'],
    ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${ovmf.code}`],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${vars}`],
  ]
}

// How a BIOS starts GRUB from a GPT disk, written as grub-bios-setup does it, but into a plain file.
//   sector 0    boot.img   | ... 0x5C u64: first sector of core.img | 0x66 u16: 90 90 = do not doubt the drive number |
//               bytes 0x1B8.. (disk signature, partition table) stay as the partitioner wrote them
//   bios_grub   core.img   | its first sector ends in a block list: 0x1F4 u64 start | u16 sectors | u16 segment |
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { UserError } from '../../src/fault.ts'

const sector = 512
const codeBytes = 0x1b8

/** Puts boot.img and core.img on a disk image whose bios_grub partition is `room`. */
export function embedBiosCore(
  disk: string,
  room: { at: number; bytes: number },
  images: { bootSector: string; bios: string },
) {
  const core = readFileSync(images.bios)
  if (core.length > room.bytes)
    throw new UserError('GRUB core does not fit', {
      what: `${core.length} bytes into ${room.bytes}`,
      object: disk,
    })
  const first = room.at / sector
  core.writeBigUInt64LE(BigInt(first + 1), 0x1f4)
  core.writeUInt16LE(Math.ceil(core.length / sector) - 1, 0x1fc)
  const boot = readFileSync(images.bootSector)
  boot.writeBigUInt64LE(BigInt(first), 0x5c)
  boot.writeUInt16LE(0x9090, 0x66)
  const file = openSync(disk, 'r+')
  try {
    const table = Buffer.alloc(sector)
    readSync(file, table, 0, sector, 0)
    table.copy(boot, codeBytes, codeBytes, sector)
    writeSync(file, boot, 0, sector, 0)
    writeSync(file, core, 0, core.length, room.at)
  } finally {
    closeSync(file)
  }
}

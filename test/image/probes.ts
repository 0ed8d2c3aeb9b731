// Disks of real machines: fixtures/capture/probes holds what probe.sh said on Debian 12 in QEMU, on machines that
// test/vm/storage/probes.sh built (LVM, md, LUKS, btrfs, xfs, swap); `npm run test:vm` builds them again.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DiskLayout } from '../../src/image/disk-layout.ts'
import { devicesOf } from '../../src/image/disks.ts'
import { readProbe } from '../../src/image/probe.ts'

const folder = join(import.meta.dirname, '../fixtures/capture/probes')
export const textOf = (name: string) => readFileSync(join(folder, `${name}.json`), 'utf8')
export const saidOf = (name: string) => JSON.parse(textOf(name))
export const probeOf = (name: string) => readProbe(textOf(name))

/** The probe of a machine that said something else. */
export function changedProbe(name: string, edit: (said: any) => void) {
  const said = saidOf(name)
  edit(said)
  return readProbe(JSON.stringify(said))
}
export const base64 = (text: string) => Buffer.from(text).toString('base64')

/** What is on each device that holds something, in a few words. */
export function shown(layout: DiskLayout): Record<string, string> {
  return Object.fromEntries(
    devicesOf(layout).flatMap(({ path, holds }) => {
      const { filesystem, member, physical, crypt } = holds
      const words = [
        filesystem && [filesystem.type, filesystem.label, filesystem.mountpoint].filter(Boolean).join(' '),
        member && `${member.array} ${member.spare ? 'spare' : member.slot}`,
        physical && `pv of ${physical.group}`,
        crypt && `${crypt.format} as ${crypt.path}`,
      ].filter(Boolean)
      return words.length > 0 ? [[path, words.join(', ')]] : []
    }),
  )
}

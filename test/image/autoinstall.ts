// SystemImager's files of disks, for tests of what becomes of them.
import { expect } from 'vitest'
import { UserError } from '../../src/fault.ts'
import { parseAutoinstallConf } from '../../src/image/autoinstall-conf.ts'
import { parseLayout, renderLayout } from '../../src/image/disk-layout.ts'

export const MIB = 1 << 20
export const GIB = 2 ** 30
export const contentBytes = 1_000_000_000
/** Bytes for the content where a size is open. */
export const room = Math.ceil((contentBytes * 1.3 + GIB) / MIB) * MIB
const uuidOf = (n: number) => `${String(n).padStart(8, '0')}-1111-4222-8333-444444444444`

/** @param lines of which the first one is line 2 */
export function layoutOf(lines: readonly string[], mdadmConf = '') {
  let made = 0
  const text = `<config>\n${lines.join('\n')}\n</config>\n`
  const needs = { name: 'conf', contentBytes, makeUuid: () => uuidOf(made++), mdadmConf }
  const { layout } = parseAutoinstallConf(text, needs)
  expect(parseLayout(renderLayout(layout))).toEqual(layout) // images keep it so
  return layout
}

/** Each part of a row is refused with its line. */
export function refused(lines: readonly string[]): string {
  try {
    layoutOf(lines)
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    return (error as Error).message
  }
  return 'nothing is refused'
}

export const disk = (dev: string, ...parts: string[]) => [
  `<disk dev="/dev/${dev}" label_type="gpt" unit_of_measurement="MiB">`,
  ...parts,
  '</disk>',
]
export const part = (num: number, size: number | '*', more = '') =>
  `<part num="${num}" size="${size}" p_type="primary" p_name="-" ${more.includes('flags=') ? '' : 'flags="-"'} ${more}/>`
export const fsinfo = (line: number, device: string, mountpoint: string, type = 'ext4') =>
  `<fsinfo line="${line}" real_dev="${device}" mp="${mountpoint}" fs="${type}" options="defaults" dump="0" pass="0"/>`

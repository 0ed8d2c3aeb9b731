// The captured packets of test/fixtures/dhcp, by name.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dirname, '../fixtures/dhcp')

export const captureNames = readdirSync(folder).map((name) => name.replace(/\.hex$/, ''))

/** The bytes; lines with # say where they are from. */
export function capture(name: string): Buffer {
  const text = readFileSync(join(folder, `${name}.hex`), 'latin1')
  return Buffer.from(text.replace(/^#.*$/gm, '').replace(/\s/g, ''), 'hex')
}

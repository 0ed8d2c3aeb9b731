import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { embedBiosCore } from '../../services/lab/bios-boot.ts'
import { must } from '../../services/lab/command.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-bios-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = (name: string) => join(folder, name)
const bootImage = '/usr/lib/grub/i386-pc/boot.img'
const mib = 1024 * 1024

async function disk(name: string) {
  await must(['truncate', '-s', String(8 * mib), path(name)])
  const table = 'label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n'
  await must(['sfdisk', '--quiet', path(name)], { input: table })
  return path(name)
}

test('a GRUB core lies where its boot sector and its own block list say, and the partition table stays', async () => {
  const core = path('core.img')
  await must([
    'grub-mkimage',
    '-O',
    'i386-pc',
    '-o',
    core,
    '-p',
    '/boot/grub',
    'biosdisk',
    'part_gpt',
    'ext2',
  ])
  const image = await disk('disk.raw')
  const before = await must(['sfdisk', '--dump', image])
  embedBiosCore(image, { at: mib, bytes: mib }, { bootSector: bootImage, bios: core })
  const bytes = readFileSync(image)
  const size = readFileSync(core).length
  expect(bytes.readUInt16LE(0x1fe)).toBe(0xaa55)
  expect(bytes.readBigUInt64LE(0x5c)).toBe(2048n) // where boot.img reads one sector from
  expect(bytes.readUInt16LE(0x66)).toBe(0x9090)
  expect(bytes.readBigUInt64LE(mib + 0x1f4)).toBe(2049n) // where that sector reads the rest from
  expect(bytes.readUInt16LE(mib + 0x1fc)).toBe(Math.ceil(size / 512) - 1)
  expect(bytes.subarray(mib + 512, mib + size)).toEqual(readFileSync(core).subarray(512))
  expect(await must(['sfdisk', '--dump', image])).toBe(before)
})

test('a core that is larger than its partition is refused and nothing is written', async () => {
  const image = await disk('small.raw')
  const before = readFileSync(image)
  writeFileSync(path('large.img'), Buffer.alloc(mib + 1))
  const put = () =>
    embedBiosCore(image, { at: mib, bytes: mib }, { bootSector: bootImage, bios: path('large.img') })
  expect(put).toThrow(/GRUB core does not fit \(1048577 bytes into 1048576\)/)
  expect(readFileSync(image).equals(before)).toBe(true)
})

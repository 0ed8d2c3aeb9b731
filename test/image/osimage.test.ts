import { expect, test } from 'vitest'
import type { Digest, ImageName } from '../../src/address.ts'
import { printAttributes } from '../../src/attribute.ts'
import { changeOsimage, osimageAttributes, osimageOf } from '../../src/image/osimage.ts'
import type { ImageVersion } from '../../src/image/version.ts'

const digest = `sha256:${'1'.repeat(64)}` as Digest
const version = {
  name: 'img' as ImageName,
  version: 3,
  digest,
  arch: 'x86_64',
  os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12 (bookworm)' },
} as ImageVersion

test('a captured osimage has the attributes of xCAT’s seed', () => {
  const shown = printAttributes(osimageAttributes, osimageOf(version, '/var/lib/sysclone/images'))
  expect(shown).toEqual({
    imagetype: 'linux',
    osarch: 'x86_64',
    osname: 'Linux',
    osvers: 'debian12',
    osdistroname: 'debian12-x86_64',
    profile: 'compute',
    provmethod: 'sysclone',
    rootimgdir: '/var/lib/sysclone/images',
    version: '3',
    digest,
  })
})

test('a new version replaces what was captured and keeps what a person set', () => {
  const attrs = { profile: 'login', addkcmdline: 'quiet' }
  const before = changeOsimage(osimageOf(version, '/x'), { op: 'set', attrs })
  const after = osimageOf({ ...version, version: 4, os: { ...version.os, version: '13' } }, '/x', before)
  expect(printAttributes(osimageAttributes, after)).toMatchObject({
    ...attrs,
    version: '4',
    osvers: 'debian13',
  })
})

test('what a capture says is not set by hand', () => {
  for (const attribute of ['rootimgdir', 'digest', 'version', 'osarch', 'provmethod'])
    expect(() => changeOsimage({ name: version.name }, { op: 'set', attrs: { [attribute]: 'x' } })).toThrow(
      `img: only the server sets this attribute (${attribute}; allowed: profile addkcmdline)`,
    )
})

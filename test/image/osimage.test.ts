import { expect, test } from 'vitest'
import type { Digest, ImageName } from '../../src/address.ts'
import type { Change } from '../../src/attribute.ts'
import { printAttributes } from '../../src/attribute.ts'
import {
  bootOnlyOf,
  changeOsimage,
  filesToRead,
  type Osimage,
  osimageAttributes,
  osimageOf,
} from '../../src/image/osimage.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { sampleImage } from '../install/sample-image.ts'

const digest = `sha256:${'1'.repeat(64)}` as Digest
const version = {
  name: 'img' as ImageName,
  version: 3,
  digest,
  arch: 'x86_64',
  os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12 (bookworm)' },
  layout: sampleImage.layout,
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
  for (const attribute of ['rootimgdir', 'digest', 'version', 'osarch'])
    expect(() => changeOsimage({ name: version.name }, { op: 'set', attrs: { [attribute]: 'x' } })).toThrow(
      `img: only the server sets this attribute (${attribute}; allowed: provmethod kernel initrd kcmdline profile addkcmdline `,
    )
})

test('what xCAT says of an osimage is kept, in its one form', () => {
  const attrs = {
    exclude: '/var/log/*, /srv',
    scrub: 'machine-id:keep,ssh-host-keys:regenerate',
    postscripts: 'syslog,otherpkgs',
    postbootscripts: 'otherpkgs',
    synclists: '/install/custom/img.synclist',
    pkglist: '/a/compute.pkglist, /a/more.pkglist',
    pkgdir: '/install/centos7.8/x86_64',
    otherpkglist: '/opt/xcat/share/xcat/install/rh/sysclone.rhels6.x86_64.otherpkgs.pkglist',
    otherpkgdir: '/install/post/otherpkgs/rhels6.4/x86_64',
    template: '/opt/xcat/share/xcat/install/rh/compute.rhels6.tmpl',
    partitionfile: 's:/install/custom/parts.sh',
    usercomment: 'made in May',
  }
  const image = changeOsimage({ name: version.name }, { op: 'set', attrs })
  expect(printAttributes(osimageAttributes, image)).toMatchObject({
    ...attrs,
    exclude: '/var/log/*,/srv',
    pkglist: '/a/compute.pkglist,/a/more.pkglist',
  })
  const more = { op: 'add', attrs: { otherpkgdir: '/install/post/otherpkgs/more' } } as const
  expect(changeOsimage(image, more).otherpkgdir).toHaveLength(2)
  const none = Object.fromEntries(Object.keys(attrs).map((name) => [name, '']))
  expect(changeOsimage(image, { op: 'set', attrs: none })).toEqual({ name: 'img' })
  for (const [name, wrong] of Object.entries({
    exclude: '/var//log',
    scrub: 'machine-id:maybe',
    postscripts: '../x',
    pkglist: 'relative',
    partitionfile: 's:parts',
    template: '/a\nb',
    usercomment: 'a\nb',
  }))
    expect(() => changeOsimage(image, set({ [name]: wrong })), name).toThrow(`img: ${name}: not `)
})

const rescue: Osimage = { name: 'rescue' as ImageName }
const blob = (digit: string) => ({ digest: `sha256:${digit.repeat(64)}` as Digest, bytes: 7 })
const set = (attrs: Record<string, string>): Change => ({ op: 'set', attrs })
const given = set({ provmethod: 'boot', kernel: '/k', initrd: '/i,/j', kcmdline: 'nofb ro' })
const read = { '/k': blob('1'), '/i': blob('2'), '/j': blob('3') }

test('a boot-only osimage boots what its files held when it was defined', () => {
  expect(filesToRead(given)).toEqual(['/k', '/i', '/j'])
  const made = changeOsimage(rescue, given, read)
  expect(bootOnlyOf(made)).toEqual({
    kernel: blob('1'),
    initrds: [blob('2'), blob('3')],
    kcmdline: 'nofb ro',
  })
  expect(printAttributes(osimageAttributes, made)).toMatchObject({
    provmethod: 'boot',
    kernel: '/k',
    initrd: '/i,/j',
    kcmdline: 'nofb ro',
  })
})

test('a change reads again only what it names; what is named no more is forgotten', () => {
  const made = changeOsimage(rescue, given, read)
  expect(filesToRead(set({ kcmdline: 'quiet' }))).toEqual([])
  expect(bootOnlyOf(changeOsimage(made, set({ kcmdline: 'quiet' })))).toMatchObject({ kernel: blob('1') })
  const less: Change = { op: 'remove', attrs: { initrd: '/i' } }
  expect(filesToRead(less)).toEqual([])
  expect(changeOsimage(made, less)).toMatchObject({ initrd: ['/j'], files: { '/k': blob('1') } })
  expect(changeOsimage(made, less).files).not.toHaveProperty('/i')
  const more: Change = { op: 'add', attrs: { initrd: '/l' } }
  expect(filesToRead(more)).toEqual(['/l'])
  expect(bootOnlyOf(changeOsimage(made, more, { '/l': blob('4') }))!.initrds).toHaveLength(3)
})

const wrong: [Record<string, string>, string][] = [
  [{ provmethod: 'boot' }, 'provmethod=boot needs a kernel'],
  [{ kernel: '/k' }, 'kernel needs provmethod=boot'],
  [{ initrd: '/k' }, 'initrd needs provmethod=boot'],
  [{ kcmdline: 'ro' }, 'kcmdline needs provmethod=boot'],
  [{ provmethod: 'install' }, 'provmethod: not a known word'],
  [{ provmethod: 'boot', kernel: 'vmlinuz' }, 'kernel: not the path of a file'],
  [{ provmethod: 'boot', kernel: '/k\n' + '/x' }, 'kernel: not the path of a file'],
  [{ provmethod: 'boot', kernel: '/k', kcmdline: 'a="b c"' }, 'kcmdline: no loader can say'],
]
for (const [attrs, error] of wrong)
  test(`refused: ${JSON.stringify(attrs)}`, () => {
    expect(() => changeOsimage(rescue, set(attrs), read)).toThrow(error)
  })

test('a captured osimage does not become boot-only, and a capture makes one of a boot-only', () => {
  expect(() => changeOsimage(osimageOf(version, '/x'), given, read)).toThrow('the osimage was captured')
  const captured = osimageOf(version, '/x', changeOsimage({ ...rescue, name: version.name }, given, read))
  expect(bootOnlyOf(captured)).toBeUndefined()
  expect(captured).not.toHaveProperty('kernel')
})

test('what a version has that no clone can be given yet is an attribute of it', () => {
  const [disk] = sampleImage.layout.disks
  const layout = { ...sampleImage.layout, disks: [disk!, { ...disk!, path: '/dev/sdb' }] }
  const attrs = printAttributes(osimageAttributes, osimageOf({ ...version, layout }, '/images'))
  expect(attrs.notdeployable).toBe(`several disks (${disk!.path}, /dev/sdb)`)
  expect(printAttributes(osimageAttributes, osimageOf(version, '/images'))).not.toHaveProperty(
    'notdeployable',
  )
})

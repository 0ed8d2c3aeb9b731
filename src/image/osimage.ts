// An osimage as the image database shows it: xCAT's attributes. What was captured is taken from the newest version;
// a person may add to it.
import type { Digest, ImageName } from '../address.ts'
import type { Attribute, AttributeTable, Change } from '../attribute.ts'
import { applyChange, field, kernelArguments, shown, textLike } from '../attribute.ts'
import type { Arch, ImageVersion } from './version.ts'

/** What a capture tells of an osimage; absent until its first one. */
export type Captured = {
  osarch: Arch
  osvers: string // 'debian12'
  osdistroname: string // 'debian12-x86_64'
  rootimgdir: string // the OCI image layout that holds it
  version: number // the newest one
  digest: Digest
}
export type Osimage = {
  name: ImageName
  profile?: string
  addkcmdline?: string
  captured?: Captured
}

const word = textLike(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'not a word')

const table = {
  imagetype: shown(() => 'linux', 'linux'),
  osname: shown(() => 'Linux', 'Linux'),
  provmethod: shown(() => 'sysclone', 'sysclone'),
  osarch: shown((image) => image.captured?.osarch, 'architecture of the golden client'),
  osvers: shown((image) => image.captured?.osvers, 'distribution and version of the golden client'),
  osdistroname: shown((image) => image.captured?.osdistroname, 'osvers and osarch'),
  rootimgdir: shown((image) => image.captured?.rootimgdir, 'where the image is kept'),
  version: shown((image) => image.captured?.version.toString(), 'the newest version'),
  digest: shown((image) => image.captured?.digest, 'of the newest version'),
  profile: field('profile', word, 'a word of letters, digits, dot, underscore, dash'),
  addkcmdline: field(
    'addkcmdline',
    kernelArguments,
    'kernel arguments: printable ASCII without quotes, \\ ` $',
  ),
} satisfies Record<string, Attribute<Osimage>>
export const osimageAttributes: AttributeTable<Osimage> = table

/** The osimage after a change by a person. */
export function changeOsimage(image: Osimage, change: Change): Osimage {
  return applyChange(osimageAttributes, image, change, image.name)
}

/** The osimage of a version that was just published; what a person set stays. */
export function osimageOf(version: ImageVersion, rootimgdir: string, before?: Osimage): Osimage {
  const osvers = `${version.os.id}${version.os.version}`
  const { name, arch, digest } = version
  const osdistroname = `${osvers}-${arch}`
  const captured = { osarch: arch, osvers, osdistroname, rootimgdir, version: version.version, digest }
  return { profile: 'compute', ...before, name, captured }
}

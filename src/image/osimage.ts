// An osimage as the image database shows it: xCAT's attributes. What was captured is taken from the newest version;
// a person may add to it. A boot-only osimage (provmethod=boot) is a kernel and initrds that the server holds as given:
// a rescue system, a firmware tool, another installer.
import type { Digest, ImageName } from '../address.ts'
import type { Attribute, AttributeTable, Change } from '../attribute.ts'
import {
  applyChange,
  field,
  kernelArguments,
  later,
  listOf,
  oneOf,
  optionalListOf,
  parsedBy,
  remark,
  shown,
  textLike,
} from '../attribute.ts'
import { UserError } from '../fault.ts'
import { parseScriptName, scriptNames } from '../node/values.ts'
import { notDeployable } from './disks.ts'
import { excludeWords, parseExclude } from './excludes.ts'
import { parseScrub } from './scrub.ts'
import type { Arch, BlobRef, ImageKind, ImageVersion } from './version.ts'

/** What a capture tells of an osimage; absent until its first one. */
export type Captured = {
  osarch: Arch
  osvers: string // 'debian12'
  osdistroname: string // 'debian12-x86_64'
  rootimgdir: string // the OCI image layout that holds it
  version: number // the newest one
  digest: Digest
  kind?: 'diskless' // absent: sysclone
  notDeployable?: string[] // what a clone of it cannot be given yet; absent: nothing
}
export type Osimage = {
  name: ImageName
  profile?: string
  addkcmdline?: string
  captured?: Captured
  exclude?: string[] // what captures leave out, in SystemImager's syntax
  scrub?: string[] // 'machine-id:keep': what captures do with an identity or a secret
  postscripts?: string[]
  postbootscripts?: string[]
  // What xCAT installs packages by. Files of the server, and of no meaning for a clone:
  pkglist?: string[]
  pkgdir?: string[]
  otherpkglist?: string[]
  otherpkgdir?: string[]
  template?: string
  synclists?: string[]
  partitionfile?: string // also 's:/path', a script
  usercomment?: string
  // Of a boot-only osimage:
  provmethod?: 'boot' | 'diskless' // absent: sysclone
  kernel?: string // path of a file on the server
  initrd?: string[] // in load order
  kcmdline?: string
  files?: ReadFiles // what those paths held when they were set
}
/** By path: what a file held when it was read. */
export type ReadFiles = Record<string, BlobRef>

/** What a node boots of a boot-only osimage. */
export type BootOnly = { kernel: BlobRef; initrds: BlobRef[]; kcmdline?: string }

const serverPath = {
  parse: (text: string) => {
    if (!/^\/[^\x00-\x1f\x7f,|]{1,1000}$/.test(text))
      throw new UserError('not the path of a file', { what: text.slice(0, 100) })
    return text
  },
  print: String,
}
const serverPaths = optionalListOf(serverPath.parse)
const scripts = optionalListOf(parseScriptName)
/** xCAT marks a script that makes the partitions with `s:`. */
const partitioning = parsedBy((text) => {
  serverPath.parse(text.replace(/^s:/, ''))
  return text
})
const unused = (what: string) => `${what} (kept; a clone has what its golden client has)`
const provmethods = oneOf('sysclone', 'diskless', 'boot')
const word = textLike(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'not a word')

type Kind = ImageKind | 'boot'
/** What an osimage is for. */
export function kindOf({ provmethod }: Osimage): Kind {
  return provmethod ?? 'sysclone'
}

/** What a name stands for: the newest version says it, else the definition; undefined: neither is there. */
export const kindOfName = (
  osimage: Osimage | undefined,
  newest: Pick<ImageVersion, 'kind'> | undefined,
): Kind | undefined => (newest ? (newest.kind ?? 'sysclone') : osimage && kindOf(osimage))

/** One name is of one kind: nodes that are to get it must not get something else. Throws UserError. */
export function refuseOtherKind(name: ImageName, is: Kind | undefined, wanted: ImageKind) {
  if (is === undefined || is === wanted) return
  throw new UserError(is === 'boot' ? 'the osimage is boot-only' : 'the osimage is of another kind', {
    what: `provmethod=${is}`,
    allowed:
      is === 'boot' ? 'another name, or rmdef -t osimage first' : `another name, or imgcapture -t ${is}`,
    object: name,
    status: 409,
  })
}

const table = {
  imagetype: shown(() => 'linux', 'linux'),
  osname: shown(() => 'Linux', 'Linux'),
  provmethod: {
    describe:
      'sysclone: what imgcapture captured, installed on a disk | diskless: captured to be booted in RAM | boot: kernel and initrd are booted as given',
    print: kindOf,
    set: ({ provmethod: _, ...rest }, text) => {
      const method = text.trim() ? provmethods.parse(text.trim()) : 'sysclone'
      return method === 'sysclone' ? rest : { ...rest, provmethod: method }
    },
  },
  kernel: field('kernel', serverPath, 'of provmethod=boot: a file on the server, read when it is set'),
  initrd: field(
    'initrd',
    listOf(serverPath.parse),
    'of provmethod=boot: files, commas between, in load order',
  ),
  kcmdline: field('kcmdline', kernelArguments, 'of provmethod=boot: kernel arguments, as addkcmdline'),
  osarch: shown((image) => image.captured?.osarch, 'architecture of the golden client'),
  osvers: shown((image) => image.captured?.osvers, 'distribution and version of the golden client'),
  osdistroname: shown((image) => image.captured?.osdistroname, 'osvers and osarch'),
  rootimgdir: shown((image) => image.captured?.rootimgdir, 'where the image is kept'),
  version: shown((image) => image.captured?.version.toString(), 'the newest version'),
  digest: shown((image) => image.captured?.digest, 'of the newest version'),
  notdeployable: shown(
    (image) => image.captured?.notDeployable?.join('; '),
    'what of the newest version no clone can be given yet; empty: it can be installed',
  ),
  profile: field('profile', word, 'a word of letters, digits, dot, underscore, dash'),
  addkcmdline: field(
    'addkcmdline',
    kernelArguments,
    'kernel arguments: printable ASCII without quotes, \\ ` $',
  ),
  exclude: field('exclude', optionalListOf(parseExclude), excludeWords),
  scrub: field(
    'scrub',
    optionalListOf(parseScrub),
    'what captures do with identities and secrets: NAME:keep|regenerate|drop with commas between; imgcapture --check lists them',
  ),
  postscripts: field('postscripts', scripts, later(scriptNames, 'post-install scripts')),
  postbootscripts: field('postbootscripts', scripts, later(scriptNames, 'post-install scripts')),
  synclists: field('synclists', serverPaths, later('files on the server, with commas between', 'updates')),
  pkglist: field('pkglist', serverPaths, unused('files on the server, with commas between')),
  pkgdir: field('pkgdir', serverPaths, unused('folders on the server, with commas between')),
  otherpkglist: field('otherpkglist', serverPaths, unused('files on the server, with commas between')),
  otherpkgdir: field('otherpkgdir', serverPaths, unused('folders on the server, with commas between')),
  template: field('template', serverPath, unused('a file on the server')),
  partitionfile: field('partitionfile', partitioning, unused('a file on the server, or s: and a file')),
  usercomment: field('usercomment', remark, 'any text of one line'),
} satisfies Record<string, Attribute<Osimage>>
export const osimageAttributes: AttributeTable<Osimage> = table

/** The osimage after a change by a person; `read` is what the files held that the change names. */
export function changeOsimage(image: Osimage, change: Change, read: ReadFiles = {}): Osimage {
  const { files = {}, ...changed } = applyChange(osimageAttributes, image, change, image.name)
  checkBootOnly(changed)
  const held = Object.entries({ ...files, ...read }).filter(([path]) => pathsOf(changed).includes(path))
  return held.length === 0 ? changed : { ...changed, files: Object.fromEntries(held) }
}

/** The files that a change names: to be read before it is made. */
export function filesToRead({ op, attrs }: Change): string[] {
  if (op === 'remove') return []
  const named = ({ kernel = '', initrd = '' }: Record<string, string>) => [kernel, ...initrd.split(/[,|]/)]
  // What is no path is refused with its attribute; it is not looked for in our own folder.
  return [...new Set(named(attrs).map((path) => path.trim()))].filter((path) => path.startsWith('/'))
}

const pathsOf = ({ kernel, initrd = [] }: Osimage) => [...(kernel === undefined ? [] : [kernel]), ...initrd]

function checkBootOnly(image: Osimage) {
  const { name, provmethod, kernel, captured } = image
  const refuse = (error: string, what: string, allowed: string) => {
    throw new UserError(error, { what, allowed, object: name })
  }
  if (captured && kindOf(image) !== (captured.kind ?? 'sysclone'))
    refuse(
      'the osimage was captured',
      `version ${captured.version}`,
      `provmethod=${provmethod} with another name`,
    )
  if (provmethod === 'boot' && kernel === undefined)
    refuse('provmethod=boot needs a kernel', 'kernel is empty', 'kernel=/path/of/vmlinuz')
  const bound = (['kernel', 'initrd', 'kcmdline'] as const).find((key) => image[key]?.length)
  if (provmethod !== 'boot' && bound)
    refuse(`${bound} needs provmethod=boot`, 'provmethod=sysclone', 'addkcmdline for what is captured')
}

/** What a node boots of it; undefined when the osimage is not boot-only. */
export function bootOnlyOf({ provmethod, kernel, initrd = [], kcmdline, files = {} }: Osimage) {
  const held = provmethod === 'boot' && kernel !== undefined && files[kernel]
  const initrds = initrd.flatMap((path) => files[path] ?? [])
  if (!held || initrds.length < initrd.length) return undefined
  const bootOnly: BootOnly = { kernel: held, initrds, ...(kcmdline !== undefined && { kcmdline }) }
  return bootOnly
}

/** The osimage of a version that was just published; what a person set stays. */
export function osimageOf(version: ImageVersion, rootimgdir: string, before?: Osimage): Osimage {
  // Should it have become boot-only meanwhile: a version that was published is what the name means.
  const { provmethod: _, kernel: __, initrd: ___, kcmdline: ____, files: _____, ...kept } = before ?? {}
  const osvers = `${version.os.id}${version.os.version}`
  const { name, arch, digest } = version
  const osdistroname = `${osvers}-${arch}`
  const { kind } = version
  const facts = { osarch: arch, osvers, osdistroname, rootimgdir, version: version.version, digest }
  const missing = notDeployable(version.layout)
  const captured = {
    ...facts,
    ...(kind && { kind }),
    ...(missing.length > 0 && { notDeployable: missing }),
  }
  return { profile: 'compute', ...kept, name, captured, ...(kind && { provmethod: kind }) }
}

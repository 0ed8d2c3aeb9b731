// One line a path, the same from a machine (bootfiles/capture/list.sh) and from a layer: what `comm` compares.
//   type TAB mode TAB uid TAB gid TAB size TAB mtime TAB rdev TAB path TAB target
// Paths and targets are strings of one character a byte (latin1): names need not be UTF-8, and the order of such strings
// is the order of LC_ALL=C.
import { WireError } from '../fault.ts'

export type FileType = 'f' | 'd' | 'l' | 'b' | 'c' | 'p'

export type FileFacts = {
  type: FileType
  mode: string // octal without leading zeros, as find's %m
  uid: number
  gid: number
  size?: number // absent for directories: it says how the file system stores them
  mtimeNs?: string // nanoseconds since 1970; absent for directories, which change with every entry
  rdev?: string // 'major:minor' in hex, as stat's %t:%T; of devices only
  path: string // relative to the root, no leading slash; the root is '.'
  target?: string // of a symbolic link
}

/** A line of list.sh: what find sees beside the compare line. */
export type ListedFile = FileFacts & { ctimeNs: string; inode: string; links: number }

const absent = '-'

/** A name that is text, as paths are here: one character a byte. */
export const bytewise = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

/** Lines of list.sh as they are compared: `1700000000.1234567890` in the first and the ninth field loses its point, and what is less than a nanosecond. */
export const inNanoseconds = (lines: string): string =>
  lines.replace(/^(-?\d+)\.(\d{9})\d*((?:\t[^\t\n]*){7}\t)(?:(-?\d+)\.(\d{9})\d*(?=\t))?/gm, '$1$2$3$4$5')

/** Backslash, tab and newline as `\134 \011 \012`; every other byte stands for itself. */
export const escapePath = (path: string): string =>
  path.replace(/[\\\t\n]/g, (c) => (c === '\\' ? '\\134' : c === '\t' ? '\\011' : '\\012'))

export const unescapePath = (text: string): string =>
  text.replace(/\\(134|011|012)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))

export function renderCompareLine(file: FileFacts): string {
  return [
    file.type,
    file.mode,
    file.uid,
    file.gid,
    file.size ?? absent,
    file.mtimeNs ?? absent,
    file.rdev ?? absent,
    escapePath(file.path),
    escapePath(file.target ?? ''),
  ].join('\t')
}

/** Sockets are listed to be counted: nothing of them is ever kept. */
export const isSocketLine = (line: string): boolean => /^[^\t]*\t[^\t]*\t[^\t]*\ts\t/.test(line)

/** `ctime TAB inode TAB links TAB` and the compare line. */
export function parseListLine(line: string): ListedFile {
  const [ctimeNs, inode, links, ...rest] = line.split('\t')
  return {
    ctimeNs: digits(ctimeNs, 'ctime'),
    inode: digits(inode, 'inode'),
    links: Number(digits(links, 'links')),
    ...parseCompareFields(rest),
  }
}

export const parseCompareLine = (line: string): FileFacts => parseCompareFields(line.split('\t'))

function parseCompareFields(fields: string[]): FileFacts {
  if (fields.length !== 9) throw new WireError(`file list: ${fields.length} fields where 9 are due`)
  const [type, mode, uid, gid, size, mtimeNs, rdev, path, target] = fields as [string, ...string[]]
  if (!/^[fdlbcp]$/.test(type)) throw new WireError(`file list: type ${JSON.stringify(type)}`)
  if (!/^[0-7]{1,4}$/.test(mode!)) throw new WireError(`file list: mode ${JSON.stringify(mode)}`)
  return {
    type: type as FileType,
    mode: mode!,
    uid: Number(digits(uid, 'uid')),
    gid: Number(digits(gid, 'gid')),
    ...(size === absent ? {} : { size: Number(digits(size, 'size')) }),
    ...(mtimeNs === absent ? {} : { mtimeNs: digits(mtimeNs, 'mtime') }),
    ...(rdev === absent ? {} : { rdev: rdev! }),
    path: relativePath(unescapePath(path!)),
    ...(type === 'l' ? { target: unescapePath(target!) } : {}),
  }
}

function digits(text: string | undefined, field: string): string {
  if (text === undefined || !/^-?\d{1,30}$/.test(text))
    throw new WireError(`file list: ${field} ${JSON.stringify(text?.slice(0, 40))}`)
  return text
}

/** Relative, without `.` or `..` in it: what is extracted under a root stays under it. */
export function relativePath(path: string): string {
  const wrong = path === '' || path.startsWith('/') || path.includes('\0')
  if (wrong || (path !== '.' && path.split('/').some((part) => ['', '.', '..'].includes(part))))
    throw new WireError(`path ${JSON.stringify(path.slice(0, 200))} is not a plain relative path`)
  return path
}

/** What the manifest says beyond the compare line: where the content is, and what find cannot see. */
export type Stored = {
  sha256?: string // of the content of a regular file, holes read as zeros; absent where it was not computed
  xattrs?: string // sha256 over its extended attributes and ACLs
  layer: number // index of the layer
  offset: number // of the member's first header in the uncompressed layer
  ctimeNs?: string
  inode?: string
}

export function renderManifestLine(file: FileFacts, stored: Stored): string {
  const more = [stored.sha256, stored.xattrs, stored.layer, stored.offset, stored.ctimeNs, stored.inode]
  return [renderCompareLine(file), ...more.map((field) => field ?? absent)].join('\t')
}

export function parseManifestLine(line: string): FileFacts & Stored {
  const fields = line.split('\t')
  if (fields.length !== 15) throw new WireError(`manifest: ${fields.length} fields where 15 are due`)
  const [sha256, xattrs, layer, offset, ctimeNs, inode] = fields.slice(9)
  return {
    ...parseCompareFields(fields.slice(0, 9)),
    ...(sha256 === absent ? {} : { sha256: sha256! }),
    ...(xattrs === absent ? {} : { xattrs: xattrs! }),
    layer: Number(digits(layer, 'layer')),
    offset: Number(digits(offset, 'offset')),
    ...(ctimeNs === absent ? {} : { ctimeNs: digits(ctimeNs, 'ctime') }),
    ...(inode === absent ? {} : { inode: digits(inode, 'inode') }),
  }
}

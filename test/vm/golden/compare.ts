// A golden client's files and those of an image of it, side by side. Both were told by told.sh: no code of ours judges itself.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Digest } from '../../../src/address.ts'
import type { ImageVersion } from '../../../src/image/version.ts'
import { applyLayers } from '../../capture/unpack.ts'

type Entry = {
  type: string // as find's %y
  facts: string // mode|uid|gid
  size: string
  mtime: string
  inode: string
  target: string
  sha256?: string
  attributes?: string // getfattr's lines
}
/** By path from the root, one character a byte. */
export type Tree = Map<string, Entry>

/** What told.sh printed. */
export function readTold(line: string): Tree {
  const text = gunzipSync(Buffer.from(line.trim(), 'base64')).toString('latin1')
  const [entries, sums, attributes] = cut(text)
  const tree: Tree = new Map()
  const words = entries.split('\0')
  for (let i = 0; i + 1 < words.length; i += 2) {
    const [type = '', mode, uid, gid, size = '', mtime = '', , inode = '', ...target] =
      words[i + 1]!.split('|')
    tree.set(words[i]!, {
      type,
      facts: `${mode}|${uid}|${gid}`,
      ...{ size, mtime, inode, target: target.join('|') },
    })
  }
  for (const line of sums.split('\0').filter(Boolean)) {
    const [, sha256, path] = /^([0-9a-f]{64}) [ *]\.\/(.*)$/s.exec(line)!
    tree.get(path!)!.sha256 = sha256!
  }
  for (const block of attributes.split('\n\n').filter(Boolean)) {
    const [name, ...lines] = block.split('\n')
    const path = name!.replace(/^# file: (\.\/)?/, '').replace(/\\(\d{3})/g, (_, octal) => char(octal))
    if (path === '.') continue
    tree.get(path)!.attributes = lines.sort().join(' ')
  }
  return tree
}
const char = (octal: string) => String.fromCharCode(Number.parseInt(octal, 8))

/** The three lists. No path is empty, so that two NULs are an end; but a link's target, at the end of a record, is. */
function cut(text: string): [string, string, string] {
  const sums = text.search(/\0\0[0-9a-f]{64} [ *]\.\//)
  const attributes = text.indexOf('\0\0', sums + 2)
  return [text.slice(0, sums + 1), text.slice(sums + 2, attributes), text.slice(attributes + 2)]
}

export type Differences = {
  missing: string[] // on the machine, not in the image
  extra: string[]
  different: string[] // 'path: what: on the machine -> in the image'
}

/** Times of folders count where nothing changes: a later layer that puts a file into one sets its time anew. */
export function compareTrees(machine: Tree, image: Tree): Differences {
  const both = [...machine.keys()].filter((path) => image.has(path))
  const links = [groups(machine, both), groups(image, both)]
  const different = both.flatMap((path) => {
    const [a, b] = [machine.get(path)!, image.get(path)!]
    const rows: [string, string | undefined, string | undefined][] = [
      ['type', a.type, b.type],
      ['mode, owner', a.facts, b.facts],
      ['size', ...pair(a.type === 'd' ? undefined : [a.size, b.size])],
      ['time', ...pair(a.type === 'd' && !path.startsWith('usr/') ? undefined : [a.mtime, b.mtime])],
      ['target', a.target, b.target],
      ['content', a.sha256, b.sha256],
      ['attributes', a.attributes, b.attributes],
      ['links', links[0]!.get(path), links[1]!.get(path)],
    ]
    return rows.flatMap(([what, x, y]) => (x === y ? [] : [`${path}: ${what}: ${x} -> ${y}`]))
  })
  return {
    missing: [...machine.keys()].filter((path) => !image.has(path)).sort(),
    extra: [...image.keys()].filter((path) => !machine.has(path)).sort(),
    different,
  }
}
const pair = (both: [string, string] | undefined) => both ?? ([undefined, undefined] as const)

/** Of each path the names that its file has, among these paths. */
function groups(tree: Tree, paths: string[]): Map<string, string> {
  const files = paths.filter((path) => tree.get(path)!.type !== 'd')
  const names = Map.groupBy(files, (path) => tree.get(path)!.inode)
  return new Map(files.map((path) => [path, names.get(tree.get(path)!.inode)!.sort().join(', ')]))
}

/** What `imgexport` wrote, laid out below `into` by GNU tar, layer upon layer as the image specification says. */
export function layOut(archive: string, into: string): string {
  const oci = `${into}.oci`
  mkdirSync(oci, { recursive: true })
  execFileSync('tar', ['-xf', archive, '-C', oci])
  const blobPath = (digest: Digest) => join(oci, 'blobs', digest.replace(':', '/'))
  const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
  const [first] = json(join(oci, 'index.json')).manifests
  const { layers } = json(blobPath(first.digest))
  applyLayers({ blobPath }, { layers } as ImageVersion, into)
  rmSync(oci, { recursive: true })
  return into
}
